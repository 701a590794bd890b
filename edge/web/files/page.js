// The page: what happens comes as server-sent events, and each part of the page takes what is its own.

import { $, UNCERTAIN, activationInWords, activationTone, clock, duration, element, inWords, percent, refusal, say, setTones, shown, swatch, tones } from "./tones.js";
import { Timeline } from "./timeline.js";
import { listenToRecordings } from "./recording.js";
import { heardWhileTeaching, showCapturing, teachFrom } from "./teaching.js";

const HOLD_MS = 5000; // as long as the light
const SILENT_MS = 6000; // the daemon tells how it is once a second
const PHASES = { starting: "starting", listening: "listening", muted: "muted", fault: "cannot listen" };

if (location.search) history.replaceState(null, "", "/"); // the token is in the cookie now

const timeline = new Timeline();
let keepsLog = false;
let phase = "starting";
let heardMs = 0;
let toldMs = performance.now();
let meters = new Map(); // emotion -> its bar and number

const source = new EventSource("/api/live");
on("hello", start);
on("level", showLevel);
on("score", showScore);
on("event", showEvent);
on("health", showHealth);
source.onerror = () => {
  say($("trouble"), "The connection to the board is lost; it is tried again.");
  $("phase").textContent = "not connected";
  $("phase").dataset.phase = "fault";
  if (source.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), 5000);
};
setInterval(() => {
  if (performance.now() - toldMs > SILENT_MS && source.readyState === EventSource.OPEN) {
    say($("trouble"), "The board has not said for a while how it is.");
  }
  if (heardMs && performance.now() - heardMs > HOLD_MS) rest();
}, 500);

function on(kind, take) {
  source.addEventListener(kind, (message) => take(JSON.parse(message.data)));
}

async function start(hello) {
  toldMs = performance.now();
  say($("trouble"), "");
  say($("refused"), "");
  setTones(hello);
  $("node").textContent = hello.node;
  document.title = `tonelight: ${hello.node}`;
  $("shares").replaceChildren();
  meters = new Map();
  for (const { name } of hello.emotions) {
    const bar = element("i");
    const number = element("span", { className: "number", textContent: "–" });
    const tone = element("span", { className: "tone" }, swatch(name), element("span", { textContent: name }));
    $("shares").append(element("li", { className: "share" }, tone, element("span", { className: "share-bar" }, bar), number));
    meters.set(name, { bar, number });
  }
  timeline.begin(hello.emotions.map(({ name }) => name));
  listenToRecordings(hello);
  teachFrom(hello);
  rest();
  keepsLog = hello.history;
  if (!keepsLog) return;
  const response = await fetch("/api/history?since=1d");
  if (!response.ok) return say($("refused"), await refusal(response));
  const lines = (await response.text()).split("\n").filter(Boolean);
  timeline.add(lines.map((line) => JSON.parse(line)));
  const last = timeline.events.at(-1);
  if (last) tellLast(last);
}

function showLevel({ level_db: level, speaking }) {
  const db = Math.max(-80, Math.min(0, level ?? -80));
  $("level").firstElementChild.style.transform = `scaleX(${(db + 80) / 80})`;
  $("level-db").textContent = `${Math.round(db)} dB`;
  $("orb").style.setProperty("--loud", (db + 80) / 80);
  $("orb").querySelector(".halo").style.opacity = speaking ? 0.35 + (0.65 * (db + 80)) / 80 : 0.3;
  const told = $("level").getAttribute("aria-valuenow");
  if (Math.abs(told - db) >= 6) $("level").setAttribute("aria-valuenow", Math.round(db));
}

function showScore(score) {
  light(score.label ?? UNCERTAIN, score);
}

function showEvent(event) {
  light(shown(event), event);
  timeline.add([event]);
  tellLast(event);
  heardWhileTeaching();
}

// The light as it is: activation always, the emotion when it is sure.
function light(name, { confidence, probs, activation }) {
  if (phase === "muted" || phase === "fault") return;
  heardMs = performance.now();
  glow(name, name === UNCERTAIN ? activationTone(activation) : tones.get(name));
  $("what").textContent = inWords(name);
  $("sure").textContent = name === UNCERTAIN ? `perhaps ${best(probs)}` : `${percent(confidence)} sure`;
  showActivation(activation);
  for (const [emotion, { bar, number }] of meters) {
    bar.style.transform = `scaleX(${probs[emotion] ?? 0})`;
    number.textContent = percent(probs[emotion] ?? 0);
  }
}

function best(probs) {
  const [name, share] = Object.entries(probs).reduce((a, b) => (b[1] > a[1] ? b : a));
  return `${name}, ${percent(share)}`;
}

function rest() {
  heardMs = 0;
  const words = { muted: ["Muted", "the microphone is off"], fault: ["Not listening", ""], starting: ["Starting", ""] };
  const [what, sure] = words[phase] ?? ["Listening", "nobody speaks"];
  glow(phase === "starting" ? "listening" : phase, {});
  $("what").textContent = what;
  $("sure").textContent = sure || "\u00a0";
  showActivation(null);
  for (const { bar, number } of meters.values()) {
    bar.style.transform = "scaleX(0)";
    number.textContent = "–";
  }
  if (phase !== "listening") {
    showLevel({ level_db: null, speaking: false });
    $("level-db").textContent = "– dB";
  }
}

function glow(picture, { colour, ink }) {
  const red = picture === "muted" || picture === "fault";
  $("face").setAttribute("href", `#${picture}`);
  $("orb").style.color = colour ?? (red ? "var(--red)" : "");
  $("orb").style.setProperty("--on-tone", ink ?? "var(--card)");
}

function showActivation(activation) {
  const is = activation !== null && activation !== undefined;
  $("arc").style.strokeDasharray = `${is ? Math.max(0.1, 100 * activation) : 0} 200`;
  $("arc").style.visibility = is ? "visible" : "hidden";
  $("activation").textContent = activationInWords(activation);
}

function tellLast(event) {
  const name = shown(event);
  const sure = name === UNCERTAIN ? "" : `, ${percent(event.confidence)}`;
  $("last").textContent = `${inWords(name)}${sure} at ${clock(Date.parse(event.ts))}`;
}

function showHealth(health) {
  toldMs = performance.now();
  // what was refused has a place of its own, where health, once a second, does not wipe it away
  say($("trouble"), health.phase === "fault" ? health.reason || "The board cannot listen." : "");
  if (health.phase !== phase) {
    phase = health.phase;
    rest();
  }
  $("phase").textContent = PHASES[phase] ?? phase;
  $("phase").dataset.phase = phase;
  showCapturing(health);
  const muted = phase === "muted";
  $("mute").disabled = false;
  $("mute").setAttribute("aria-pressed", muted);
  $("mute").querySelector("use").setAttribute("href", muted ? "#muted" : "#microphone");
  tell("h-phase", phase === "fault" ? `cannot listen: ${health.reason}` : PHASES[phase]);
  tell("h-microphone", health.microphone || "none");
  tell("h-lost", health.n_gaps ? `${duration(health.n_lost / 16000)} in ${plural(health.n_gaps, "gap")}` : "none");
  tell("h-model", health.model);
  tell("h-uptime", duration(health.uptime_s));
  tell("h-detections", plural(health.n_detections, "stretch", "stretches") + " of speech");
}

const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

function tell(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

$("mute").addEventListener("click", async () => {
  $("mute").disabled = true;
  say($("refused"), "");
  try {
    const body = JSON.stringify({ on: phase !== "muted" });
    const response = await fetch("/api/mute", { method: "POST", headers: { "content-type": "application/json" }, body });
    if (!response.ok) say($("refused"), await refusal(response));
  } catch {
    say($("refused"), "The board could not be reached; try again.");
  }
  $("mute").disabled = false;
});
