// Teach it: have clips kept for a while, hear them, say what they were, delete them.

import { $, clock, duration, element, face, percent, refusal, say, swatch } from "./tones.js";

const SHOWN = 50;
const FOR_S = 1800;

let emotions = [];
let leftS = 0; // for how long clips are still kept
let shownUrl = ""; // of the clip that is played
let asked = 0; // which list is waited for
let n = 0;

export function teachFrom(hello) {
  emotions = hello.emotions.map(({ name }) => name);
  fetchClips();
}

// Called with all that happens.
export function heardWhileTeaching() {
  if (leftS) setTimeout(fetchClips, 700); // once it is written
}

export function showCapturing(health) {
  const wasOn = leftS > 0;
  leftS = health.capturing_s ?? 0;
  const on = leftS > 0;
  $("capturing").hidden = !on;
  $("capture").setAttribute("aria-pressed", on);
  $("capture").disabled = health.phase === "muted";
  const words = on ? `Stop keeping clips (${Math.ceil(leftS / 60)} min left)` : `Keep clips for ${FOR_S / 60} minutes`;
  if ($("capture").lastElementChild.textContent !== words) $("capture").lastElementChild.textContent = words;
  $("promise").hidden = on;
  if (wasOn !== on) fetchClips();
}

async function fetchClips() {
  const mine = ++asked;
  const clips = await ask("GET", "/api/clips");
  if (clips && mine === asked) show(clips);
}

// What the board answers; null where it refuses, which is said.
async function ask(method, path, value) {
  try {
    const body = value === undefined ? undefined : JSON.stringify(value);
    const response = await fetch(path, { method, body, headers: body ? { "content-type": "application/json" } : {} });
    say($("teach-error"), response.ok ? "" : await refusal(response));
    return response.ok ? await response.json() : null;
  } catch {
    say($("teach-error"), "The board could not be reached; try again.");
    return null;
  }
}

function show(clips) {
  const named = clips.filter((clip) => clip.emotion !== null).length;
  n = clips.length;
  $("clips-state").textContent = n ? `${count(n)}, ${named} named. ${n > SHOWN ? `The newest ${SHOWN} are shown.` : ""}` : "There are no clips.";
  $("delete-clips").hidden = !n;
  const focus = document.activeElement?.dataset?.key; // a list that is made anew must not lose its reader
  $("clips").replaceChildren(...clips.slice(0, SHOWN).map(row));
  if (focus) $("clips").querySelector(`[data-key="${focus}"]`)?.focus();
}

const count = (number) => (number === 1 ? "1 clip" : `${number} clips`);

function row(clip) {
  const said = new Date(clip.ts);
  const isToday = said.toDateString() === new Date().toDateString();
  const time = `${isToday ? "" : `${said.toLocaleDateString([], { day: "numeric", month: "short" })}, `}${clock(said)}`;
  const button = (key, label, picture, act) => {
    const made = element("button", { type: "button", title: label, onclick: act }, picture);
    made.setAttribute("aria-label", `${label}: clip of ${time}`);
    made.dataset.key = `${clip.id} ${key}`;
    return made;
  };
  const choices = emotions.map((name) => {
    const made = button(name, name, swatch(name), () => change("POST", clip, { emotion: clip.emotion === name ? null : name }));
    made.setAttribute("aria-pressed", clip.emotion === name);
    return made;
  });
  const group = element("div", { className: "choices" }, ...choices);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", `What it was: clip of ${time}`);
  const words = element("span", { className: "words", textContent: `${time}, ${duration(clip.seconds)}` });
  const guess = element("span", { className: "hint", textContent: clip.emotion ? `named ${clip.emotion}, guessed ${clip.guess}` : `guessed ${clip.guess}, ${percent(clip.confidence)}` });
  return element("li", {}, button("play", "Play", face("play"), () => play(clip)), element("div", {}, words, guess), group, button("delete", "Delete", face("bin"), () => change("DELETE", clip)));
}

async function change(method, clip, value) {
  await ask(method, `/api/clips/${clip.id}`, value);
  const refused = $("teach-error").textContent;
  await fetchClips();
  say($("teach-error"), refused);
}

async function play(clip) {
  const response = await fetch(`/api/clips/${clip.id}`).catch(() => null);
  if (!response?.ok) return say($("teach-error"), response ? await refusal(response) : "The board could not be reached; try again.");
  say($("teach-error"), "");
  URL.revokeObjectURL(shownUrl);
  shownUrl = URL.createObjectURL(await response.blob());
  $("clip-player").src = shownUrl;
  $("clip-player").hidden = false;
  $("clip-player").play().catch(() => {}); // its own controls are there
}

$("capture").addEventListener("click", async () => {
  $("capture").disabled = true;
  await ask("POST", "/api/capture", { for_s: leftS ? 0 : FOR_S });
  $("capture").disabled = false;
});

$("delete-clips").addEventListener("click", async () => {
  if (!confirm(`Delete ${count(n)} for good?`)) return;
  $("clip-player").hidden = true;
  $("clip-player").removeAttribute("src");
  URL.revokeObjectURL(shownUrl);
  await ask("DELETE", "/api/clips");
  fetchClips();
});
