"""The model card of a checkpoint: what it is, what it was fitted on, how it scored, what it is for and what not.

Mitchell et al., "Model Cards for Model Reporting" (2019). Written from the manifest alone. Knows nothing about files.
"""

from collections.abc import Mapping
from typing import Any


def card(manifest: Mapping[str, Any]) -> str:
    """Markdown from a checkpoint's manifest; what the manifest does not know is left out."""
    data, metrics, notes = (manifest.get(name) or {} for name in ("data", "metrics", "notes"))
    parts = [
        f"# Music genre classifier {manifest['version']}",
        f"Tells {len(manifest['labels'])} genres apart: {', '.join(manifest['labels'])}. Made with genre_ray "
        f"{manifest['packages'].get('genre_ray') or '(unknown version)'} on {manifest['created'][:10]}.",
        "## What it is",
        _members(manifest),
        "## What it was fitted on",
        _data(data, notes),
        "## How it scored",
        _scores(metrics, data),
        str(notes.get("remark", "")),
        "## What it is for",
        "Sorting and searching a collection of music like the one it was fitted on, teaching, and as a baseline. "
        "Every answer is a distribution: where the top probability is low, leave the track to a person.",
        "## What it is not for",
        "Decisions about people: royalties, moderation, hiring. Genres it does not list: it has no way to say none "
        "of these, and speech or noise gets a genre, too. Music from other times and places than its corpus, unless "
        "scored there first: `genre-ray evaluate --checkpoint DIR --data MUSIC --part all`.",
        "## Limits",
        "A track's genre is one label that somebody gave it, and labels are disputed. Tracks of one artist sound "
        "alike: a score on tracks whose artists were heard in training says little about artists that were not.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _members(manifest: Mapping[str, Any]) -> str:
    lines = ["| model | share | inputs |", "|---|---|---|"]
    for member in manifest["members"]:
        config = member["config"]
        inputs = [name for name in ("spectrogram", "features", "descriptors") if config["inputs"].get(name)]
        lines.append(f"| {config['model']['kind']} | {member['weight']:.3f} | {', '.join(inputs)} |")
    count = len(manifest["members"])
    mean = f"The mean of {count} models' probabilities" if count > 1 else "One model's probabilities"
    sure = f"made as sure as held-out tracks ask for (temperature {manifest['temperature']:.3f})"
    return f"{mean}, {sure}.{_threshold(manifest)}\n\n" + "\n".join(lines)


def _threshold(manifest: Mapping[str, Any]) -> str:
    if "unsure_below" not in manifest:
        return ""
    most = (manifest.get("notes") or {}).get("most_wrong")
    if manifest["unsure_below"] >= 1.0:
        return " Every answer is marked unsure: at no probability were few enough held-out tracks called wrong."
    learnt = f" from there on at most {most:.0%} of held-out tracks were called wrong." if most else ""
    return f" Answers whose top probability is below {manifest['unsure_below']:.3f} are marked unsure:{learnt}"


def _data(data: Mapping[str, Any], notes: Mapping[str, Any]) -> str:
    if not data:
        return "Not recorded."
    name = f"`{data['root']}` ({data['kind']})" if "root" in data else "a corpus"
    tracks = data.get("tracks")
    count = f"{len(tracks)} tracks of " if isinstance(tracks, list) else ""
    parts = f", parts {notes['fitted_on']}" if "fitted_on" in notes else ""
    protocol = f" under the protocol `{data['protocol']}`{parts}" if "protocol" in data else ""
    ids = " The ids of the tracks are in `manifest.json`." if count else ""
    return f"{count}{name}{protocol}.{ids}"


def _scores(metrics: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    test = metrics.get("test")
    if not test or "accuracy_interval" not in test:
        return "On no test part."
    low, high = test["accuracy_interval"]
    return (
        f"On {test['n']} test tracks that it was not fitted on: accuracy {test['accuracy']:.3f} "
        f"(95 % {low:.3f} to {high:.3f}), macro F1 {test['macro_f1']:.3f}, "
        f"expected calibration error {test['ece']:.3f}. Leaks: {data.get('leaks', 'not counted')}."
    )
