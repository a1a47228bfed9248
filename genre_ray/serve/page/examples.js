// Examples made on the spot: a club beat, a piano, loud guitars. Knows nothing about the page or the service.

import { RATE } from "/static/sound.js";

const SECONDS = 16;

/** Sixteen seconds of the example `name`: a mono Float32Array at RATE. */
export async function example(name) {
  const context = new OfflineAudioContext(1, RATE * SECONDS, RATE);
  ({ club, piano, guitars })[name](context, band(context));
  return (await context.startRendering()).getChannelData(0);
}

/** What all of them play with: a tone with a filter and a fading level, and a burst of noise. */
function band(context) {
  const noise = context.createBuffer(1, RATE, RATE);
  let seed = 7;
  noise.getChannelData(0).forEach((_, i, data) => { seed = (seed * 16807) % 2147483647; data[i] = seed / 1073741824 - 1; });
  const fading = (at, length, gain, to) => {
    const level = context.createGain();
    level.gain.setValueAtTime(0.0001, at); level.gain.linearRampToValueAtTime(gain, at + 0.006);
    level.gain.exponentialRampToValueAtTime(0.0001, at + length);
    level.connect(to);
    return level;
  };
  const filtered = (type, frequency) => { const filter = context.createBiquadFilter(); filter.type = type; filter.frequency.value = frequency; return filter; };
  const tone = (type, frequency, at, length, gain, cutoff, to = context.destination) => {
    const oscillator = context.createOscillator();
    oscillator.type = type; oscillator.frequency.value = frequency;
    oscillator.connect(filtered("lowpass", cutoff)).connect(fading(at, length, gain, to));
    oscillator.start(at); oscillator.stop(at + length);
    return oscillator;
  };
  const hit = (at, length, gain, type, frequency) => {
    const source = context.createBufferSource();
    source.buffer = noise;
    source.connect(filtered(type, frequency)).connect(fading(at, length, gain, context.destination));
    source.start(at); source.stop(at + length);
  };
  const kick = (at, gain) => tone("sine", 120, at, 0.22, gain, 4000).frequency.exponentialRampToValueAtTime(45, at + 0.12);
  return { tone, hit, kick };
}

function club(context, { tone, hit, kick }) {
  const beat = 60 / 122, roots = [110, 87.31, 130.81, 98];
  for (let i = 0; i * beat < SECONDS - 0.5; i++) {
    const at = i * beat, root = roots[Math.floor(i / 4) % 4];
    kick(at, 0.9);
    for (const step of [0.5, 0.75]) tone("sawtooth", root / 2, at + step * beat, 0.18, 0.35, 700);
    hit(at + beat / 2, 0.09, 0.25, "highpass", 7000);
    if (i % 4 === 0) for (const third of [1, 1.189, 1.498]) tone("sawtooth", root * 2 * third, at, beat * 3.6, 0.07, 2200);
  }
}

/** Broken chords, each string with a few partials that fade the faster the higher they are. */
function piano(context, { tone }) {
  const chords = [[0, 4, 7, 12, 16], [0, 2, 9, 14, 17], [-1, 2, 7, 14, 17], [0, 4, 7, 12, 16], [0, 4, 9, 16, 21], [0, 2, 6, 9, 14], [-1, 2, 7, 14, 19], [-1, 0, 4, 7, 12]];
  const step = 0.21;
  for (let i = 0; i * step < SECONDS - 1; i++) {
    const chord = chords[Math.floor(i / 16) % chords.length], note = [0, 1, 2, 3, 4, 2, 3, 4][i % 8];
    const frequency = 261.63 * 2 ** (chord[note] / 12), loud = 0.2 + 0.05 * Math.sin(i / 9);
    for (let partial = 1; partial <= 5; partial++) tone("sine", frequency * partial, i * step, (note < 2 ? 2.4 : 1.3) / partial ** 0.6, loud / partial ** 1.5, 8000);
  }
}

/** Fifths through a valve that is driven too hard, over drums. */
function guitars(context, { tone, hit, kick }) {
  const valve = context.createWaveShaper(), speaker = context.createBiquadFilter(), level = context.createGain();
  valve.curve = Float32Array.from({ length: 1024 }, (_, i) => Math.tanh(14 * (i / 512 - 1)));
  speaker.type = "lowpass"; speaker.frequency.value = 4500; level.gain.value = 0.22;
  valve.connect(speaker).connect(level).connect(context.destination);
  const eighth = 60 / 168 / 2, roots = [82.41, 82.41, 98, 110, 82.41, 82.41, 123.47, 116.54];
  for (let i = 0; i * eighth < SECONDS - 0.5; i++) {
    const at = i * eighth, root = roots[Math.floor(i / 8) % 8], open = i % 8 === 0 || i % 8 === 3;
    for (const ratio of [1, 1.4983]) for (const cents of [0.998, 1.002]) tone("sawtooth", root * ratio * cents, at, open ? eighth * 2.6 : eighth * 0.8, 0.25, 5000, valve);
    if (i % 2 === 0 || i % 8 === 3) kick(at, 0.8);
    if (i % 4 === 2) hit(at, 0.18, 0.6, "bandpass", 1800);
    hit(at, 0.06, 0.18, "highpass", 8000);
  }
}
