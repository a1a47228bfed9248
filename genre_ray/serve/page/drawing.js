// Canvases: waveform, spectrogram with what spoke for the answer, the genres' course. Knows nothing about the service.

// matplotlib's magma at sixteen places (Smith and van der Walt 2015, CC0)
const MAGMA = ["000004", "0b0924", "20114b", "3b0f70", "57157e", "721f81", "8c2981", "a8327d", "c43c75", "de4968", "f1605d", "fa7f5e",
  "fe9f6d", "febf84", "fddea0", "fcfdbf"].map((hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16)));
const HUES = ["#9b51c9", "#d9662b", "#1f8f6b", "#2f7bd0", "#b8930f"];

/** A piece counts when the probability falls by so much without it. */
export const LEAST = 0.02;

const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The context of a canvas at the screen's own resolution, cleared; drawing is in CSS pixels. */
function fresh(canvas) {
  const scale = window.devicePixelRatio || 1, { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  return { context, width, height };
}

export function drawWaveform(canvas, samples) {
  const { context, width, height } = fresh(canvas);
  context.fillStyle = ink("--bar");
  const middle = height / 2;
  let peak = 1e-6;
  for (let i = 0; i < samples.length; i += 16) peak = Math.max(peak, Math.abs(samples[i]));
  for (let x = 0; x < width; x++) {
    const from = Math.floor((x / width) * samples.length), to = Math.floor(((x + 1) / width) * samples.length);
    let low = 0, high = 0;
    for (let i = from; i < to; i += Math.max(1, Math.floor((to - from) / 200))) { low = Math.min(low, samples[i]); high = Math.max(high, samples[i]); }
    const top = middle - (high / peak) * (middle - 4), bottom = middle - (low / peak) * (middle - 4);
    context.fillRect(x, top, 1, Math.max(1, bottom - top));
  }
}

/** The spectrogram; with an explanation, the pieces that did not speak for the answer are dimmed. */
export function drawSpectrogram(canvas, mel, explanation, seconds) {
  const { context, width, height } = fresh(canvas);
  const picture = new ImageData(mel.columns, mel.rows);
  for (let column = 0; column < mel.columns; column++) {
    for (let row = 0; row < mel.rows; row++) {
      const place = ((mel.rows - 1 - row) * mel.columns + column) * 4, [r, g, b] = colour(mel.levels[column * mel.rows + row] / 255);
      picture.data[place] = r; picture.data[place + 1] = g; picture.data[place + 2] = b; picture.data[place + 3] = 255;
    }
  }
  const sheet = new OffscreenCanvas(mel.columns, mel.rows);
  sheet.getContext("2d").putImageData(picture, 0, 0);
  context.drawImage(sheet, 0, 0, width, height);
  if (explanation) drawExplanation(context, width, height, explanation, seconds);
}

function drawExplanation(context, width, height, { map, bands, segments, start_s, window_s }, seconds) {
  // A short recording was repeated until it filled the window: what lies beyond its end is not drawn.
  const left = (start_s / seconds) * width, wide = (window_s / seconds) * width;
  const seen = Math.min(segments, Math.max(1, Math.round(((seconds - start_s) / window_s) * segments)));
  const strongest = Math.max(...map.flatMap((row) => row.slice(0, seen)));
  if (strongest < LEAST) return;
  context.fillStyle = "rgba(8, 4, 16, 0.72)";
  context.fillRect(0, 0, left, height);
  if (left + wide < width) context.fillRect(left + wide, 0, width - left - wide, height);
  for (let band = 0; band < bands; band++) {
    for (let segment = 0; segment < seen; segment++) {
      const weight = Math.max(0, map[band][segment]) / strongest;
      const x = left + (segment / segments) * wide, y = height - ((band + 1) / bands) * height;
      context.fillStyle = `rgba(8, 4, 16, ${0.72 * (1 - weight)})`;
      context.fillRect(x, y, wide / segments + 0.5, height / bands + 0.5);
      if (weight > 0.5) {
        context.strokeStyle = "#ffffff"; context.lineWidth = 1.5;
        context.strokeRect(x + 1, y + 1, wide / segments - 2, height / bands - 2);
      }
    }
  }
}

function colour(value) {
  const at = value * (MAGMA.length - 1), i = Math.min(MAGMA.length - 2, Math.floor(at)), share = at - i;
  return MAGMA[i].map((from, c) => from + (MAGMA[i + 1][c] - from) * share);
}

const STEPS_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600];

/** Lines of the answer's genre and the leading others over time; returns [{label, hue}] for the legend. `seconds` is the
 * length of the recording, 0 where the browser does not know it. */
export function drawCourse(canvas, course, labels, answer, seconds) {
  const { context, width, height } = fresh(canvas);
  const left = 0, bottom = height - 22, top = 18, right = width; // as wide as the spectrogram, so that times lie below each other
  const end = seconds || course.start_s[course.start_s.length - 1] + course.window_s;
  const x = (at) => left + (Math.min(at, end) / end) * (right - left), y = (p) => bottom - p * (bottom - top);
  context.font = "12px system-ui, sans-serif"; context.fillStyle = ink("--quiet"); context.strokeStyle = ink("--line");
  for (const p of [0, 0.5, 1]) {
    context.beginPath(); context.moveTo(left, y(p)); context.lineTo(right, y(p)); context.stroke();
    context.textAlign = "left"; context.textBaseline = "bottom"; context.fillText(`${p * 100} %`, left, y(p) - 2);
  }
  context.textBaseline = "top";
  const most = Math.min(8, width / 56), step = STEPS_S.find((length) => end / length <= most) || 7200;
  for (let at = 0; at <= end; at += step) {
    context.textAlign = at === 0 ? "left" : x(at) > right - 16 ? "right" : "center";
    context.fillText(clock(at), Math.min(right, x(at)), bottom + 6);
  }
  const means = labels.map((label, i) => ({ label, i, mean: course.probabilities.reduce((sum, row) => sum + row[i], 0) }));
  const rank = ({ label, mean }) => (label === answer ? Infinity : mean);
  const leading = means.sort((a, b) => rank(b) - rank(a)).slice(0, 4);
  return leading.map(({ label, i }, place) => {
    context.strokeStyle = HUES[place]; context.fillStyle = HUES[place]; context.lineWidth = 2.5; context.lineJoin = "round";
    context.beginPath();
    course.start_s.forEach((start, k) => context.lineTo(x(start + course.window_s / 2), y(course.probabilities[k][i])));
    context.stroke();
    course.start_s.forEach((start, k) => { context.beginPath(); context.arc(x(start + course.window_s / 2), y(course.probabilities[k][i]), 3, 0, 7); context.fill(); });
    return { label, hue: HUES[place] };
  });
}

export const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
