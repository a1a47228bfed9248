// The page: takes a recording, asks the service, shows the answer. Knows nothing about how answers come about.

import { LEAST, clock, drawCourse, drawSpectrogram, drawWaveform } from "/static/drawing.js";
import { example } from "/static/examples.js";
import { RATE, decode, melSpectrogram, wav } from "/static/sound.js";

const $ = (id) => document.getElementById(id);
const percent = (p) => {
  if (p > 0 && p < 0.01) return "< 1 %";
  return p > 0.99 && p < 1 ? "> 99 %" : `${Math.round(p * 100)} %`;
};
const TITLES = {
  "unsupported-media": "That is not a recording", "unusable-audio": "That recording cannot be used", "too-large": "That is too much",
  overloaded: "The service is busy", "not-ready": "The service is not ready yet", timeout: "That took too long",
  "slow-body": "The connection is too slow", unauthorised: "This service asks for a token",
};
const player = new Audio();
const state = {
  run: 0, blob: null, name: "", url: "", samples: null, mel: null, answer: null, // of the newest recording
  token: "", limits: {}, recorder: null, permitting: false,
};

init();

async function init() {
  $("file").addEventListener("change", () => {
    const file = $("file").files[0];
    if (file) take(file, file.name);
    $("file").value = ""; // so that the same file can be chosen again
  });
  for (const button of document.querySelectorAll("[data-example]")) {
    const name = button.dataset.example;
    const trouble = { title: "No example", detail: "This browser cannot make sounds. Choose a file instead." };
    button.addEventListener("click", () => takeMade("Making an example", () => example(name), `${name}.wav`, trouble));
  }
  $("record").addEventListener("click", record);
  $("play").addEventListener("click", () => (player.paused ? player.play().catch(showPlaying) : player.pause()));
  $("seek").addEventListener("input", () => { player.currentTime = ($("seek").value / 1000) * duration(); });
  $("stage").addEventListener("click", (event) => { player.currentTime = (event.offsetX / $("stage").clientWidth) * duration(); });
  $("why").addEventListener("change", draw);
  $("retry").addEventListener("click", () => take(state.blob, state.name));
  $("shorten").addEventListener("click", () => take(wav(state.samples.subarray(0, RATE * 120)), "first-two-minutes.wav"));
  $("copy").addEventListener("click", () => copyCommand());
  $("token-form").addEventListener("submit", (event) => { event.preventDefault(); state.token = $("token").value.trim(); take(state.blob, state.name); });
  for (const name of ["play", "pause", "ended"]) player.addEventListener(name, showPlaying);
  for (const name of ["timeupdate", "loadedmetadata", "seeked"]) player.addEventListener(name, showPosition);
  window.addEventListener("resize", debounce(draw, 150));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  dropping();
  meet();
}

/** Ask what the service knows and takes, and again while it is not ready; files are taken meanwhile. */
async function meet(wait = 2) {
  let response, model;
  try {
    response = await fetch("/v1/model");
    model = response.ok ? await response.json() : null;
  } catch { model = null; }
  if (model) {
    state.limits = model.limits || {};
    $("model").textContent = `${model.labels.length} genres, model ${model.version}`;
    if (model.labels.length <= 24) $("known").textContent = `It knows ${listed(model.labels)}, and says so when it is unsure.`;
    return;
  }
  $("model").textContent = response ? "the service is not ready yet" : "the service cannot be reached";
  setTimeout(() => meet(Math.min(60, wait * 2)), 1000 * (Number(response?.headers.get("retry-after")) || wait));
}

function dropping() {
  let depth = 0;
  const over = (on) => $("drop").classList.toggle("over", on);
  document.addEventListener("dragenter", (event) => { event.preventDefault(); depth++; over(true); });
  document.addEventListener("dragleave", () => { if (--depth <= 0) { depth = 0; over(false); } });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault(); depth = 0; over(false);
    const file = event.dataTransfer.files[0];
    if (file) take(file, file.name);
  });
}

/** Record until pressed again, half a minute at most. What is taken meanwhile ends it. */
async function record() {
  if (state.recorder) { state.recorder.stop(); return; }
  if (state.permitting) return;
  const run = begin("Asking for the microphone");
  let stream;
  state.permitting = true;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: true });
    if (run === state.run) listen(stream, run); else release(stream);
  } catch {
    release(stream);
    if (run === state.run) fail({ title: "No recording", detail: "The browser gave no access to a microphone. Choose a file, or take an example." });
  } finally { state.permitting = false; }
}

function listen(stream, run) {
  const pieces = [], recorder = new MediaRecorder(stream);
  recorder.addEventListener("dataavailable", (event) => pieces.push(event.data));
  recorder.addEventListener("stop", () => {
    release(stream);
    if (run !== state.run) return;
    const heard = async () => decode(await new Blob(pieces).arrayBuffer());
    takeMade("Reading the recording", heard, "recording.wav", { title: "That recording is empty", detail: "Nothing was heard. Record for a few seconds, then stop." });
  });
  recorder.start();
  state.recorder = recorder;
  recording(true); say("Recording, up to 30 seconds", false);
  setTimeout(() => state.recorder === recorder && recorder.stop(), 30000);
}

function release(stream) { stream?.getTracks().forEach((track) => track.stop()); }

function recording(on) {
  $("record").setAttribute("aria-pressed", String(on));
  $("record").textContent = on ? "Stop" : "Record";
}

/** Clear the page for something newer. Returns its number: who has waited looks whether it is still the newest. */
function begin(text) {
  const recorder = state.recorder;
  Object.assign(state, { blob: null, name: "", samples: null, mel: null, answer: null, recorder: null });
  const run = ++state.run;
  if (recorder) { recording(false); if (recorder.state !== "inactive") recorder.stop(); }
  for (const id of ["problem", "answer", "skip", "sound", "under", "course-block"]) $(id).hidden = true;
  $("why").checked = false; $("why").disabled = true; $("why-text").textContent = "";
  player.pause(); player.removeAttribute("src"); player.load();
  URL.revokeObjectURL(state.url);
  say(text, true);
  return run;
}

/** Take the samples that `make` comes up with, unless something newer was taken meanwhile. */
async function takeMade(text, make, name, trouble) {
  const run = begin(text);
  let samples;
  try { samples = await make(); } catch { samples = []; }
  if (run !== state.run) return;
  if (samples.length) take(wav(samples), name); else fail(trouble);
}

/** Show a recording and ask about it: first the answer, then its course and its reasons. */
async function take(blob, name) {
  const run = begin(`Listening to ${name}`), newest = () => run === state.run;
  Object.assign(state, { blob, name, url: URL.createObjectURL(blob) });
  player.src = state.url;
  let bytes;
  try { bytes = await blob.arrayBuffer(); } catch { bytes = null; }
  if (!newest()) return;
  if (!bytes) { fail({ title: "The file cannot be read", detail: `The file ${name} has changed or gone since it was chosen, or it is a folder.` }); return; }
  const looking = look(bytes, newest), most = state.limits.audio_bytes;
  if (most && blob.size > most) {
    await looking;
    if (newest()) fail({ title: "The recording is too large", detail: `It has ${megabytes(blob.size)}; the service takes up to ${megabytes(most)}.` });
    return;
  }
  const started = performance.now(), answer = await ask("", blob, bytes), took = performance.now() - started;
  if (newest() && !answer.problem) show(answer, took);
  await looking;
  if (!newest()) return;
  if (answer.problem) { fail(answer.problem); return; }
  const more = await ask("over_time=true&explain=true", blob, bytes);
  if (newest() && !more.problem) deepen(more);
}

/** Decode and draw what the browser itself can; the service may know more formats than the browser. */
async function look(bytes, newest) {
  try {
    const samples = await decode(bytes);
    if (!newest()) return;
    state.samples = samples;
    $("sound").hidden = false;
    state.mel = melSpectrogram(samples);
    draw(); showPosition();
  } catch { if (newest()) $("sound").hidden = true; }
}

async function ask(query, blob, bytes) {
  const headers = { "content-type": blob.type || "application/octet-stream" };
  if (state.token) headers.authorization = `Bearer ${state.token}`;
  let response;
  try {
    response = await fetch(`/v1/predict/audio${query ? `?${query}` : ""}`, { method: "POST", body: bytes, headers });
  } catch {
    return { problem: { title: "The service cannot be reached", detail: "Look at the connection, then try again.", again: true } };
  }
  try {
    const document = await response.json();
    return response.ok ? document : { problem: { ...document, again: [429, 503, 504].includes(response.status), wait: response.headers.get("retry-after") } };
  } catch { return { problem: { title: "The answer cannot be read", detail: `The service answered ${response.status}.`, again: true } }; }
}

function show(answer, took) {
  state.answer = answer;
  $("drop").classList.add("compact");
  say(`${answer.label}, ${percent(answer.score)}${answer.unsure ? ", unsure" : ""}`, false);
  $("status").classList.add("visually-hidden"); // for those who listen; the others see the answer itself
  for (const id of ["answer", "skip", "under"]) $(id).hidden = false;
  $("verdict").replaceChildren(answer.label, " ", make("small", percent(answer.score)));
  $("unsure").hidden = !answer.unsure;
  const [first, second] = answer.predictions;
  const close = second && second.score > first.score / 2;
  $("unsure").textContent = close ? `Unsure: no genre stands out. It could be ${first.label}, or ${second.label}.`
    : "Unsure: of answers like this one, this model gets too many wrong.";
  $("bars").replaceChildren(...answer.predictions.slice(0, 12).map(bar));
  $("request-id").textContent = answer.request_id;
  $("version").textContent = answer.model.version;
  $("timing").textContent = `answered in ${took < 1000 ? `${Math.round(took)} ms` : `${(took / 1000).toFixed(1)} s`}`;
  $("curl").textContent = command();
}

function bar({ label, score }) {
  const item = make("li"), name = make("span", label, "name"), track = make("span", "", "track"), fill = make("span", "", "fill");
  fill.style.display = "block"; fill.style.width = `${Math.max(0.5, score * 100)}%`;
  track.setAttribute("aria-hidden", "true"); track.append(fill);
  item.append(name, track, make("span", percent(score), "value"));
  return item;
}

function deepen(more) {
  if (more.over_time && more.over_time.start_s.length > 1) { state.answer.over_time = more.over_time; $("course-block").hidden = false; }
  if (more.explanation && state.mel) {
    state.answer.explanation = more.explanation;
    $("why").disabled = false;
  }
  draw();
}

function draw() {
  if (state.samples && !$("sound").hidden) {
    drawWaveform($("waveform"), state.samples);
    const explanation = $("why").checked ? state.answer?.explanation : null;
    if (state.mel) drawSpectrogram($("spectrogram"), state.mel, explanation, state.samples.length / RATE);
    $("why-text").textContent = explanation ? reasons(explanation) : "";
  }
  const course = state.answer?.over_time;
  if (!course) return;
  const labels = Object.keys(state.answer.probabilities), lines = drawCourse($("course"), course, labels, state.answer.label, (state.samples?.length || 0) / RATE);
  $("course-text").textContent = wording(course, labels);
  $("legend").replaceChildren(...lines.map(({ label, hue }) => { const item = make("li"), mark = make("i"); mark.style.background = hue; item.append(mark, label); return item; }));
  $("course").setAttribute("aria-label", course.start_s.map((start, k) => `${clock(start)}: ${labels[course.probabilities[k].indexOf(Math.max(...course.probabilities[k]))]}`).join(", "));
}

/** Why the course may say something else than the answer. */
function wording({ start_s, window_s, probabilities }, labels) {
  const winners = probabilities.map((row) => labels[row.indexOf(Math.max(...row))]), same = winners.filter((label) => label === state.answer.label).length;
  const windows = `${start_s.length} windows of ${window_s} s, each heard by itself: ${same === winners.length ? "all" : same} of them say ${state.answer.label}.`;
  return same < winners.length / 2 ? `${windows} The answer above was given for the whole.` : windows;
}

/** The strongest piece in words: where, and how much. */
function reasons({ map, bands, segments, label, start_s, window_s }) {
  let best = { value: -1 };
  const length = window_s / segments, seen = Math.max(1, Math.round((state.samples.length / RATE - start_s) / length));
  map.forEach((row, band) => row.slice(0, seen).forEach((value, segment) => { if (value > best.value) best = { value, band, segment }; }));
  if (best.value < LEAST) return `No single piece carried ${label}: without any one of them the probability is nearly the same.`;
  const height = ["the bass", "the lower middle", "the middle", "the upper middle", "the treble", "the highest treble"][Math.floor((best.band / bands) * 6)];
  const from = start_s + best.segment * length;
  return `Bright pieces spoke for ${label}. The strongest: ${height} from ${clock(from)} to ${clock(from + length)}; without it the probability falls by ${Math.round(best.value * 100)} points.`;
}

function fail(problem) {
  say("", false);
  $("problem").hidden = false;
  const slug = (problem.type || "").split("#")[1];
  $("problem-title").textContent = TITLES[slug] || problem.title || "That did not work";
  const wait = problem.wait ? ` Try again in ${problem.wait} s.` : "";
  const unknown = slug === "unsupported-media";
  $("problem-detail").textContent = (unknown ? `${state.name} is no sound file that the service can read.` : sentence(problem.detail || "")) + wait;
  const found = unknown ? "" : problem.found, accepted = (problem.expected || "").replace(/ as the raw body.*/, "");
  const facts = [["Found", found], ["Accepted", accepted], ["What to do", problem.remedy]].filter(([, text]) => text);
  $("problem-facts").replaceChildren(...facts.flatMap(([name, text]) => [make("dt", name), make("dd", text)]));
  $("token-form").hidden = problem.status !== 401;
  $("retry").hidden = !problem.again;
  $("shorten").hidden = !(state.samples && state.samples.length > RATE * 120);
}

function command() {
  const token = state.token ? ` \\\n  -H 'Authorization: Bearer ${"<token>"}'` : "";
  const name = state.name.replaceAll("'", "'\\''");
  return `curl -X POST '${location.origin}/v1/predict/audio'${token} \\\n  -H 'Content-Type: ${state.blob.type || "application/octet-stream"}' \\\n  --data-binary @'${name}'`;
}

async function copyCommand() {
  try { await navigator.clipboard.writeText($("curl").textContent); $("copy").textContent = "Copied"; } catch { getSelection().selectAllChildren($("curl")); }
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
}

function showPlaying() {
  $("play").textContent = player.paused ? "▶" : "❚❚";
  $("play").setAttribute("aria-label", player.paused ? "Play" : "Pause");
  if (!player.paused) requestAnimationFrame(follow);
}

function follow() { showPosition(); if (!player.paused) requestAnimationFrame(follow); }

function showPosition() {
  const share = duration() ? Math.min(1, player.currentTime / duration()) : 0;
  $("seek").value = share * 1000;
  $("seek").setAttribute("aria-valuetext", clock(player.currentTime));
  $("playhead").style.left = `${share * 100}%`;
  $("clock").textContent = `${clock(player.currentTime)} / ${clock(duration())}`;
}

function duration() { return Number.isFinite(player.duration) ? player.duration : state.samples ? state.samples.length / RATE : 0; }
function say(text, busy) { $("status").textContent = text; $("status").className = busy ? "status busy" : "status"; }
function make(tag, text = "", kind = "") { const element = document.createElement(tag); element.textContent = text; if (kind) element.className = kind; return element; }
function sentence(text) { return text ? `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}` : ""; }
function listed(names) { return names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names[names.length - 1]}` : names[0]; }
function megabytes(bytes) { return `${(bytes / 1048576).toFixed(1)} MB`; }
function debounce(action, ms) { let timer; return () => { clearTimeout(timer); timer = setTimeout(action, ms); }; }
