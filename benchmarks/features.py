"""Spectrogram and 57 features of a clip: the notebook's way, librosa's functions one by one, against genre_ray's.

    python benchmarks/features.py [--data DIR] [--clips N] [--rounds N]

Both ways take the same files in the same process, turn about, one thread each; the ratio is the median over clips and
rounds of the ratio of two neighbours. Without `--data` three tracks of 30 s are made up. Compilation is done before and
shown apart.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[variable] = "1"  # read once, when numpy is imported

import librosa  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

RATE = 22050
PAD = "reflect"


def naive_features(y: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 57 features as notebooks compute them: each function starts from the samples again."""
    series = [
        librosa.feature.chroma_stft(y=y, sr=RATE, pad_mode=PAD),
        librosa.feature.rms(y=y, pad_mode=PAD),
        librosa.feature.spectral_centroid(y=y, sr=RATE, pad_mode=PAD),
        librosa.feature.spectral_bandwidth(y=y, sr=RATE, pad_mode=PAD),
        librosa.feature.spectral_rolloff(y=y, sr=RATE, pad_mode=PAD),
        librosa.feature.zero_crossing_rate(y),
        librosa.effects.harmonic(y, pad_mode=PAD),
        librosa.effects.percussive(y, pad_mode=PAD),
    ]
    onsets = librosa.onset.onset_strength(y=y, sr=RATE, aggregate=np.median, pad_mode=PAD)
    tempo, _ = librosa.beat.beat_track(onset_envelope=onsets, sr=RATE)
    mfcc = librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=20, pad_mode=PAD)
    values = [f(part) for part in series for f in (np.mean, np.var)]
    values += [np.squeeze(tempo), *(f(part) for part in mfcc for f in (np.mean, np.var))]
    return np.array([float(value) for value in values])


def naive(path: Path) -> Any:
    """From file to decibels and features."""
    y, _ = librosa.load(path, sr=RATE, mono=True)
    mel = librosa.feature.melspectrogram(y=y, sr=RATE, pad_mode=PAD)
    return librosa.amplitude_to_db(mel, ref=np.max), naive_features(y)


def ours(path: Path) -> Any:
    """From file to levels and features."""
    from genre_ray.analysis import analyse
    from genre_ray.audio import load

    return analyse(load(path), form="plot")


def made_up(folder: Path) -> Iterator[Path]:
    """Three tracks of noise in bursts over chords, 30 s, 22050 Hz, 16 bit."""
    import soundfile

    generator = np.random.default_rng(0)
    moments = np.arange(30 * RATE) / RATE
    for number, (pulse_s, root) in enumerate([(0.5, 220.0), (0.4, 261.6), (0.6, 196.0)]):
        bursts = generator.standard_normal(len(moments)) * np.exp(-8 * (moments % pulse_s))
        chord = sum(np.sin(2 * np.pi * root * step * moments) for step in (1.0, 1.26, 1.5))
        path = folder / f"made-up.{number:05d}.wav"
        soundfile.write(path, 0.1 * bursts + 0.1 * chord, RATE, subtype="PCM_16")
        yield path


def converted(path: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """The track as it is, as mp3 at 44.1 kHz, and as flac at 44.1 kHz in stereo."""
    import soundfile

    yield "wav", path
    y, _ = librosa.load(path, sr=44100, mono=True)
    for kind, channels in (("mp3", 1), ("flac, 44.1 kHz stereo", 2)):
        target = folder / f"{path.stem}.{kind[:4].strip(',')}"
        soundfile.write(target, np.repeat(y[:, np.newaxis], channels, axis=1), 44100)
        yield kind, target


def seconds(function: Callable[[Path], Any], path: Path) -> float:
    start = time.perf_counter()
    function(path)
    return time.perf_counter() - start


def peak_mib(command: str) -> float:
    """Largest resident memory of a fresh process that runs `command`."""
    import subprocess
    import sys

    code = f"{command}\nimport resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1024


def compare(paths: list[Path], rounds: int) -> tuple[float, float, float]:
    """Medians over files and rounds: seconds of both ways, and of their ratio."""
    pairs = [(seconds(naive, path), seconds(ours, path)) for _ in range(rounds) for path in paths]
    slow, fast = np.array(pairs).T
    return float(np.median(slow)), float(np.median(fast)), float(np.median(slow / fast))


def report(paths: list[Path], rounds: int, folder: Path) -> None:
    from genre_ray.audio import load

    first = seconds(ours, paths[0])
    print(f"first clip in this process, imports and compilation included: {first:.1f} s")
    naive(paths[0])
    kinds: dict[str, list[Path]] = {}
    for path in paths:
        for kind, target in converted(path, folder):
            kinds.setdefault(kind, []).append(target)
    print(f"\n{len(paths)} clips, {rounds} rounds, one thread, median ms a clip")
    print(f"{'':24}{'librosa':>10}{'genre_ray':>12}{'of it decode':>14}{'ratio':>8}")
    for kind, files in kinds.items():
        slow, fast, ratio = compare(files, rounds)
        decode = np.median([seconds(load, path) for path in files for _ in range(3)])
        print(f"{kind:24}{slow * 1e3:10.0f}{fast * 1e3:12.1f}{decode * 1e3:14.1f}{ratio:8.1f}")
    setup = "import genre_ray.analysis as a, genre_ray.audio as r, numpy as n; "
    before = peak_mib(setup + "a.analyse(n.sin(n.arange(22050.)).astype('f4'), form='plot')")
    after = peak_mib(setup + f"[a.analyse(r.load({str(paths[0])!r}), form='plot') for _ in range(3)]")
    print(
        f"\npeak memory of a process: {after:.0f} MiB; a clip of 30 s takes {after - before:.0f} more than one of 1 s"
    )


def main() -> None:
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder with wav files, searched through")
    parser.add_argument("--clips", type=int, default=5, help="how many of them, spread evenly")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = sorted(arguments.data.rglob("*.wav")) if arguments.data else list(made_up(folder))
        if not found:
            parser.error(f"no wav file under {arguments.data}")
        step = max(len(found) // arguments.clips, 1)
        report(found[::step][: arguments.clips], arguments.rounds, folder)


if __name__ == "__main__":
    main()
