// Sound in the browser: decoding, mel spectrogram, WAV for what was recorded.
// Knows nothing about the page or the service.

export const RATE = 22050;
const FFT = 2048, MELS = 128, TOP_DB = 80;

/** Decode any file the browser can: a mono Float32Array at RATE. Throws when it cannot. */
export async function decode(bytes) {
  const context = new OfflineAudioContext(1, 1, RATE);
  const buffer = await context.decodeAudioData(bytes.slice(0));
  const mono = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / buffer.numberOfChannels;
  }
  return mono;
}

/** 16-bit PCM WAV of mono samples at RATE. */
export function wav(samples) {
  const view = new DataView(new ArrayBuffer(44 + samples.length * 2));
  const text = (at, word) => [...word].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + samples.length * 2, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, RATE, true); view.setUint32(28, RATE * 2, true); view.setUint16(32, 2, true); view.setUint16(34, 16, true);
  text(36, "data"); view.setUint32(40, samples.length * 2, true);
  for (let i = 0; i < samples.length; i++) view.setInt16(44 + i * 2, Math.max(-1, Math.min(1, samples[i])) * 32767, true);
  return new Blob([view], { type: "audio/wav" });
}

/** Mel levels 0..255 as {columns, rows: MELS, levels: Uint8Array}, row 0 the lowest; at most `most` columns. */
export function melSpectrogram(samples, most = 900) {
  const hop = Math.max(512, Math.ceil(samples.length / most));
  const columns = Math.max(1, Math.floor(samples.length / hop));
  const filters = melFilters();
  const window = Float32Array.from({ length: FFT }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / FFT));
  const decibels = new Float32Array(columns * MELS);
  const re = new Float32Array(FFT), im = new Float32Array(FFT);
  let peak = -Infinity;
  for (let column = 0; column < columns; column++) {
    const start = column * hop - FFT / 2;
    for (let i = 0; i < FFT; i++) { re[i] = (samples[start + i] || 0) * window[i]; im[i] = 0; }
    fft(re, im);
    for (let mel = 0; mel < MELS; mel++) {
      const { first, weights } = filters[mel];
      let sum = 1e-10;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * (re[first + k] ** 2 + im[first + k] ** 2);
      const value = 10 * Math.log10(sum);
      decibels[column * MELS + mel] = value;
      if (value > peak) peak = value;
    }
  }
  const levels = Uint8Array.from(decibels, (value) => Math.max(0, Math.min(255, 255 * (1 + (value - peak) / TOP_DB))));
  return { columns, rows: MELS, levels };
}

function melFilters() {
  const mel = (hz) => 2595 * Math.log10(1 + hz / 700), hz = (m) => 700 * (10 ** (m / 2595) - 1);
  const edges = Array.from({ length: MELS + 2 }, (_, i) => (hz((mel(RATE / 2) * i) / (MELS + 1)) * FFT) / RATE);
  return Array.from({ length: MELS }, (_, i) => {
    const [low, middle, high] = edges.slice(i, i + 3);
    const first = Math.max(0, Math.floor(low)), last = Math.min(FFT / 2, Math.ceil(high));
    const weights = [];
    for (let k = first; k <= last; k++) weights.push(Math.max(0, Math.min((k - low) / (middle - low), (high - k) / (high - middle))));
    if (!weights.some((w) => w > 0)) weights[Math.round(middle) - first] = 1;
    return { first, weights: weights.map((w) => w || 0) };
  });
}

/** In-place radix-2 transform (Cooley and Tukey 1965). */
function fft(re, im) {
  const n = re.length;
  for (let i = 1, j = 0; i < n; i++) {
    let bit = n >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) { [re[i], re[j]] = [re[j], re[i]]; [im[i], im[j]] = [im[j], im[i]]; }
  }
  for (let size = 2; size <= n; size <<= 1) {
    const angle = (-2 * Math.PI) / size, half = size >> 1;
    for (let k = 0; k < half; k++) {
      const c = Math.cos(angle * k), s = Math.sin(angle * k);
      for (let i = k; i < n; i += size) {
        const j = i + half, tr = re[j] * c - im[j] * s, ti = re[j] * s + im[j] * c;
        re[j] = re[i] - tr; im[j] = im[i] - ti; re[i] += tr; im[i] += ti;
      }
    }
  }
}
