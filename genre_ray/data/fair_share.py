"""Takes a part out of a set of tracks: a fair share of each genre, artists and exact copies left together.

Knows nothing about protocols.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from genre_ray.data.catalog import Catalog
from genre_ray.data.leaks import groups


def fair_share(catalog: Catalog, tracks: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Ids of about `fraction` of `tracks`, of each genre, drawn at random by whole groups of artist and copies.

    Each genre keeps a group for the other side. A genre whose tracks are all of one group cannot be divided so: there,
    single tracks are drawn, since a part without that genre would measure less than one with a known artist.
    """
    grouping = groups(catalog)
    rng = np.random.default_rng(seed)
    members: dict[str, Counter[str]] = {}
    for key in sorted(tracks):
        members.setdefault(grouping[key], Counter())[str(catalog.by_id[key].label)] += 1
    total: Counter[str] = sum(members.values(), Counter())
    wanted = {label: max(1.0, fraction * count) for label, count in total.items()}
    taken: set[str] = set()
    single: set[str] = set()
    have: Counter[str] = Counter()
    for label in sorted(total):
        names = [name for name in members if members[name][label]]
        if len(names) == 1:
            ours = sorted(key for key in tracks if grouping[key] == names[0] and catalog.by_id[key].label == label)
            single.update(rng.permutation(ours)[: min(len(ours) - 1, round(wanted[label]))].tolist())
            continue
        for place in rng.permutation(len(names)):
            name = names[place]
            if name not in taken and _leaves_some(members[name], have, total) and _nears(members[name], have, wanted):
                taken.add(name)
                have += members[name]
        if not have[label]:
            smallest = min(names, key=lambda name: members[name].total())
            taken.add(smallest)
            have += members[smallest]
    return {key for key in tracks if grouping[key] in taken or key in single}


def _leaves_some(group: Mapping[str, int], have: Counter[str], total: Counter[str]) -> bool:
    return all(have[label] + count < total[label] for label, count in group.items())


def _nears(group: Mapping[str, int], have: Counter[str], wanted: Mapping[str, float]) -> bool:
    """Whether taking the group brings the genres, on the whole, nearer to what is wanted of them."""
    before = sum(abs(have[label] - wanted[label]) for label in group)
    after = sum(abs(have[label] + count - wanted[label]) for label, count in group.items())
    return after < before
