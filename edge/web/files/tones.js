// What every part of the page shares: the emotions with their colours and faces, and how things are said.

export const UNCERTAIN = "uncertain";
export const tones = new Map(); // name -> { name, colour, ink }
let scale = ["#ffffff"]; // of the activation, from low to high

export function setTones({ emotions, activation_colours: colours }) {
  scale = colours;
  tones.clear();
  for (const { name, colour } of [...emotions, { name: UNCERTAIN, colour: "#9a9c94" }]) {
    tones.set(name, { name, colour, ink: readableOn(colour) });
  }
}

// As the light shows a voice whose emotion is not sure.
export function activationTone(activation) {
  const at = activation * (scale.length - 1);
  const i = Math.min(Math.floor(at), scale.length - 2);
  const part = (colour, j) => parseInt(colour.slice(j, j + 2), 16);
  const mixed = [1, 3, 5].map((j) => Math.round(part(scale[i], j) + (at - i) * (part(scale[i + 1], j) - part(scale[i], j))));
  const colour = `#${mixed.map((c) => c.toString(16).padStart(2, "0")).join("")}`;
  return { colour, ink: readableOn(colour) };
}

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

export function face(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("class", "face");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(space, "use");
  use.setAttribute("href", `#${name}`);
  svg.append(use);
  return svg;
}

// A face on its colour.
export function swatch(name) {
  const { colour, ink } = tones.get(name) ?? tones.get(UNCERTAIN);
  const made = element("span", { className: "swatch" }, face(name));
  made.style.background = colour;
  made.style.color = ink;
  return made;
}

// What is shown of an event: its emotion only when that is sure.
export const shown = (event) => (event.uncertain ? UNCERTAIN : event.label);
export const inWords = (name) => (name === UNCERTAIN ? "not sure" : name);
export const percent = (share) => `${Math.round(100 * share)} %`;
export const clock = (ms, seconds = true) =>
  new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });

export function activationInWords(activation) {
  if (activation === null || activation === undefined) return "–";
  return activation >= 0.5 ? `high, ${percent(activation)}` : `low, ${percent(1 - activation)}`;
}

export function duration(s) {
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

export function say(place, sentence) {
  place.hidden = !sentence;
  if (place.textContent !== sentence) place.textContent = sentence;
}

// The sentence of a refusal, whatever came back.
export async function refusal(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the board answered with status ${response.status}; try again`;
  }
}

// How much lighter the lighter of two colours is (WCAG's contrast: 1 to 21).
export function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

function luminance(colour) {
  const [r, g, b] = [1, 3, 5].map((i) => {
    const c = parseInt(colour.slice(i, i + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

// Dark or light strokes, whichever can be seen on this colour.
function readableOn(colour) {
  return luminance(colour) > 0.179 ? "#16181c" : "#ffffff";
}
