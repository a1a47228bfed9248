"""Real Fourier transforms of 2048 samples, eight frames side by side. Knows nothing about sound.

Half of the time of all features would go into `scipy.fft`, with vector instructions of 128 bits at most. Here frames
are the lanes of one loop, which LLVM turns into the widest instructions at hand. Two things make it do so: rows of
lanes lie at distances that are constants, and the number of lanes is a variable (of a short loop of known length it
thinks that checking for overlap does not pay).

- Forward in double precision, rounded to single at the end like librosa's: 1024 complex points in five radix-4 passes
  of constant geometry (Pease, "An adaptation of the fast Fourier transform for parallel processing", 1968), then the
  two interleaved halves are told apart.
- Backward in single precision with the very operations of pocketfft (M. Reinecke; in numpy and scipy), in order, so
  that the result equals `np.fft.irfft` to the bit where numpy was compiled without fused multiply-add (x86-64).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from genre_ray.compiled import compiled, inlined

N_FFT = 2048
HOP_LENGTH = 512
N_BINS = 1 + N_FFT // 2

_HALF = N_FFT // 2
_QUARTER = N_FFT // 4
_EIGHTH = N_FFT // 8
_FRAMES = 8
_LANES = 2 * _FRAMES
"""Of the backward transform: eight frames of two signals."""

_PASSES = 5
_BACKWARD = ((256, 2), (64, 8), (16, 32), (4, 128), (1, 512))
"""Length of a run and number of runs in each radix-4 pass, after one of radix 2."""


Singles = NDArray[np.float32]
Doubles = NDArray[np.float64]


class ForwardTables(NamedTuple):
    """`turns` (5, 256, 6): cosine and minus sine of each butterfly's three factors; `order`: where point k ends up.

    `halves` (2, 513): cosine and sine that join the two halves.
    """

    turns: Doubles
    order: NDArray[np.int64]
    halves: Doubles


def forward(samples: Singles, window: Doubles, spectrum: NDArray[np.complex64]) -> None:
    """Fill `spectrum` (n, 1025): row i from the 2048 windowed samples that start at 512 i."""
    room = np.empty((2, N_FFT * _FRAMES))
    bins = np.empty((N_FFT + 2) * _FRAMES, dtype=np.float32)
    rows = spectrum.view(np.float32)
    _forward(samples, window, *_forward_tables(), room[0], room[1], bins, rows, _FRAMES)


def backward_add(spectra: NDArray[np.complex64], window: Doubles, signals: tuple[Singles, Singles], start: int) -> None:
    """Add the windowed inverse transforms of `spectra` (2, n, 1025) to two signals, the first frame at `start`.

    Each sum is made in double precision and rounded, frame after frame, as librosa's `istft` does.
    """
    room = np.empty((2, N_FFT * _LANES), dtype=np.float32)
    frames = np.empty((_LANES, N_FFT), dtype=np.float32)
    turns = _backward_turns()
    _backward_add(spectra.view(np.float32), window / N_FFT, turns, room[0], room[1], frames, *signals, start, _LANES)


@cache
def _forward_tables() -> ForwardTables:
    turns = np.zeros((_PASSES, _EIGHTH, 6))
    for step in range(_PASSES):
        place = np.arange(_EIGHTH) >> (2 * step)
        for factor in (1, 2, 3):
            angle = 2.0 * np.pi * ((place * 4**step * factor) % _HALF) / _HALF
            turns[step, :, 2 * factor - 2], turns[step, :, 2 * factor - 1] = np.cos(angle), -np.sin(angle)
    order, rest = np.zeros(_HALF, dtype=np.int64), np.arange(_HALF)
    for _ in range(_PASSES):
        order, rest = 4 * order + rest % 4, rest // 4
    angle = 2.0 * np.pi * np.arange(_QUARTER + 1) / N_FFT
    return ForwardTables(turns, order, np.array([np.cos(angle), np.sin(angle)]))


@cache
def _backward_turns() -> Singles:
    """(6, 1024, 6): for each pass and place in a run, cosine and sine of up to three factors: pocketfft's twiddles."""
    angle = 2.0 * np.pi * np.arange(N_FFT) / N_FFT
    cosine, sine = np.cos(angle), np.sin(angle)
    turns = np.zeros((1 + len(_BACKWARD), _HALF, 6), dtype=np.float32)
    for step, (length, runs) in enumerate(((_HALF, 1), *_BACKWARD)):
        place = np.arange(1, (length - 1) // 2 + 1)
        for factor in range(1, 4 if step else 2):
            turns[step, 2 * place, 2 * factor - 2] = cosine[(factor * runs * place) % N_FFT]
            turns[step, 2 * place, 2 * factor - 1] = sine[(factor * runs * place) % N_FFT]
    return turns


@inlined
def _load(samples: Singles, window: Doubles, to: Doubles, frames: int, lanes: int) -> None:
    """Even samples as real, odd ones as imaginary parts; lanes beyond the last frame repeat it."""
    for n in range(_HALF):
        for lane in range(lanes):
            at = min(lane, frames - 1) * HOP_LENGTH + 2 * n
            to[n * _FRAMES + lane] = window[2 * n] * np.float64(samples[at])
            to[(_HALF + n) * _FRAMES + lane] = window[2 * n + 1] * np.float64(samples[at + 1])


@inlined
def _forward_pass(x: Doubles, y: Doubles, turns: Doubles, lanes: int) -> None:
    """256 butterflies of four complex points; points lie 256 rows apart in `x` and side by side in `y`."""
    for p in range(_EIGHTH):
        u, v = x[p * _FRAMES :], y[4 * p * _FRAMES :]
        c1, s1, c2, s2, c3, s3 = turns[p, 0], turns[p, 1], turns[p, 2], turns[p, 3], turns[p, 4], turns[p, 5]
        for q in range(lanes):
            x0, x1 = u[q], u[_EIGHTH * _FRAMES + q]
            x2, x3 = u[2 * _EIGHTH * _FRAMES + q], u[3 * _EIGHTH * _FRAMES + q]
            y0, y1 = u[_HALF * _FRAMES + q], u[(_HALF + _EIGHTH) * _FRAMES + q]
            y2, y3 = u[(_HALF + 2 * _EIGHTH) * _FRAMES + q], u[(_HALF + 3 * _EIGHTH) * _FRAMES + q]
            ar, ai, br, bi = x0 + x2, y0 + y2, x0 - x2, y0 - y2
            cr, ci, dr, di = x1 + x3, y1 + y3, y1 - y3, x3 - x1
            v[q], v[_HALF * _FRAMES + q] = ar + cr, ai + ci
            er, ei = br + dr, bi + di
            v[_FRAMES + q], v[(_HALF + 1) * _FRAMES + q] = er * c1 - ei * s1, er * s1 + ei * c1
            er, ei = ar - cr, ai - ci
            v[2 * _FRAMES + q], v[(_HALF + 2) * _FRAMES + q] = er * c2 - ei * s2, er * s2 + ei * c2
            er, ei = br - dr, bi - di
            v[3 * _FRAMES + q], v[(_HALF + 3) * _FRAMES + q] = er * c3 - ei * s3, er * s3 + ei * c3


@inlined
def _join_halves(x: Doubles, order: NDArray[np.int64], halves: Doubles, bins: Singles, lanes: int) -> None:
    """The spectrum of the real samples out of that of the pairs: rows real, imaginary, real, ... of `bins`."""
    for q in range(lanes):
        bins[q], bins[_FRAMES + q] = np.float32(x[q] + x[_HALF * _FRAMES + q]), np.float32(0.0)
        bins[2 * _HALF * _FRAMES + q] = np.float32(x[q] - x[_HALF * _FRAMES + q])
        bins[(2 * _HALF + 1) * _FRAMES + q] = np.float32(0.0)
    for k in range(1, _QUARTER + 1):
        a, b = x[order[k] * _FRAMES :], x[order[_HALF - k] * _FRAMES :]
        low, high = bins[2 * k * _FRAMES :], bins[2 * (_HALF - k) * _FRAMES :]
        cosine, sine = 0.5 * halves[0, k], 0.5 * halves[1, k]
        for q in range(lanes):
            even_r, even_i = 0.5 * (a[q] + b[q]), 0.5 * (a[_HALF * _FRAMES + q] - b[_HALF * _FRAMES + q])
            odd_r, odd_i = a[_HALF * _FRAMES + q] + b[_HALF * _FRAMES + q], b[q] - a[q]
            turned_r, turned_i = cosine * odd_r + sine * odd_i, cosine * odd_i - sine * odd_r
            low[q], low[_FRAMES + q] = np.float32(even_r + turned_r), np.float32(even_i + turned_i)
            high[q], high[_FRAMES + q] = np.float32(even_r - turned_r), np.float32(turned_i - even_i)


@compiled()
def _forward(
    samples: Singles,
    window: Doubles,
    turns: Doubles,
    order: NDArray[np.int64],
    halves: Doubles,
    x: Doubles,
    y: Doubles,
    bins: Singles,
    rows: Singles,
    lanes: int,
) -> None:
    for first in range(0, rows.shape[0], _FRAMES):
        frames = min(_FRAMES, rows.shape[0] - first)
        _load(samples[first * HOP_LENGTH :], window, x, frames, lanes)
        for step in range(0, _PASSES - 1, 2):
            _forward_pass(x, y, turns[step], lanes)
            _forward_pass(y, x, turns[step + 1], lanes)
        _forward_pass(x, y, turns[_PASSES - 1], lanes)
        _join_halves(y, order, halves, bins, lanes)
        for lane in range(frames):
            row = rows[first + lane]
            for k in range(row.shape[0]):
                row[k] = bins[k * _FRAMES + lane]


@inlined
def _backward_pass2(x: Singles, y: Singles, turns: Singles, lanes: int) -> None:
    """Radb2 of pocketfft for its one run of 1024."""
    two, far = np.float32(2.0), _HALF * _LANES
    a, b, c = x[(N_FFT - 1) * _LANES :], x[(_HALF - 1) * _LANES :], x[_HALF * _LANES :]
    to = y[(_HALF - 1) * _LANES :]
    for q in range(lanes):
        y[q], y[far + q] = x[q] + a[q], x[q] - a[q]
        to[q], to[far + q] = two * b[q], -two * c[q]
    for i in range(2, _HALF, 2):
        a, b, to = x[(i - 1) * _LANES :], x[(2 * _HALF - i - 1) * _LANES :], y[(i - 1) * _LANES :]
        cosine, sine = turns[i, 0], turns[i, 1]
        for q in range(lanes):
            to[q], tr = a[q] + b[q], a[q] - b[q]
            ti, to[_LANES + q] = a[_LANES + q] + b[_LANES + q], a[_LANES + q] - b[_LANES + q]
            to[far + _LANES + q], to[far + q] = cosine * ti + sine * tr, cosine * tr - sine * ti


@inlined
def _backward_ends(x: Singles, y: Singles, length: int, runs: int, lanes: int) -> None:
    """Radb4 of pocketfft, the first point of each run and, in runs of even length, the last."""
    two, root2, far = np.float32(2.0), np.float32(np.sqrt(2.0)), _QUARTER * _LANES
    for run in range(runs):
        at = 4 * length * run
        a, b = x[at * _LANES :], x[(at + 4 * length - 1) * _LANES :]
        c, d, to = x[(at + 2 * length - 1) * _LANES :], x[(at + 2 * length) * _LANES :], y[length * run * _LANES :]
        for q in range(lanes):
            t2, t1, t3, t4 = a[q] + b[q], a[q] - b[q], two * c[q], two * d[q]
            to[q], to[2 * far + q], to[3 * far + q], to[far + q] = t2 + t3, t2 - t3, t1 + t4, t1 - t4
    if length % 2 == 1:
        return
    for run in range(runs):
        at = 4 * length * run
        a, b = x[(at + 3 * length) * _LANES :], x[(at + length) * _LANES :]
        c, d = x[(at + length - 1) * _LANES :], x[(at + 3 * length - 1) * _LANES :]
        to = y[(length * run + length - 1) * _LANES :]
        for q in range(lanes):
            i1, i2, t2, t1 = a[q] + b[q], a[q] - b[q], c[q] + d[q], c[q] - d[q]
            to[q], to[far + q] = t2 + t2, root2 * (t1 - i1)
            to[2 * far + q], to[3 * far + q] = i2 + i2, -root2 * (t1 + i1)


@inlined
def _backward_pass4(x: Singles, y: Singles, turns: Singles, length: int, runs: int, lanes: int) -> None:
    """Radb4 of pocketfft."""
    _backward_ends(x, y, length, runs, lanes)
    far = _QUARTER * _LANES
    for run in range(runs):
        at = 4 * length * run
        for i in range(2, length, 2):
            a, b = x[(at + i - 1) * _LANES :], x[(at + 4 * length - i - 1) * _LANES :]
            c, d = x[(at + 2 * length + i - 1) * _LANES :], x[(at + 2 * length - i - 1) * _LANES :]
            to = y[(length * run + i - 1) * _LANES :]
            c1, s1, c2, s2, c3, s3 = turns[i, 0], turns[i, 1], turns[i, 2], turns[i, 3], turns[i, 4], turns[i, 5]
            for q in range(lanes):
                tr2, tr1 = a[q] + b[q], a[q] - b[q]
                ti1, ti2 = a[_LANES + q] + b[_LANES + q], a[_LANES + q] - b[_LANES + q]
                tr4, ti3 = c[_LANES + q] + d[_LANES + q], c[_LANES + q] - d[_LANES + q]
                tr3, ti4 = c[q] + d[q], c[q] - d[q]
                to[q], cr3 = tr2 + tr3, tr2 - tr3
                to[_LANES + q], ci3 = ti2 + ti3, ti2 - ti3
                cr4, cr2, ci2, ci4 = tr1 + tr4, tr1 - tr4, ti1 + ti4, ti1 - ti4
                to[far + _LANES + q], to[far + q] = c1 * ci2 + s1 * cr2, c1 * cr2 - s1 * ci2
                to[2 * far + _LANES + q], to[2 * far + q] = c2 * ci3 + s2 * cr3, c2 * cr3 - s2 * ci3
                to[3 * far + _LANES + q], to[3 * far + q] = c3 * ci4 + s3 * cr4, c3 * cr4 - s3 * ci4


@inlined
def _turn_in(rows: Singles, x: Singles) -> None:
    """Spectra to lanes: real 0, real 1, imaginary 1, ..., real 1024, without the two parts that are zero."""
    last = rows.shape[0] - 1
    a, b, c, d = rows[0], rows[min(1, last)], rows[min(2, last)], rows[min(3, last)]
    e, f, g, h = rows[min(4, last)], rows[min(5, last)], rows[min(6, last)], rows[min(7, last)]
    for n in range(N_FFT):
        k = n + 1 if n else 0
        to = x[n * _LANES : n * _LANES + _FRAMES]
        to[0], to[1], to[2], to[3], to[4], to[5], to[6], to[7] = a[k], b[k], c[k], d[k], e[k], f[k], g[k], h[k]


@inlined
def _turn_out(x: Singles, rows: Singles) -> None:
    """Lanes to rows of samples."""
    a, b, c, d, e, f, g, h = rows[0], rows[1], rows[2], rows[3], rows[4], rows[5], rows[6], rows[7]
    for n in range(N_FFT):
        of = x[n * _LANES : n * _LANES + _FRAMES]
        a[n], b[n], c[n], d[n], e[n], f[n], g[n], h[n] = of[0], of[1], of[2], of[3], of[4], of[5], of[6], of[7]


@compiled()
def _backward_add(
    spectra: Singles,
    window: Doubles,
    turns: Singles,
    x: Singles,
    y: Singles,
    rows: Singles,
    first_signal: Singles,
    second_signal: Singles,
    start: int,
    lanes: int,
) -> None:
    for first in range(0, spectra.shape[1], _FRAMES):
        frames = min(_FRAMES, spectra.shape[1] - first)
        _turn_in(spectra[0, first : first + frames], x)
        _turn_in(spectra[1, first : first + frames], x[_FRAMES:])
        _backward_pass2(x, y, turns[0], lanes)
        _backward_pass4(y, x, turns[1], 256, 2, lanes)
        _backward_pass4(x, y, turns[2], 64, 8, lanes)
        _backward_pass4(y, x, turns[3], 16, 32, lanes)
        _backward_pass4(x, y, turns[4], 4, 128, lanes)
        _backward_pass4(y, x, turns[5], 1, 512, lanes)
        _turn_out(x, rows[:_FRAMES])
        _turn_out(x[_FRAMES:], rows[_FRAMES:])
        for lane in range(lanes):
            if lane % _FRAMES < frames:
                at = start + (first + lane % _FRAMES) * HOP_LENGTH
                signal = first_signal if lane < _FRAMES else second_signal
                to, values = signal[at : at + N_FFT], rows[lane]
                for n in range(N_FFT):
                    to[n] = np.float32(np.float64(to[n]) + window[n] * np.float64(values[n]))
