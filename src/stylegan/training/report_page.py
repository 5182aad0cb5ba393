"""The report's page: HTML, style and script, around the data of a run, which take the place of @DATA@."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Training</title>
<style>
:root { --ground: #fafaf8; --card: #fff; --text: #1c1d20; --faint: #62656c; --line: #dfe0e3; --warn: #fff3d6;
  --c0: #1f6fd6; --c1: #c4561a; --c2: #2a8a5b; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #131416; --card: #1c1e21; --text: #ececee; --faint: #a3a6ad; --line: #35383d; --warn: #3a2f14;
    --c0: #6eaaf5; --c1: #f0935a; --c2: #63c596; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1280px; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; } h2 { font-size: 16px; margin: 0 0 10px; }
h3 { font-size: 13px; margin: 0; font-weight: 600; }
.faint { color: var(--faint); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 16px; margin-top: 16px; }
.bar { height: 6px; border-radius: 3px; background: var(--line); margin: 12px 0; overflow: hidden; }
.bar div { height: 100%; background: var(--c0); }
.facts { display: flex; flex-wrap: wrap; gap: 4px 28px; }
.advice { background: var(--warn); }
.advice p, #began p { margin: 4px 0; }
.top { display: grid; grid-template-columns: minmax(0, 640px) minmax(0, 1fr); gap: 0 16px; align-items: start; }
#pairs { width: 100%; min-width: 560px; max-width: 720px; display: block; } #copies p { margin: 0 0 10px; }
#sheet { width: 100%; display: block; border-radius: 4px; background: var(--line); }
.row { display: flex; gap: 12px; align-items: center; margin-top: 10px; }
input[type=range] { flex: 1; min-width: 0; height: 28px; accent-color: var(--c0); }
button { font: inherit; padding: 4px 14px; border: 1px solid var(--line); border-radius: 6px; background: var(--ground);
  color: var(--text); min-height: 34px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 280px), 1fr)); gap: 20px; }
.top .charts { grid-template-columns: repeat(auto-fill, minmax(min(100%, 240px), 1fr)); }
.legend { font-size: 12px; display: flex; flex-wrap: wrap; gap: 0 12px; min-height: 18px; }
.legend i { display: inline-block; width: 10px; height: 3px; margin-right: 5px; vertical-align: middle; }
svg { width: 100%; height: auto; display: block; touch-action: pan-y; }
svg text { font: 10px system-ui, sans-serif; fill: var(--faint); }
table { border-collapse: collapse; width: 100%; } td, th { text-align: left; padding: 4px 12px 4px 0; }
td:not(:first-child), th:not(:first-child) { text-align: right; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th { font-weight: 600; font-size: 13px; } tr + tr td { border-top: 1px solid var(--line); }
.scroll { overflow-x: auto; }
pre { overflow-x: auto; font-size: 12px; margin: 10px 0 0; } summary { cursor: pointer; font-weight: 600; }
@media (max-width: 800px) { body { padding: 12px; } .top { grid-template-columns: minmax(0, 1fr); }
  .card { padding: 12px; } }
</style>
</head>
<body>
<header>
<h1 id="title"></h1>
<div class="bar" role="progressbar" aria-label="Progress" aria-valuemin="0" aria-valuemax="100"><div></div></div>
<div class="facts faint" id="facts"></div>
</header>
<section class="card advice" id="advice" hidden><h2>Advice</h2></section>
<div class="top">
<section class="card" id="samples">
<h2>Samples</h2>
<img id="sheet" alt="Samples of fixed seeds">
<div class="row"><button id="play">Play</button>
<input type="range" id="time" min="0" step="1" aria-label="Time"></div>
<div class="row"><span id="when" class="faint" style="flex: 1" aria-live="polite"></span>
<button id="reals" aria-pressed="false">Training images</button></div>
</section>
<div><section class="card" id="scores" hidden><h2>Scores</h2><div class="scroll"><table></table></div></section>
<section class="card" id="first"><div class="charts"></div></section></div>
</div>
<section class="card" id="more" hidden><h2>Curves</h2><div class="charts"></div></section>
<section class="card" id="copies" hidden><h2>Samples nearest to training images</h2>
<p class="faint">Each sample beside the training image that it is nearest to, the nearest first. The number is its
distance over that of a new photograph: near 1 is as it should be, near 0 is a copy.</p>
<div class="scroll"><img id="pairs" alt="Samples beside their nearest training images"></div></section>
<section class="card" id="began" hidden><h2>Beginning</h2></section>
<section class="card"><details><summary>Configuration</summary><pre id="config"></pre></details></section>
<script type="application/json" id="data">@DATA@</script>
<script>
"use strict";
const data = JSON.parse(document.getElementById("data").textContent), facts = data.facts;
const by = id => document.getElementById(id);
const make = (name, text, parent, attributes = {}) => {
  const node = document.createElement(name);
  node.textContent = text;
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (parent) parent.append(node);
  return node;
};
const kimg = images => (images / 1000).toLocaleString("en", {maximumFractionDigits: 1}) + " kimg";
const short = value => Math.abs(value) >= 1000 ? Math.round(value).toLocaleString("en") : String(+value.toPrecision(3));
const span = seconds => seconds < 5400 ? Math.round(seconds / 60) + " min" : seconds < 172800
  ? (seconds / 3600).toFixed(1) + " h" : (seconds / 86400).toFixed(1) + " days";

// head
const share = Math.min(1, facts.seen / facts.total);
document.title = Math.floor(100 * share) + " % of " + facts.title;
by("title").textContent = "Training on " + facts.title + (facts.preset ? " (" + facts.preset + ")" : "");
document.querySelector(".bar").setAttribute("aria-valuenow", Math.round(100 * share));
document.querySelector(".bar div").style.width = 100 * share + "%";
for (const text of [kimg(facts.seen) + " of " + kimg(facts.total),
  facts.passes + " over the data", facts.resolution + " x " + facts.resolution,
  short(facts.speed) + " images/s", span(facts.seconds) + " of training",
  (facts.ended ? "ended " : "written ") + facts.written]) make("span", text, by("facts"));

// advice
for (const [seen, sentence, holds] of data.advice) {
  by("advice").hidden = false;
  const line = make("p", (holds ? "" : "No more: ") + "at " + kimg(seen) + ": " + sentence + ".", by("advice"));
  if (!holds) line.className = "faint";
}
for (const sentence of data.began) { by("began").hidden = false; make("p", sentence, by("began")); }

// samples
const grids = data.grids.filter(grid => grid[0] !== "reals.png");
const reals = data.grids.find(grid => grid[0] === "reals.png");
const slider = by("time"), place = "place " + location.pathname;
const at = name => Number(name.replace(/[^0-9]/g, ""));
const show = () => {
  const pressed = by("reals").getAttribute("aria-pressed") === "true";
  const [name, url] = pressed ? reals : grids[slider.value];
  by("sheet").src = url;
  by("when").textContent = pressed ? "Training images" : "after " + kimg(at(name));
};
if (grids.length) {
  slider.max = grids.length - 1;
  let kept = null;
  try { kept = sessionStorage.getItem(place); } catch (error) { /* not from a file, in some browsers */ }
  slider.value = kept === null || Number(kept) >= grids.length ? grids.length - 1 : kept;
  slider.oninput = () => {
    by("reals").setAttribute("aria-pressed", "false");
    try {
      if (slider.value === slider.max) sessionStorage.removeItem(place);
      else sessionStorage.setItem(place, slider.value);
    } catch (error) { /* as above */ }
    show();
  };
  by("reals").hidden = !reals;
  by("reals").onclick = () => {
    const pressed = by("reals").getAttribute("aria-pressed") === "true";
    by("reals").setAttribute("aria-pressed", String(!pressed));
    show();
  };
  let timer = 0;
  by("play").onclick = () => {
    if (timer) { clearInterval(timer); timer = 0; by("play").textContent = "Play"; return; }
    if (slider.value === slider.max) slider.value = 0;
    by("play").textContent = "Pause";
    show();
    timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      slider.oninput();
      if (slider.value === slider.max) by("play").onclick();
    }, 250);
  };
  show();
} else by("samples").hidden = true;

// scores
if (data.scores.length) {
  by("scores").hidden = false;
  const table = document.querySelector("#scores table"), head = make("tr", "", table);
  for (const text of ["metric", "now", "best", "at"]) make("th", text, head);
  for (const [name, now, best, seen] of data.scores) {
    const row = make("tr", "", table);
    for (const text of [name, short(now), short(best), kimg(seen)]) make("td", text, row);
  }
}

if (data.pairs) { by("copies").hidden = false; by("pairs").src = data.pairs; }

// curves
const W = 320, H = 150, L = 40, R = 8, T = 8, B = 18;
const svg = (name, attributes, parent) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  parent.append(node);
  return node;
};
const ticks = (low, high) => {
  const rough = (high - low) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map(n => n * power).find(n => n >= rough);
  const list = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step / 1e6; v += step)
    list.push(Math.abs(v) < step / 1e6 ? 0 : v);
  return list;
};
const draw = (chart, parent) => {
  const box = make("div", "", parent), all = chart.lines.flatMap(line => line[1]);
  make("h3", chart.title, box);
  const legend = make("div", "", box, {class: "legend faint"});
  let low = Math.min(...all.map(p => p[1])), high = Math.max(...all.map(p => p[1]));
  const usual = all.map(p => p[1]).sort((a, b) => a - b)[Math.floor(0.95 * all.length)];
  if (all.length > 20 && usual > 0) high = Math.min(high, 2 * usual);  // the beginning may tower above the rest
  if (low > 0 && low < high / 2) low = 0;
  if (high - low < 1e-9) { low -= Math.abs(low) / 10 + 0.1; high += Math.abs(high) / 10 + 0.1; }
  const end = Math.max(...all.map(p => p[0]), 1);
  const x = images => L + (W - L - R) * images / end, y = v => T + (H - T - B) * Math.max(0, high - v) / (high - low);
  const image = svg("svg", {viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": chart.title}, box);
  for (const v of ticks(low, high)) {
    svg("line", {x1: L, x2: W - R, y1: y(v), y2: y(v), stroke: "var(--line)"}, image);
    svg("text", {x: L - 5, y: y(v) + 3, "text-anchor": "end"}, image).textContent = short(v);
  }
  for (const v of ticks(0, end)) if (x(v) < W - R - 24 || v === 0)
    svg("text", {x: x(v), y: H - 4, "text-anchor": v ? "middle" : "start"}, image).textContent = short(v / 1000);
  svg("text", {x: W - R, y: H - 4, "text-anchor": "end"}, image).textContent = "kimg";
  chart.lines.forEach(([name, points], i) => {
    const color = `var(--c${i})`;
    svg("polyline", {points: points.map(p => x(p[0]).toFixed(1) + "," + y(p[1]).toFixed(1)).join(" "), fill: "none",
      stroke: color, "stroke-width": 1.5, "stroke-linejoin": "round"}, image);
    if (points.length < 12) for (const p of points)
      svg("circle", {cx: x(p[0]), cy: y(p[1]), r: 2.5, fill: color}, image);
  });
  const cursor = svg("line", {y1: T, y2: H - B, stroke: "var(--faint)", visibility: "hidden"}, image);
  const tell = images => {
    legend.textContent = "";
    chart.lines.forEach(([name, points], i) => {
      let near = points[points.length - 1];
      if (images !== null) for (const p of points) if (Math.abs(p[0] - images) < Math.abs(near[0] - images)) near = p;
      const item = make("span", "", legend);
      make("i", "", item).style.background = `var(--c${i})`;
      item.append((name ? name + " " : "") + short(near[1]));
      if (i === 0 && images !== null) {
        cursor.setAttribute("x1", x(near[0])); cursor.setAttribute("x2", x(near[0]));
        make("span", "at " + kimg(near[0]), legend);
      }
    });
    cursor.setAttribute("visibility", images === null ? "hidden" : "visible");
  };
  image.onpointermove = event => {
    const area = image.getBoundingClientRect();
    tell(((event.clientX - area.left) / area.width * W - L) / (W - L - R) * end);
  };
  image.onpointerleave = () => tell(null);
  tell(null);
};
const beside = 6;
data.charts.forEach((chart, i) => {
  if (i >= beside) by("more").hidden = false;
  draw(chart, document.querySelector(i < beside ? "#first .charts" : "#more .charts"));
});
by("first").hidden = !data.charts.length;
by("config").textContent = data.config;
if (!facts.ended) setTimeout(() => location.reload(), 60000);
</script>
</body>
</html>
"""
