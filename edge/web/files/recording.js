// Try a recording: a file, or what the browser's microphone hears, through the board's own pipeline.

import { $, UNCERTAIN, activationInWords, duration, element, inWords, percent, refusal, say, shown, swatch, tones } from "./tones.js";

let limits = { max_bytes: 0, max_s: 0 };
let recorder = null;
let isStarting = false;
let run = 0; // which answer is waited for
let isReady = false;

export function listenToRecordings(hello) {
  limits = hello;
  if (isReady) return;
  isReady = true;
  $("file").addEventListener("change", () => {
    if ($("file").files.length) analyse($("file").files[0]);
    $("file").value = ""; // the same file may be chosen again
  });
  const drop = $("drop");
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer.files.length) analyse(event.dataTransfer.files[0]);
  });
  $("record").addEventListener("click", () => (recorder ? stopRecording() : startRecording()));
  $("player").addEventListener("timeupdate", showPlayhead);
  if (!navigator.mediaDevices || !window.AudioWorkletNode) {
    $("record").disabled = true;
    $("try-hint").append(" To record here, browsers ask for https or for an address on this machine.");
  }
}

async function analyse(file) {
  const mine = ++run;
  $("result").hidden = true;
  say($("try-error"), "");
  if (file.size > limits.max_bytes) return fail(`${file.name} is larger than ${limits.max_bytes / 1e6} MB; cut it, or convert it to FLAC or MP3.`);
  $("try-state").textContent = `Listening to ${file.name} …`;
  try {
    const response = await fetch("/api/analyse", { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file });
    if (mine !== run) return;
    if (!response.ok) return fail(await refusal(response));
    show(await response.json(), file);
  } catch {
    if (mine === run) fail("The board could not be reached, or took no more of this file; try again.");
  }
}

function fail(sentence) {
  $("try-state").textContent = "";
  say($("try-error"), sentence[0].toUpperCase() + sentence.slice(1));
}

function show(answer, file) {
  const { seconds, peaks, segments, whole, warnings, model } = answer;
  $("try-state").textContent = `${file.name}: ${duration(seconds)}, heard by ${model}`;
  $("result").hidden = false;
  const name = whole.label === null ? null : shown(whole);
  $("answer").replaceChildren();
  if (name === null) $("answer").append("No speech was found.");
  else {
    const sure = name === UNCERTAIN ? `, perhaps ${whole.label}` : `, ${percent(whole.confidence)} sure`;
    $("answer").append(swatch(name), `${inWords(name)}${sure}`, element("span", { className: "hint", textContent: `activation ${activationInWords(whole.activation)}` }));
  }
  drawWave(peaks);
  const items = segments.map((segment) => {
    const tone = shown(segment);
    const words = `${inWords(tone)}, ${percent(segment.confidence)}`;
    const button = element("button", { type: "button", title: `${words}, activation ${activationInWords(segment.activation)}` }, swatch(tone), element("span", { className: "words", textContent: words }));
    button.setAttribute("aria-label", `${duration(segment.start_s)} to ${duration(segment.end_s)}: ${words}, activation ${activationInWords(segment.activation)}`);
    button.style.left = `${(100 * segment.start_s) / seconds}%`;
    button.style.width = `${(100 * (segment.end_s - segment.start_s)) / seconds}%`;
    button.style.setProperty("--segment", tones.get(tone).colour);
    button.addEventListener("click", () => play(segment.start_s));
    return element("li", {}, button);
  });
  $("segments").replaceChildren(...items);
  $("warnings").replaceChildren(...warnings.map((textContent) => element("li", { textContent })));
  URL.revokeObjectURL($("player").src);
  $("player").src = URL.createObjectURL(file);
  $("player").dataset.seconds = seconds;
}

function drawWave(peaks) {
  const svg = $("waveform");
  const loudest = Math.max(0.02, ...peaks);
  const tall = peaks.map((peak) => Math.max(0.5, (48 * peak) / loudest));
  const above = tall.map((t, i) => `${i},${(50 - t).toFixed(1)}`);
  const below = tall.map((t, i) => `${i},${(50 + t).toFixed(1)}`).reverse();
  svg.setAttribute("viewBox", `0 0 ${Math.max(1, peaks.length - 1)} 100`);
  svg.firstElementChild.setAttribute("d", `M${[...above, ...below].join("L")}Z`);
}

function play(seconds) {
  $("player").currentTime = seconds;
  $("player").play().catch(() => {}); // some formats only the board can read
}

function showPlayhead() {
  const share = $("player").currentTime / $("player").dataset.seconds;
  $("playhead").style.left = `${100 * Math.min(1, share)}%`;
}

async function startRecording() {
  // Pressed again while the browser asks, it would open a microphone that nobody closes. (A button that is disabled
  // meanwhile would lose the keyboard.)
  if (isStarting) return;
  isStarting = true;
  say($("try-error"), "");
  let stream, context;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false } });
    context = new AudioContext();
    await context.audioWorklet.addModule("/recorder.js");
    record(stream, context);
  } catch (error) {
    release(stream);
    context?.close();
    if (stream) fail("The browser cannot record here; choose a file instead.");
    else fail(error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone; allow it, or choose a file." : "The browser has no microphone; choose a file instead.");
  } finally {
    isStarting = false;
  }
}

function record(stream, context) {
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const pieces = [];
  node.port.onmessage = ({ data }) => {
    pieces.push(data);
    const seconds = (pieces.length * data.length) / context.sampleRate;
    $("try-state").textContent = `Recording: ${duration(seconds)}`;
    if (recorder === null) return; // ended; these are the last pieces
    if (seconds * context.sampleRate * 2 > limits.max_bytes - 10_000 || seconds > limits.max_s - 1) stopRecording();
  };
  context.createMediaStreamSource(stream).connect(node);
  recorder = { stream, context, pieces };
  pressRecord(true);
}

function release(stream) {
  for (const track of stream?.getTracks() ?? []) track.stop();
}

async function stopRecording() {
  const { stream, context, pieces } = recorder;
  recorder = null;
  pressRecord(false);
  release(stream);
  const rate = context.sampleRate;
  await context.close();
  await analyse(new File([wav(pieces, rate)], "your recording", { type: "audio/wav" }));
}

function pressRecord(on) {
  $("record").setAttribute("aria-pressed", on);
  $("record").querySelector("use").setAttribute("href", on ? "#square" : "#dot");
  $("record").lastElementChild.textContent = on ? "Stop" : "Record";
}

// 16-bit mono samples with the header that makes them a WAV file.
function wav(pieces, rate) {
  const n = pieces.reduce((sum, piece) => sum + piece.length, 0);
  const view = new DataView(new ArrayBuffer(44 + 2 * n));
  const text = (at, letters) => [...letters].forEach((letter, i) => view.setUint8(at + i, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * n, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // mono
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * n, true);
  let at = 44;
  for (const piece of pieces) {
    for (const sample of piece) {
      view.setInt16(at, Math.round(32767 * Math.max(-1, Math.min(1, sample))), true);
      at += 2;
    }
  }
  return view.buffer;
}
