// The last day: a lane for each emotion, so that place, not colour, tells which it was.

import { $, UNCERTAIN, activationInWords, clock, contrast, duration, element, inWords, percent, shown, swatch, tones } from "./tones.js";

const DAY_MS = 86_400_000;
const SHORTEST_MS = 20_000;
const STEPS_S = [5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 10800, 21600];
const LISTED = 200;

export class Timeline {
  constructor() {
    this.events = []; // in the order of time, of the last day
    this.known = new Set();
    this.hidden = new Set();
    this.names = [];
    this.spanMs = 600_000;
    this.endMs = Date.now();
    this.follows = true;
    this.isChosen = false; // somebody chose what is shown
    this.pointers = new Map();
    const track = $("track");
    new ResizeObserver(() => this.draw()).observe(track);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    for (const button of document.querySelectorAll("[data-span]")) {
      button.addEventListener("click", () => this.choose(() => this.zoomTo(1000 * button.dataset.span)));
    }
    $("zoom-in").addEventListener("click", () => this.choose(() => this.zoomTo(this.spanMs / 2)));
    $("zoom-out").addEventListener("click", () => this.choose(() => this.zoomTo(this.spanMs * 2)));
    $("follow").addEventListener("click", () => this.choose(() => this.setEnd(Date.now())));
    $("list").addEventListener("toggle", () => this.draw());
    track.addEventListener("keydown", (event) => this.press(event));
    track.addEventListener("wheel", (event) => this.roll(event), { passive: false });
    track.addEventListener("pointerdown", (event) => this.grab(event));
    track.addEventListener("pointermove", (event) => this.move(event));
    for (const kind of ["pointerup", "pointercancel"]) track.addEventListener(kind, (event) => this.pointers.delete(event.pointerId));
    track.addEventListener("pointerleave", () => ($("pointed").textContent = "\u00a0"));
    setInterval(() => this.follows && this.setEnd(Date.now()), 1000);
  }

  begin(emotions) {
    this.names = [...emotions, UNCERTAIN];
    this.lanes = new Map();
    $("lanes").replaceChildren();
    for (const name of this.names) {
      const bar = element("i");
      const number = element("span", { className: "number" });
      const button = element("button", { type: "button" }, swatch(name), element("span", { className: "name", textContent: inWords(name) }), element("span", { className: "share-bar" }, bar), number);
      button.setAttribute("aria-pressed", !this.hidden.has(name));
      button.addEventListener("click", () => {
        if (!this.hidden.delete(name)) this.hidden.add(name);
        button.setAttribute("aria-pressed", !this.hidden.has(name));
        this.draw();
      });
      $("lanes").append(element("li", {}, button));
      this.lanes.set(name, { bar, number });
    }
    this.draw();
  }

  // Events may come twice: live, and from the log after a lost connection.
  add(events) {
    for (const event of events) {
      const key = `${event.node} ${event.ts} ${event.start_s}`;
      if (this.known.has(key)) continue;
      this.known.add(key);
      const endMs = Date.parse(event.ts) - event.latency_ms;
      this.events.push({ ...event, key, endMs, startMs: endMs - 1000 * (event.end_s - event.start_s), name: shown(event) });
    }
    this.events.sort((a, b) => a.endMs - b.endMs);
    while (this.events.length && this.events[0].endMs < Date.now() - DAY_MS) this.known.delete(this.events.shift().key);
    if (!this.isChosen && this.events.length) {
      // the shortest of the usual spans that shows all there is
      const ageS = (Date.now() - this.events[0].startMs) / 1000;
      this.spanMs = 1000 * ([600, 3600, 21600].find((s) => s > ageS) ?? 86400);
    }
    this.follows ? this.setEnd(Date.now()) : this.draw();
  }

  choose(change) {
    this.isChosen = true;
    change();
    $("span").textContent = `${clock(this.endMs - this.spanMs)} to ${clock(this.endMs)}, ${this.visible().length} stretches of speech`;
  }

  // `atMs` stays where it is: by default now, when that is what is followed, otherwise the middle.
  zoomTo(spanMs, atMs) {
    const wanted = Math.max(SHORTEST_MS, Math.min(DAY_MS, spanMs));
    const fixedMs = atMs ?? this.endMs - this.spanMs / 2;
    const endMs = this.follows && atMs === undefined ? Date.now() : fixedMs + ((this.endMs - fixedMs) * wanted) / this.spanMs;
    this.spanMs = wanted;
    this.setEnd(endMs);
  }

  setEnd(endMs) {
    const now = Date.now();
    this.follows = endMs >= now - this.spanMs / 200;
    this.endMs = this.follows ? now : Math.max(now - DAY_MS + this.spanMs, endMs);
    $("follow").setAttribute("aria-pressed", this.follows);
    this.draw();
  }

  press(event) {
    const step = this.spanMs / 8;
    const keys = {
      ArrowLeft: () => this.setEnd(this.endMs - step),
      ArrowRight: () => this.setEnd(this.endMs + step),
      PageUp: () => this.setEnd(this.endMs - this.spanMs),
      PageDown: () => this.setEnd(this.endMs + this.spanMs),
      Home: () => this.setEnd(0),
      End: () => this.setEnd(Date.now()),
      "+": () => this.zoomTo(this.spanMs / 2),
      "=": () => this.zoomTo(this.spanMs / 2),
      "-": () => this.zoomTo(this.spanMs * 2),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.choose(keys[event.key]);
  }

  // The wheel scrolls the page; sideways, or with Ctrl (which is what pinching sends), it is for the timeline.
  roll(event) {
    const sideways = event.shiftKey ? event.deltaY : event.deltaX;
    if (event.ctrlKey) this.choose(() => this.zoomTo(this.spanMs * 1.0025 ** event.deltaY, this.timeAt(event)));
    else if (Math.abs(sideways) > (event.shiftKey ? 0 : Math.abs(event.deltaY))) this.choose(() => this.setEnd(this.endMs + sideways * this.msPerPixel()));
    else return;
    event.preventDefault();
  }

  grab(event) {
    $("track").setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, event.clientX);
    this.point(event);
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (before === undefined) return this.point(event);
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, x]) => x);
    if (others.length) {
      const apart = (x) => Math.max(10, Math.abs(x - others[0]));
      this.choose(() => this.zoomTo((this.spanMs * apart(before)) / apart(event.clientX), this.timeAt(event)));
    } else if (event.clientX !== before) {
      this.choose(() => this.setEnd(this.endMs - (event.clientX - before) * this.msPerPixel()));
    }
    this.pointers.set(event.pointerId, event.clientX);
  }

  // Says what is under the pointer.
  point(event) {
    const ms = this.timeAt(event);
    const box = $("canvas").getBoundingClientRect();
    const name = this.names[Math.floor(((event.clientY - box.top) / box.height) * (this.names.length + 1))];
    const near = 6 * this.msPerPixel();
    const found = this.visible().filter((e) => (!name || e.name === name) && e.startMs - near <= ms && ms <= e.endMs + near);
    $("pointed").textContent = found.length ? sentence(found.reduce((a, b) => (Math.abs(a.endMs - ms) < Math.abs(b.endMs - ms) ? a : b))) : "\u00a0";
  }

  msPerPixel() {
    return this.spanMs / Math.max(1, $("track").clientWidth);
  }

  timeAt(event) {
    const box = $("track").getBoundingClientRect();
    return this.endMs - (box.right - event.clientX) * this.msPerPixel();
  }

  visible() {
    const startMs = this.endMs - this.spanMs;
    return this.events.filter((e) => e.endMs >= startMs && e.startMs <= this.endMs && !this.hidden.has(e.name));
  }

  // Many changes, one picture.
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      const visible = this.visible();
      this.share(visible);
      this.paint(visible);
      if ($("list").open) this.fill(visible);
    });
  }

  share(visible) {
    const seconds = new Map();
    let total = 0;
    for (const e of visible) {
      seconds.set(e.name, (seconds.get(e.name) ?? 0) + e.endMs - e.startMs);
      total += e.endMs - e.startMs;
    }
    for (const [name, { bar, number }] of this.lanes ?? []) {
      const share = total ? (seconds.get(name) ?? 0) / total : 0;
      bar.style.transform = `scaleX(${share})`;
      number.textContent = this.hidden.has(name) ? "hidden" : percent(share);
    }
  }

  paint(visible) {
    const canvas = $("canvas");
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    const scale = devicePixelRatio || 1;
    if (!width || !this.names.length) return;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const style = getComputedStyle(document.documentElement);
    const [ink, soft, line, well, card] = ["--ink", "--soft", "--line", "--well", "--card"].map((name) => style.getPropertyValue(name).trim());
    const row = height / (this.names.length + 1);
    const startMs = this.endMs - this.spanMs;
    const x = (ms) => ((ms - startMs) / this.spanMs) * width;

    this.names.forEach((name, i) => {
      if (i % 2) return;
      pen.fillStyle = well;
      pen.globalAlpha = 0.45;
      pen.fillRect(0, i * row, width, row);
    });
    pen.globalAlpha = 1;
    pen.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    pen.textBaseline = "middle";
    // the widest text there may be decides how close the marks of time are
    const [hours, seconds] = [false, true].map((has) => pen.measureText(clock(new Date(2000, 9, 20, 20, 0).getTime(), has)).width + 20);
    const fitting = STEPS_S.find((s) => (1000 * s * width) / this.spanMs > (s < 60 ? seconds : hours));
    const stepMs = 1000 * (fitting ?? 21600);
    const zoneMs = new Date(this.endMs).getTimezoneOffset() * 60_000; // so that hours begin where clocks say so
    for (let ms = Math.ceil((startMs - zoneMs) / stepMs) * stepMs + zoneMs; ms <= this.endMs; ms += stepMs) {
      pen.fillStyle = line;
      pen.fillRect(Math.round(x(ms)), 0, 1, height - row);
      pen.fillStyle = soft;
      const text = fitting ? clock(ms, stepMs < 60_000) : new Date(ms).toLocaleTimeString([], { hour: "numeric" });
      const half = pen.measureText(text).width / 2;
      if (x(ms) > half && x(ms) < width - half) pen.fillText(text, x(ms) - half, height - row / 2);
    }
    for (const e of visible) {
      const lane = this.names.indexOf(e.name);
      const left = x(e.startMs);
      const wide = Math.max(3, x(e.endMs) - left);
      const tall = (row - 8) * (0.35 + 0.65 * e.confidence); // the surer, the taller
      pen.beginPath();
      pen.roundRect(left, (lane + 0.5) * row - tall / 2, wide, tall, Math.min(4, wide / 2));
      const { colour } = tones.get(e.name) ?? tones.get(UNCERTAIN);
      pen.fillStyle = colour;
      pen.fill();
      pen.strokeStyle = ink;
      pen.globalAlpha = contrast(colour, card) < 1.5 ? 0.8 : 0.3; // white on white needs its edge
      pen.lineWidth = wide > 5 ? 1 : 0.5;
      pen.stroke();
      pen.globalAlpha = 1;
    }
  }

  fill(visible) {
    const rows = visible.slice(-LISTED).reverse().map((e) => {
      const cells = [clock(e.endMs), inWords(e.name), percent(e.confidence), activationInWords(e.activation), duration((e.endMs - e.startMs) / 1000)];
      return element("tr", {}, ...cells.map((textContent) => element("td", { textContent })));
    });
    const none = element("tr", {}, element("td", { textContent: "Nothing was heard in this time.", colSpan: 5 }));
    $("rows").replaceChildren(...(rows.length ? rows : [none]));
  }
}

function sentence(e) {
  const sure = e.name === UNCERTAIN ? "" : ` (${percent(e.confidence)})`;
  return `${clock(e.endMs)}  ${inWords(e.name)}${sure}, ${duration((e.endMs - e.startMs) / 1000)}, activation ${activationInWords(e.activation)}`;
}
