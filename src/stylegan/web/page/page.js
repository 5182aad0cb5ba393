// The page: what is wanted of the picture, and the controls that say it. The network works in a worker, network.js.

import { packed, png } from "./saved.js";
import { moved, onCurve, truncated, withStyle } from "./styles.js";

const by = id => document.getElementById(id);
const make = (name, text, parent, attributes = {}) => {
  const node = document.createElement(name);
  node.textContent = text;
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  parent?.append(node);
  return node;
};
const PARTS = { coarse: "pose and shape", middle: "features", fine: "color and texture" };
const MOST = 2 ** 32;
const STRIP = 24; // seeds that are added to the strip at a time
const options = new URLSearchParams(location.search); // gpu=0: without WebGPU, gpu=1: even a slow one

let model, average, steps; // model.json; the average w [w_dim]; a step along each direction [w_dim]
let parts = {}; // first layer of each part that a seed can give, and the one after the last
let w; // of the picture, before truncation and changes [num_layers * w_dim]
const wish = { seeds: {}, part: "", psi: 1, label: 0, noise: "random", noiseSeed: null, strengths: [] };
let walking = null;

// --- the worker

document.documentElement.classList.add("runs");
const worker = new Worker("network.js", { type: "module" });
const waiting = new Map();
let count = 0;
worker.onmessage = ({ data }) => {
  if ("loaded" in data) return showLoaded(data.loaded);
  const { resolve, reject } = waiting.get(data.id);
  waiting.delete(data.id);
  if ("error" in data) reject(new Error(data.error));
  else resolve(data.result);
};
worker.onerror = event => fail(event.message || "the worker does not start");
const ask = (task, given) =>
  new Promise((resolve, reject) => {
    waiting.set(++count, { resolve, reject });
    worker.postMessage({ id: count, task, given });
  });

function showLoaded(share) {
  by("loading").setAttribute("aria-valuenow", Math.round(100 * share));
  by("loading").firstChild.style.width = `${100 * Math.min(1, share)}%`;
  by("how").textContent = share < 1 ? `Loading: ${Math.floor(100 * share)} %` : "Starting";
}

function fail(message) {
  by("how").textContent = `It cannot be drawn here: ${message}.`;
  by("loading").hidden = true;
}

// --- styles

const known = new Map(); // w [w_dim] of seeds

async function styleOf(seed) {
  const key = `${wish.label} ${seed}`;
  if (!known.has(key)) {
    const [style] = await ask("styles", { seeds: [seed], label: wish.label });
    if (known.size > 2000) known.clear();
    known.set(key, style);
  }
  return known.get(key);
}

/** w as the network takes it: truncated towards the average, then moved along the directions. */
const finished = (w, strengths) =>
  moved(truncated(w, average, wish.psi, model.cutoff), steps, strengths, model.direction_layers);

const partsOf = part => (part === "all" ? Object.keys(parts) : [part]);
const rangesOf = part => partsOf(part).map(name => parts[name]);
const firstSeed = (seeds = wish.seeds) => Object.values(seeds)[0];
const isOneSeed = (seeds = wish.seeds) => new Set(Object.values(seeds)).size === 1 && firstSeed(seeds) !== null;
const noiseOf = seed => (wish.noise === "random" ? ["random", wish.noiseSeed ?? seed] : [wish.noise]);

// --- drawing: one thing at a time; the newest wish first, thumbnails when nothing else is to do

let wanted = false, busy = false, noiseSeed = 0;
let shown = null; // what the picture that is there was drawn from
const stale = new Set(); // thumbnails to draw

function want() {
  wanted = true;
  work();
}

async function work() {
  if (busy || !model) return;
  busy = true;
  try {
    while (wanted || walking || stale.size) {
      if (walking) await nextStep();
      if (wanted || walking) {
        wanted = false;
        await drawPicture();
      } else {
        const [card] = stale;
        stale.delete(card);
        await drawThumbnail(card);
      }
    }
  } catch (error) {
    fail(error.message);
  } finally {
    busy = false;
  }
}

async function drawPicture() {
  noiseSeed = firstSeed() ?? noiseSeed; // a walk keeps that of its start
  const final = finished(w, wish.strengths), begun = performance.now();
  const drawing = { ...structuredClone(wish), planes: wish.noiseSeed ?? noiseSeed, final };
  const drawn = await ask("draw", { w: final, noise: noiseOf(noiseSeed) });
  put(by("picture"), drawn);
  shown = drawing;
  await new Promise(resolve => (document.hidden ? setTimeout(resolve, 100) : requestAnimationFrame(resolve)));
  const root = document.documentElement;
  root.dataset.first ??= Math.round(performance.now()); // since the page was asked for, in ms
  root.dataset.took = drawn.took;
  root.dataset.pictures = Number(root.dataset.pictures ?? 0) + 1;
  root.classList.add("drawn");
  by("picture").classList.add("ready");
  by("loading").hidden = true;
  tell(performance.now() - begun);
}

function put(canvas, { pixels, width, height }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(pixels, width, height), 0, 0);
}

async function drawThumbnail(card) {
  const seed = Number(card.dataset.seed), plain = withStyle(w, rangesOf("all"), await styleOf(seed));
  const noise = wish.noise === "random" ? ["random", seed] : [wish.noise];
  put(card.querySelector("canvas"), await ask("draw", { w: finished(plain, []), noise }));
}

function tell(took) {
  const seeds = Object.entries(wish.seeds), changed = wish.strengths.some(Boolean);
  const mixed = seeds.map(([part, seed]) => `${part} ${seed ?? "in between"}`).join(", ");
  const between = seeds.every(([, seed]) => seed === null);
  const name = walking ? "Walking" : isOneSeed() ? `Seed ${firstSeed()}` : between ? "In between" : "Mixed";
  by("what").textContent = name + (changed ? ", changed" : "");
  const detail = isOneSeed() || walking || name === "In between" ? "" : `${mixed} · `;
  by("how").textContent = `${detail}${took < 10 ? took.toFixed(1) : Math.round(took)} ms on this device`;
  by("picture").setAttribute("aria-label", `Picture: ${name}${isOneSeed() ? "" : `, ${mixed}`}`);
}

// --- what people do

let turn = Promise.resolve();
const inTurn = action => (...given) => (turn = turn.then(() => action(...given)).catch(error => fail(error.message)));

const choose = inTurn(async (seed, part = wish.part) => {
  stop();
  const style = await styleOf(seed);
  w = withStyle(w, rangesOf(part), style);
  for (const name of partsOf(part)) wish.seeds[name] = seed;
  if (part === "all") wish.noiseSeed = null;
  marked();
  want();
});

const anySeed = () => Math.floor(Math.random() * 1e6);

const start = inTurn(async () => {
  walking = { points: [w, w, await onward(w), await onward(w)], t: 0, at: performance.now() };
  pressed(true);
  work();
});

function stop() {
  if (!walking) return;
  walking = null;
  pressed(false);
}

function pressed(on) {
  by("walk").setAttribute("aria-pressed", on);
  by("walk").querySelector("span").textContent = on ? "Stop" : "Walk";
  if (on) for (const part of partsOf(wish.part)) wish.seeds[part] = null;
  marked();
  if (!on) want();
}

const onward = async w => withStyle(w, rangesOf(wish.part), await styleOf(anySeed()));

/** The next w of the walk: a curve through the w of random seeds (Catmull-Rom). */
async function nextStep() {
  const walk = walking, now = performance.now();
  walk.t += Math.min(0.5, (now - walk.at) / 1000 / by("pace").value);
  walk.at = now;
  if (walk.t >= 1) {
    walk.points = [...walk.points.slice(1), await onward(walk.points[3])];
    walk.t -= 1;
    if (walking !== walk) return; // stopped meanwhile
  }
  w = onCurve(walk.points, walk.t);
}

/** How a picture was made, as files of the program say it. */
async function record({ seeds, psi, label, noise, noiseSeed, planes, strengths, final }) {
  const { program, fingerprint, cutoff } = model, shared = { program, model: fingerprint, cutoff, noise };
  const changes = Object.fromEntries(model.directions.map((name, i) => [name, strengths[i]]).filter(([, s]) => s));
  const seed = noise === "random" ? { noise_seed: planes } : {};
  if (isOneSeed(seeds) && !Object.keys(changes).length) {
    const own = noiseSeed === null ? {} : seed, named = model.label_count ? { class: label } : {};
    return { ...shared, psi, ...own, ...named, mix: 1, seed: firstSeed(seeds), batch: [1, 0] };
  }
  const w = await packed(final, [model.num_layers, model.w_dim]);
  return { ...shared, psi: 1, ...seed, mix: 1, latent: 0, edits: changes, w, batch: [1, 0] };
}

async function save() {
  if (!shown) return;
  const { seeds, strengths } = shown;
  const name = isOneSeed(seeds) ? `seed${String(firstSeed(seeds)).padStart(4, "0")}` : "mixed";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await png(by("picture"), record(shown)));
  link.download = `${name}${strengths.some(Boolean) ? "-changed" : ""}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// --- the address of a picture: #seed=5&psi=0.7, or with coarse=, middle=, fine=; names of directions

function address() {
  const words = new URLSearchParams();
  if (isOneSeed()) words.set("seed", firstSeed());
  else for (const [part, seed] of Object.entries(wish.seeds)) if (seed !== null) words.set(part, seed);
  if (model.label_count) words.set("class", wish.label);
  if (model.psi !== null && wish.psi !== model.psi) words.set("psi", wish.psi);
  if (wish.noise !== "random") words.set("noise", wish.noise);
  if (wish.noiseSeed !== null) words.set("noise-seed", wish.noiseSeed);
  model.directions.forEach((name, i) => wish.strengths[i] && words.set(`change-${name}`, wish.strengths[i]));
  return `#${words}`;
}

const goTo = inTurn(async text => {
  const words = new URLSearchParams(text.replace(/^#/, ""));
  const number = (name, otherwise, most = MOST - 1, least = 0) => {
    const value = words.has(name) ? Number(words.get(name)) : NaN;
    return value >= least && value <= most ? value : otherwise;
  };
  wish.label = Math.floor(number("class", 0, model.label_count - 1));
  wish.psi = model.psi === null ? 1 : number("psi", model.psi, 1.2);
  wish.noise = ["const", "none"].includes(words.get("noise")) && model.noise.length ? words.get("noise") : "random";
  wish.noiseSeed = words.has("noise-seed") ? Math.floor(number("noise-seed", 0)) : null;
  wish.strengths = model.directions.map(name => number(`change-${name}`, 0, 4, -4));
  const seed = Math.floor(number("seed", 0));
  let whole = new Float32Array(model.num_layers * model.w_dim);
  for (const part in parts) {
    wish.seeds[part] = Math.floor(number(part, seed));
    whole = withStyle(whole, rangesOf(part), await styleOf(wish.seeds[part]));
  }
  w = whole;
});

// --- controls

let addressing = 0;

/** Let the controls say what is wished, after it has changed. */
function marked() {
  by("seed").value = firstSeed() ?? "";
  by("psi").value = wish.psi;
  if (model.label_count) by("class").value = wish.label;
  for (const input of document.getElementsByName("noise")) input.checked = input.value === wish.noise;
  for (const input of document.getElementsByName("part")) input.checked = input.value === wish.part;
  by("shuffle").hidden = wish.noise !== "random";
  by("sliders").querySelectorAll("input").forEach((input, i) => (input.value = wish.strengths[i]));
  document.querySelectorAll(".slider input").forEach(showSlider);
  const seeds = Object.entries(wish.seeds);
  let focusable = null;
  for (const card of by("strip").children) {
    const gives = seeds.filter(([, seed]) => seed === Number(card.dataset.seed)).map(([part]) => part);
    card.setAttribute("aria-pressed", gives.length > 0);
    const some = gives.length < seeds.length ? gives.map(part => ` ${part[0].toUpperCase()}`).join("") : "";
    card.lastChild.textContent = card.dataset.seed + some;
    card.tabIndex = -1;
    if (gives.length) focusable ??= card;
  }
  focusable ??= by("strip").firstChild;
  if (focusable) focusable.tabIndex = 0;
  by("hint").textContent = parts.all ? "Choose a seed." : wish.part === "all"
    ? "A seed gives the whole picture." : `A seed gives the ${wish.part} styles: ${PARTS[wish.part]}.`;
  clearTimeout(addressing);
  addressing = setTimeout(() => walking || history.replaceState(null, "", address()), 300); // browsers allow few
}

function showSlider(input) {
  const { min, max, value, id } = input, part = v => (100 * (v - min)) / (max - min);
  const middle = min < 0 ? part(0) : 0;
  input.style.setProperty("--from", `${Math.min(middle, part(value))}%`);
  input.style.setProperty("--to", `${Math.max(middle, part(value))}%`);
  const output = input.parentElement.querySelector("output");
  output.textContent = id === "pace" ? `${Number(value)} s a picture` : id === "psi"
    ? `ψ ${Number(value).toFixed(2)}` : (value > 0 ? "+" : "") + Number(value);
}

function addSeeds(first) {
  for (let seed = first; seed < first + STRIP; seed++) {
    const card = make("button", "", null, { "data-seed": seed, "aria-label": `Seed ${seed}`, "aria-pressed": "false" });
    const [, , height, width] = model.shown;
    make("canvas", "", card, { width, height });
    make("span", seed, card);
    card.onclick = () => choose(seed);
    by("strip").append(card);
    stale.add(card);
  }
}

function addControls() {
  addSeeds(0);
  by("strip").onscroll = ({ target }) => {
    if (target.scrollLeft + target.clientWidth > target.scrollWidth - 200) {
      addSeeds(target.children.length);
      marked();
      work();
    }
  };
  by("strip").onkeydown = event => {
    const to = { ArrowLeft: "previousSibling", ArrowRight: "nextSibling" }[event.key];
    const card = to && event.target.closest("button")?.[to];
    if (!card) return;
    event.preventDefault();
    event.stopPropagation();
    card.focus();
    card.scrollIntoView({ block: "nearest", inline: "nearest" });
    choose(Number(card.dataset.seed));
  };
  if (!parts.all) {
    by("part").hidden = false;
    for (const part of ["all", ...Object.keys(parts)]) addPart(part);
  }
  if (model.label_count) addClasses();
  by("variety").hidden = model.psi === null;
  by("noise").hidden = !model.noise.length;
  by("sliders").hidden = !model.directions.length;
  model.directions.forEach((name, number) => addDirection(name, number));
  addAbout();
}

function addPart(part) {
  const label = make("label", "", by("part"));
  make("input", "", label, { type: "radio", name: "part", value: part }).onchange = () => {
    wish.part = part;
    marked();
  };
  make("span", part === "all" ? "Whole" : part[0].toUpperCase() + part.slice(1), label);
}

function addClasses() {
  by("class").parentElement.hidden = false;
  for (let i = 0; i < model.label_count; i++) make("option", model.label_names[i] ?? i, by("class"), { value: i });
  by("class").onchange = async ({ target }) => {
    wish.label = Number(target.value);
    const seeds = { ...wish.seeds };
    for (const part in parts) if (seeds[part] !== null) await choose(seeds[part], part);
    redrawStrip();
  };
}

function addDirection(name, number) {
  const box = make("div", "", by("sliders").lastElementChild, { class: "slider" }), id = `direction${number}`;
  make("label", name.replaceAll("_", " "), box, { for: id });
  make("output", "", box, { for: id });
  const input = make("input", "", box, { id, type: "range", min: -4, max: 4, step: 0.1, value: 0 });
  input.oninput = () => {
    wish.strengths[number] = Number(input.value);
    showSlider(input);
    want();
  };
  input.ondblclick = () => {
    wish.strengths[number] = 0;
    marked();
    want();
  };
}

function addAbout() {
  const about = by("about").querySelector("div");
  make("p", "Every picture is drawn on this device by a network that came with the page. Nothing is sent anywhere. "
    + "Nobody and nothing in the pictures exists; saved pictures say so in their metadata.", about);
  const list = make("dl", "", about);
  const facts = { ...model.provenance, fingerprint: model.fingerprint, runs: document.documentElement.dataset.device,
    program: model.program };
  const names = { images_seen: "images seen", images_before: "images before", licence: "license", runs: "runs on" };
  for (const [name, text] of Object.entries(facts)) {
    make("dt", names[name] ?? name, list);
    make("dd", typeof text === "number" ? text.toLocaleString("en") : text, list);
  }
}

function redrawStrip() {
  for (const card of by("strip").children) stale.add(card);
  work();
}

const changed = () => {
  marked();
  want();
};
by("another").onclick = () => choose(anySeed());
by("walk").onclick = () => (walking ? stop() : start());
by("save").onclick = save;
by("link").onclick = async () => {
  history.replaceState(null, "", address());
  await navigator.clipboard.writeText(location.href).catch(() => prompt("The address of this picture", location.href));
  by("link").textContent = "Copied";
  setTimeout(() => (by("link").textContent = "Copy link"), 1500);
};
by("seed").onchange = ({ target }) => {
  if (target.value !== "") choose(Math.min(MOST - 1, Math.max(0, Math.floor(Number(target.value)))), "all");
};
by("psi").oninput = ({ target }) => {
  wish.psi = Number(target.value);
  showSlider(target);
  want();
};
by("psi").onchange = () => {
  marked();
  redrawStrip();
};
by("pace").oninput = ({ target }) => showSlider(target);
by("sliders").onchange = marked;
by("reset").onclick = () => {
  wish.strengths.fill(0);
  changed();
};
by("noise").onchange = ({ target }) => {
  wish.noise = target.value;
  changed();
  redrawStrip();
};
by("shuffle").onclick = () => {
  wish.noiseSeed = anySeed();
  changed();
};
document.onkeydown = event => {
  if (document.querySelector("main").inert) return; // nothing is there yet
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=number], select")) return;
  const id = { r: "another", w: "walk", s: "save" }[event.key.toLowerCase()];
  if (id) by(id).click();
};
addEventListener("hashchange", async ({ newURL }) => {
  if (!model) return; // it will begin with this address
  stop();
  await goTo(new URL(newURL).hash); // by now the page may have written its own over it
  changed();
  redrawStrip();
});

try {
  const opened = await ask("open", { gpu: options.get("gpu") });
  const numbers = new Float32Array(await (await fetch("model/numbers.bin")).arrayBuffer());
  const { w_dim: size, ranges, num_layers: layers, directions } = opened.model;
  document.documentElement.dataset.device = { webgpu: "WebGPU", wasm: "WebAssembly" }[opened.device];
  average = numbers.subarray(0, size);
  steps = directions.map((_, i) => numbers.subarray((i + 1) * size, (i + 2) * size));
  parts = Object.keys(ranges).length ? ranges : { all: [0, layers] };
  model = opened.model;
  wish.part = "all";
  await goTo(location.hash);
  wanted = true;
  addControls();
  marked();
  document.querySelector("main").inert = false;
  work();
} catch (error) {
  fail(error.message);
}
