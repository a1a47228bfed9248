"""Prepares, predicts and trains on more than a memory limit holds, inside a control group that enforces the limit.

    python benchmarks/memory_limit.py --tracks 20000 --limit 3            all three; GB for all processes together
    python benchmarks/memory_limit.py --tracks 100000 --limit 2.5 --stages generate train

The kernel ends a process when everything together (Ray's own processes, workers, shared memory of the object store)
passes the limit, so a run that comes to its end has kept it; page cache counts, but is given back. Needs the right to
make a memory control group (root, or a delegated one; version 1 or 2). The tracks are generated figures with feature
rows, as in scale.py (`generate` leaves the figures out and writes the shards at once); the model is the checkpoint that
ships with the package, the fit one epoch of a small hybrid.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

GB = 1024**3
ROOTS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup"))


class Group:
    """A memory control group: what all its processes together may have, and have had."""

    def __init__(self, limit: int) -> None:
        root = next(root for root in ROOTS if (root / "cgroup.procs").exists() and _has_memory(root))
        self.version = 1 if root.name == "memory" else 2
        self.path = root / f"genre_ray-{os.getpid()}"
        self.path.mkdir()
        names = ("memory.limit_in_bytes",) if self.version == 1 else ("memory.max", "memory.swap.max")
        (self.path / names[0]).write_text(str(limit))
        if self.version == 2 and (self.path / names[1]).exists():
            (self.path / names[1]).write_text("0")
        self.peak = 0

    def enter(self) -> None:
        """Put the calling process, and all that it starts, into the group."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def used(self) -> int:
        """Bytes that cannot be given back: anonymous memory and shared memory."""
        lines = (self.path / "memory.stat").read_text().splitlines()
        stat = {name: int(value) for name, value in (line.split() for line in lines)}
        return stat["rss"] + stat.get("shmem", 0) if self.version == 1 else stat["anon"] + stat["shmem"]

    def killed(self) -> int:
        """Processes that the kernel has ended for want of memory."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        lines = (line.split() for line in (self.path / name).read_text().splitlines())
        return int(dict(lines).get("oom_kill", 0))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note the peak of `used` while the block runs, then remove the group."""
        stopped = threading.Event()

        def watch() -> None:
            while not stopped.wait(0.2):
                self.peak = max(self.peak, self.used())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def remove(self) -> None:
        """Once all processes have ended."""
        deadline = time.monotonic() + 20
        while True:
            try:
                return self.path.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)


def _has_memory(root: Path) -> bool:
    controllers = root / "cgroup.subtree_control"
    return root.name == "memory" or (controllers.exists() and "memory" in controllers.read_text())


def supported() -> bool:
    """Whether a group can be made here."""
    try:
        Group(GB).remove()
    except (OSError, StopIteration):
        return False
    return True


def work(options: argparse.Namespace) -> None:
    """The stages, inside the group; a line of JSON each."""
    from scale import Peak, catalog_of, pool_of

    from genre_ray.config import InputConfig, RunConfig, parse
    from genre_ray.connection import connect
    from genre_ray.data.pipeline import prepare
    from genre_ray.predict import predict_catalog

    small = {
        "model": {"kind": "hybrid", "cnn": {"width": 4, "stride": 2, "stages": 3, "hidden": 16}, "mlp": {"width": 32}},
        "training": {"epochs": options.epochs, "batch_size": 64, "augment": {"crop_columns": 64}},
    }
    with tempfile.TemporaryDirectory(dir=options.folder) as name, connect(num_cpus=options.cpus):
        folder = Path(name)
        catalog = catalog_of(pool_of(folder, 500), options.tracks)
        for stage in options.stages:
            peak, started = Peak(), time.perf_counter()
            with peak.watched():
                if stage == "prepare":
                    prepared = prepare(catalog, InputConfig(), cache=folder / "cache", progress=False)
                elif stage == "generate":
                    prepared = generated(catalog, folder / "clips")
                elif stage == "predict":
                    checkpoint = Path(__file__).parents[1] / "genre_ray" / "default_checkpoint"
                    done = predict_catalog(catalog, checkpoint, folder / "genres.parquet", progress=False)
                    facts = {"rows": done.tracks, "failed": sum(done.failed.values())}
                else:
                    facts = train(prepared, parse(RunConfig, small, origin="benchmark"), options)
            if stage in ("prepare", "generate"):
                facts = {"clips": prepared.clips, "held_mb": prepared.clips * (128 * 334 + 57 * 8) // 1024**2}
            facts |= {"seconds": time.perf_counter() - started, "driver_mb": peak.driver, "worker_mb": peak.worker}
            print(json.dumps({"stage": stage, **facts, "store_mb": peak.store}), flush=True)


def generated(catalog, folder: Path):
    """Shards of noise, each genre with stripes of its own width, written without figures."""
    import numpy as np

    from genre_ray.clips import ClipTable
    from genre_ray.data.cache import Place
    from genre_ray.data.pipeline import PreparedCorpus
    from genre_ray.data.store import Entry, Store

    store, generator, places = Store(str(folder)), np.random.default_rng(2), []
    noise = generator.integers(0, 120, (256, 1, 128, 334), dtype=np.uint8)
    dealt = [catalog.tracks[i] for i in generator.permutation(len(catalog))]
    for start in range(0, len(dealt), 256):
        tracks = dealt[start : start + 256]
        width = np.array([8 << catalog.labels.index(track.label) % 5 for track in tracks])[:, None]
        stripes = np.where(np.arange(334) % width < width // 2, 120, 0).astype(np.uint8)
        table = ClipTable(
            track=np.array([track.id for track in tracks]),
            label=np.array([track.label for track in tracks]),
            index=np.zeros(len(tracks), np.int32),
            start_s=np.zeros(len(tracks)),
            spectrogram=generator.permutation(noise)[: len(tracks)] + stripes[:, None, None],
            features=np.stack([track.features for track in tracks]),
        )
        entries = [Entry(track.id, "generated", i, 1) for i, track in enumerate(tracks)]
        with store.writing(name := f"{start:09d}.parquet") as writer:
            writer.add(table.to_arrow())
            writer.finish(entries)
        places += [Place(name, entry) for entry in entries]
    return PreparedCorpus(
        catalog=catalog,
        path=store.location,
        clips=len(places),
        from_cache=False,
        reused=0,
        seconds=0.0,
        _places=tuple(places),
    )


def train(prepared, run, options: argparse.Namespace) -> dict[str, float]:
    """A fit on a stream of nine tenths, validated on the rest, in a task as trials are."""
    import ray

    from genre_ray.data.streaming import StreamingConfig
    from genre_ray.training import fit

    stream = prepared.stream(StreamingConfig(mode="always", reader=options.reader, buffer_mb=64))
    held_out = stream.track[::10].tolist()
    rest = sorted(set(stream.track.tolist()) - set(held_out))

    def task(parts, labels: tuple[str, ...]) -> list[float]:
        fitted = fit(run, *parts, labels=labels, device="cpu", threads=1)
        return [epoch.seconds for epoch in fitted.history]

    parts = ray.put((stream.part(rest), stream.part(held_out)))
    seconds = ray.get(ray.remote(num_cpus=1)(task).remote(parts, prepared.catalog.labels))
    return {"epochs": len(seconds), "tracks_per_s": len(stream) / min(seconds)}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tracks", type=int, default=20_000)
    options.add_argument("--limit", type=float, default=3.0, metavar="GB", help="of all processes together")
    options.add_argument("--stages", nargs="+", choices=("prepare", "generate", "predict", "train"))
    options.add_argument("--epochs", type=int, default=1)
    options.add_argument("--reader", choices=("ray", "arrow"), default="ray")
    options.add_argument("--cpus", type=int, default=2)
    options.add_argument("--folder", type=Path, help="for the shards (default: the system's temporary folder)")
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    arguments.stages = arguments.stages or ["prepare", "predict", "train"]
    if arguments.inside:
        work(arguments)
        return
    group = Group(int(arguments.limit * GB))
    with group.watched():
        ended = subprocess.run([sys.executable, *sys.argv, "--inside"], preexec_fn=group.enter, check=False)
    killed = group.killed()
    print(f"limit {arguments.limit:g} GB, at most {group.peak / GB:.2f} GB held, {killed} processes killed")
    group.remove()
    sys.exit(ended.returncode or (1 if killed else 0))


if __name__ == "__main__":
    main()
