"""What each part of a recipe is worth: each one off in turn, on the same folds with the same seeds.

    python benchmarks/ablation.py --data DIR [--variant hybrid|kernel] [--protocol artist-cv] [--folds 5]
    python benchmarks/ablation.py --data DIR --set training.epochs=20 model.cnn.width=12 model.cnn.residual=false

Prints a Markdown table: accuracy over the folds, and the difference to the whole recipe with its 95 % interval, fold by
fold (Nadeau and Bengio 2003, since folds share training tracks). Stopped, it goes on where it was.
"""

import argparse
from pathlib import Path
from typing import Any

import yaml

from genre_ray.config import RunConfig
from genre_ray.data.protocol import ProtocolConfig
from genre_ray.evaluate import evaluate
from genre_ray.intervals import mean_interval
from genre_ray.tune.config import TuneConfig, load

SEARCH = Path(__file__).parents[1] / "tune_configs" / "hybrid.yaml"
AUGMENT = "training.augment"
NO_CROPS = {f"{AUGMENT}.crop_columns": None, f"{AUGMENT}.test_crops": 1}
VARIANTS = f"{AUGMENT}.variants"
WITHOUT: dict[str, dict[str, Any]] = {
    "everything": {},
    "variants of the descriptors": {VARIANTS: None},
    "branch dropout": {"model.branch_dropout": 0.0},
    "equaliser": {f"{AUGMENT}.equaliser_db": 0.0},
    "weight averaging": {"training.average_decay": None},
    "pooling over time alone (mean and maximum over both)": {"model.cnn.pooling": "mean_max"},
    "descriptors": {"inputs.descriptors": False, VARIANTS: None},
    "the 57 features": {"inputs.features": None},
    "quantile scaling (standard instead)": {"inputs.features.scaling": "standard"},
    "descriptors and plot area (whole figure in colour)": {
        "inputs.descriptors": False,
        VARIANTS: None,
        f"{AUGMENT}.equaliser_db": 0.0,
        f"{AUGMENT}.shift_bins": 0,
        "inputs.spectrogram": {"form": "figure", "normalisation": "per_frequency"},
        **NO_CROPS,
    },
    "random crops": NO_CROPS,
    "mixup": {f"{AUGMENT}.mixup": 0.0},
    "SpecAugment": {f"{AUGMENT}.time_masks": 0, f"{AUGMENT}.frequency_masks": 0},
    "label smoothing": {"training.label_smoothing": 0.0},
    "one-cycle schedule (constant)": {"training.schedule": "constant", "training.learning_rate": 1e-3},
    "batch normalisation": {"model.cnn.batch_norm": False},
    "global pooling (flatten)": {"model.cnn.pooling": "flatten"},
    "stride of the first convolution": {"model.cnn.stride": 1, "model.cnn.width": 12},
}
WITH: dict[str, dict[str, Any]] = {
    "tempo from 0.9 to 1.1": {f"{AUGMENT}.stretch": 0.1},
    "mixup of 0.6": {f"{AUGMENT}.mixup": 0.6},
}
KERNEL_WITHOUT: dict[str, dict[str, Any]] = {
    "everything": {},
    "variants": {VARIANTS: None},
    "the equaliser in the variants": {f"{VARIANTS}.equaliser_db": 0.0},
    "the shift in the variants": {f"{VARIANTS}.shift_bins": 0},
    "the window in the variants": {f"{VARIANTS}.columns": None},
    "descriptors": {"inputs.descriptors": False, VARIANTS: None},
    "the 57 features": {"inputs.features": None},
    "quantile scaling (standard instead)": {"inputs.features.scaling": "standard"},
}
KERNEL_WITH: dict[str, dict[str, Any]] = {
    "eight variants": {f"{VARIANTS}.count": 8},
    "a support vector machine in its place": {"model": {"kind": "svm"}, VARIANTS: None},
    "boosted trees in its place": {"model": {"kind": "boosting"}, VARIANTS: None},
}
PARTS = {"hybrid": (WITHOUT, WITH), "kernel": (KERNEL_WITHOUT, KERNEL_WITH)}


def changed(search: TuneConfig, variant: str, changes: dict[str, Any]) -> RunConfig:
    """The known good point of a variant of hybrid.yaml, changed."""
    point = next(dict(point) for point in search.points if point.get("variant") == variant)
    return search.resolve({name.rsplit("/", 1)[-1]: value for name, value in point.items()} | changes)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", required=True)
    options.add_argument("--variant", choices=sorted(PARTS), default="hybrid")
    options.add_argument("--protocol", choices=("artist-cv", "random-cv"), default="artist-cv")
    options.add_argument("--folds", type=int, default=5)
    options.add_argument("--seed", type=int, default=42)
    options.add_argument(
        "--set", nargs="+", default=[], metavar="FIELD=VALUE", help="of every recipe, such as a budget"
    )
    options.add_argument("--only", nargs="+", help="parts, by the first letters of their names")
    options.add_argument("--output", type=Path, default=Path("results/ablation"))
    options.add_argument("--cache")
    arguments = options.parse_args()
    search = load(SEARCH)
    given = {field: yaml.safe_load(value) for field, _, value in (text.partition("=") for text in arguments.set)}
    folder = arguments.output / "-".join([arguments.variant, arguments.protocol, *arguments.set])
    protocol = ProtocolConfig(name=arguments.protocol, folds=arguments.folds)
    rows: list[tuple[str, list[float], float]] = []
    for sign, changes in zip(("without", "with"), PARTS[arguments.variant], strict=True):
        for name, change in changes.items():
            title = "the whole recipe" if not change else f"{sign} {name}"
            if change and arguments.only and not any(name.startswith(start) for start in arguments.only):
                continue
            done = evaluate(
                arguments.data,
                changed(search, arguments.variant, given | change),
                protocol,
                output=folder / title.replace(" ", "-"),
                seeds=[arguments.seed],
                calibration="none",
                cache=arguments.cache,
            )
            ratio = done.runs[0].scores.n / (done.runs[0].n_train or 1)
            rows.append((title, [run.scores.accuracy for run in done.runs], ratio))
            print(table(rows), flush=True)


def table(rows: list[tuple[str, list[float], float]]) -> str:
    """Markdown; differences are to the first row."""
    lines = ["| one model | accuracy | difference | 95 % |", "|---|---|---|---|"]
    whole = rows[0][1]
    for title, values, ratio in rows:
        mean = sum(values) / len(values)
        difference = [value - base for value, base in zip(values, whole, strict=True)]
        interval = mean_interval(difference, test_to_train=ratio) if values is not whole else None
        shown = f"{sum(difference) / len(difference):+.3f}" if values is not whole else ""
        ends = f"{interval[0]:+.3f} to {interval[1]:+.3f}" if interval else ""
        lines.append(f"| {title} | {mean:.3f} | {shown} | {ends} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
