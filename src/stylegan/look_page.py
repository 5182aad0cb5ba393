"""The page of `stylegan look`: one HTML file that holds its pictures, style and script, and needs no network."""

import base64
import json
import shlex
from collections.abc import Sequence
from html import escape

import numpy as np

from stylegan.data.exclude import HEADER, escaped
from stylegan.data.look import Facts, Finding, Kind, Proposal
from stylegan.files import printable
from stylegan.resolutions import resolutions

MARK = '<meta name="generator" content="stylegan look">'
TITLES: dict[Kind, str] = {
    "exact": "Exact duplicates",
    "near": "Near duplicates",
    "alike": "Much alike",
    "blurred": "Blurred",
    "bars": "With bars",
    "tiny": "Too small",
    "odd": "Odd ones out",
}
HELP = {
    "exact": "The same file twice. Proposed to be left out.",
    "near": "The same picture in another size, quality or brightness, or mirrored. The larger one stays.",
    "alike": "Pictures that a network takes for nearly the same: another crop of one picture, or the next of a series.",
    "blurred": "Out of focus, or enlarged from less. A generator learns the blur, too.",
    "bars": "Bars of one color at the edges, as of a film, or a frame. Crop them away, or leave the picture out.",
    "tiny": "The shorter side is below the resolution; `--allow-upscale` takes them all the same, enlarged.",
    "odd": "Far from all others in the features of a network: another subject, a drawing, a screenshot.",
}
SHAPES = (
    (0.6, "tall"),
    (0.9, "upright"),
    (1.1, "square"),
    (1.7, "wide"),
    (float("inf"), "very wide"),
)  # width / height


def page(
    source: str,
    facts: Sequence[Facts],
    findings: Sequence[Finding],
    unusable: Sequence[tuple[str, str]],
    proposal: Proposal,
    excluded: set[int],
    list_name: str,
    command: Sequence[str],
    total: int,
) -> str:
    """The page as text. `excluded`: numbers of the pictures that are left out at first; `total`: how many there are."""
    names = [escaped(each.glimpse.name) for each in facts]
    reasons: list[list[Finding]] = [[] for _ in facts]
    for finding in findings:
        reasons[finding.number].append(finding)
    data = {
        "pictures": [
            {
                "name": name,
                "side": min(each.glimpse.width, each.glimpse.height),
                "blur": round(each.blur, 3),
                "reason": "; ".join(finding.reason for finding in found),
                "out": number in excluded,
            }
            for number, (name, each, found) in enumerate(zip(names, facts, reasons, strict=True))
        ],
        "findings": [[finding.kind, finding.number, finding.beside] for finding in findings],
        "help": HELP,
        "header": HEADER,
        "list": list_name,
    }
    some = f"the first {len(facts)} of {total} by name" if total > len(facts) + len(unusable) else f"{len(facts)}"
    counts = {kind: sum(finding.kind == kind for finding in findings) for kind in TITLES}
    chips = [_chip("all", "All", len(facts)), *(_chip(kind, TITLES[kind], n) for kind, n in counts.items() if n)]
    cards = [_card(i, each, names[i], reasons[i]) for i, each in enumerate(facts)]
    parts = {
        "MARK": MARK,
        "TITLE": escape(f"{printable(source)}: {len(facts)} pictures"),
        "SOURCE": escape(printable(source)),
        "SUMMARY": f"{some} pictures can be used" + (f", {len(unusable)} cannot" if unusable else "") + ".",
        "PROPOSAL": escape(proposal.sentence),
        "COMMAND": escape(printable(shlex.join(command))),
        "SIZES": _sizes(facts, proposal),
        "SHAPES": _shapes(facts),
        "UNUSABLE": _unusable(unusable),
        "CHIPS": "".join(chips),
        "CARDS": "".join(cards),
        "STYLE": STYLE,
        "SCRIPT": SCRIPT,
        "DATA": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    }
    first, *rest = PAGE.split("{{")
    return first + "".join(parts[name] + text for name, _, text in (part.partition("}}") for part in rest))


def _chip(kind: str, title: str, count: int) -> str:
    pressed = "true" if kind == "all" else "false"
    return f'<button class="chip" data-kind="{kind}" aria-pressed="{pressed}">{title} <b>{count}</b></button>'


def _card(number: int, facts: Facts, name: str, findings: Sequence[Finding]) -> str:
    glimpse = facts.glimpse
    image = base64.b64encode(facts.preview).decode()
    tags = "".join(f'<li class="{finding.kind}">{escape(finding.reason)}</li>' for finding in findings)
    return (
        f'<li class="card" id="p{number}"><button class="zoom" title="Enlarge"><img loading="lazy" decoding="async" '
        f'alt="{escape(name)}" src="data:image/jpeg;base64,{image}"></button>'
        f'<p class="name" title="{escape(name)}"><bdi>{escape(name)}</bdi></p>'
        f'<p class="size">{glimpse.width} × {glimpse.height}</p>'
        f'<ul class="tags">{tags}</ul><label><input type="checkbox" class="out"> leave out</label></li>\n'
    )


def _sizes(facts: Sequence[Facts], proposal: Proposal) -> str:
    """A table: how many pictures reach each resolution, cropped and padded."""
    sizes = [(each.glimpse.width, each.glimpse.height) for each in facts]
    rows = []
    for resolution in resolutions(1024, 32):
        crop, pad = sum(min(size) >= resolution for size in sizes), sum(max(size) >= resolution for size in sizes)
        chosen = ' class="chosen"' if resolution == proposal.resolution else ""
        rows.append(
            f"<tr{chosen}><th>{resolution}</th><td>{_bar(crop, len(sizes))}</td><td>{_bar(pad, len(sizes))}</td></tr>"
        )
    sides = sorted(min(size) for size in sizes)
    middle = f"Shorter sides: {sides[0]} to {sides[-1]} pixels, the median {sides[len(sides) // 2]}."
    head = "<tr><th>resolution</th><th>reach it cropped</th><th>padded</th></tr>"
    return f"<table>{head}{''.join(rows)}</table><p>{middle}</p>"


def _shapes(facts: Sequence[Facts]) -> str:
    """A table: how many pictures are of which shape, and what a crop to a square takes away."""
    sizes = [(each.glimpse.width, each.glimpse.height) for each in facts]
    counts = dict.fromkeys((name for _, name in SHAPES), 0)
    for width, height in sizes:
        counts[next(name for most, name in SHAPES if width / height < most)] += 1
    rows = [f"<tr><th>{name}</th><td>{_bar(count, len(sizes))}</td></tr>" for name, count in counts.items()]
    lost = float(np.median([1 - min(size) / max(size) for size in sizes]))
    told = f"A crop to the center square takes away {lost:.0%} of a picture (the median)." if lost >= 0.005 else ""
    return f"<table><tr><th>shape</th><th>pictures</th></tr>{''.join(rows)}</table><p>{told}</p>"


def _bar(count: int, total: int) -> str:
    return f'<span class="bar" style="--share:{count / total:.3f}"><b>{count}</b></span>'


def _unusable(unusable: Sequence[tuple[str, str]]) -> str:
    if not unusable:
        return ""
    rows = "".join(f"<li><b>{escape(name)}</b>: {escape(reason)}</li>" for name, reason in unusable)
    return f"<details><summary>{len(unusable)} cannot be used</summary><ul>{rows}</ul></details>"


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">{{MARK}}
<meta name="viewport" content="width=device-width, initial-scale=1"><title>{{TITLE}}</title>
<style>{{STYLE}}</style></head><body>
<header><h1>{{SOURCE}}</h1><p>{{SUMMARY}} {{PROPOSAL}}</p>
<div class="tables"><section>{{SIZES}}</section><section>{{SHAPES}}</section></div>{{UNUSABLE}}
<p>When the list is as you want it:</p><pre>{{COMMAND}}</pre></header>
<nav><div class="chips">{{CHIPS}}</div><label>sort by <select id="sort"><option value="name">name</option>
<option value="side">shorter side</option><option value="blur">blur</option></select></label></nav>
<main><p id="help"></p><ul id="cards">
{{CARDS}}</ul></main>
<footer><span id="count"></span><button id="copy">Copy list</button><button id="save">Save list</button></footer>
<dialog id="large"><div class="stage"><button id="before" aria-label="previous">‹</button><img alt="">
<button id="after" aria-label="next">›</button></div><p class="facts"></p>
<form method="dialog"><label><input type="checkbox" id="out"> leave out</label><button>Close</button></form></dialog>
<script type="application/json" id="data">{{DATA}}</script><script>{{SCRIPT}}</script></body></html>
"""

STYLE = """
:root { color-scheme: light dark; --ground: #f6f7f8; --card: #fff; --ink: #1c2127; --soft: #5a6470; --line: #d9dee3;
  --accent: #0b5fce; --out: #b3261e; --bar: #bcd5f7; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --card: #1d2226; --ink: #e6e9ec; --soft: #9aa5b1;
  --line: #333a41; --accent: #79b0ff; --out: #ff8a80; --bar: #26466f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
header, main { max-width: 1400px; margin: 0 auto; padding: 12px 16px 0; }
h1 { font-size: 22px; margin: 4px 0; overflow-wrap: anywhere; }
p { margin: 6px 0; }
.tables { display: flex; flex-wrap: wrap; gap: 8px 40px; }
.tables section { flex: 1 1 320px; max-width: 560px; color: var(--soft); }
table { border-collapse: collapse; width: 100%; color: var(--ink); }
th { font-weight: 500; text-align: left; padding: 1px 12px 1px 0; white-space: nowrap; }
td { width: 45%; padding: 1px 12px 1px 0; }
tr:first-child th { color: var(--soft); font-size: 13px; }
.chosen th { color: var(--accent); font-weight: 700; }
.bar { display: block; background: linear-gradient(var(--bar) 0 0) 0 0 / calc(100% * var(--share)) 100% no-repeat;
  padding: 0 6px; border-radius: 3px; }
.bar b { font-weight: 500; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 8px 10px; overflow-x: auto; }
details { color: var(--soft); overflow-wrap: anywhere; }
nav { position: sticky; top: 0; z-index: 1; background: var(--ground); border-bottom: 1px solid var(--line);
  display: flex; flex-wrap: wrap; gap: 6px 16px; align-items: center; justify-content: center; padding: 8px 16px; }
.chips { display: flex; gap: 6px; overflow-x: auto; max-width: 100%; }
button, select { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; padding: 5px 10px; cursor: pointer; }
.chip { white-space: nowrap; border-radius: 99px; }
.chip b { color: var(--soft); font-weight: 500; }
.chip[aria-pressed=true] { border-color: var(--accent); color: var(--accent); }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }
#help { color: var(--soft); min-height: 1.4em; }
#cards { list-style: none; margin: 0; padding: 0 0 80px; display: grid; gap: 10px;
  grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 6px; min-width: 0;
  display: flex; flex-direction: column; font-size: 13px; }
.card[hidden] { display: none; }
.zoom { padding: 0; border: 0; background: none; height: 150px; cursor: zoom-in; }
.zoom img { width: 100%; height: 100%; object-fit: contain; display: block; }
.card p { margin: 2px 0 0; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; direction: rtl; text-align: left; }
.size { color: var(--soft); }
.tags { list-style: none; margin: 2px 0; padding: 0; color: var(--soft); overflow-wrap: anywhere; flex: 1; }
.tags li::before { content: "• "; }
.tags .exact, .tags .near { color: var(--out); }
.card label { padding: 3px 0; }
.card.is-out { border-color: var(--out); }
.card.is-out .zoom { opacity: .35; }
footer { position: fixed; bottom: 0; left: 0; right: 0; background: var(--card); border-top: 1px solid var(--line);
  display: flex; gap: 8px; align-items: center; justify-content: center; padding: 8px 16px; }
dialog { border: 1px solid var(--line); border-radius: 10px; background: var(--card); color: var(--ink);
  padding: 12px; max-width: min(96vw, 1000px); width: 1000px; }
dialog::backdrop { background: #000b; }
.stage { display: flex; align-items: center; gap: 8px; }
.stage img { flex: 1; min-width: 0; height: min(68vh, 760px); object-fit: contain; }
.stage button { font-size: 24px; padding: 12px 10px; }
.facts { overflow-wrap: anywhere; text-align: center; }
dialog form { display: flex; gap: 16px; justify-content: center; align-items: center; }
@media (max-width: 500px) { .stage { gap: 2px; } .stage button { padding: 12px 5px; } .stage img { height: 60vh; }
  nav label { display: none; } nav { justify-content: flex-start; } }
"""

SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const at = id => document.getElementById(id), cards = data.pictures.map((_, i) => at('p' + i));
let kind = 'all', shown = [], current = 0;

function order() {  // numbers of the pictures to show, in order; beside a duplicate stands what it repeats
  if (kind === 'all') {
    const by = at('sort').value, all = data.pictures.map((_, i) => i);
    const key = i => by === 'side' ? data.pictures[i].side : -data.pictures[i].blur;
    return by === 'name' ? all : all.sort((a, b) => key(a) - key(b));
  }
  const numbers = [];
  for (const [of_kind, number, beside] of data.findings)
    if (of_kind === kind) numbers.push(...(beside === null ? [number] : [beside, number]));
  return [...new Set(numbers)];
}

function show() {
  shown = order();
  cards.forEach(card => card.hidden = true);
  shown.forEach((number, place) => { cards[number].hidden = false; cards[number].style.order = place; });
  document.querySelectorAll('.chip').forEach(c => c.setAttribute('aria-pressed', c.dataset.kind === kind));
  at('help').textContent = data.help[kind] || 'Click a picture to enlarge it; mark those that training should not see.';
  at('sort').disabled = kind !== 'all';
}

function mark(number, out) {
  data.pictures[number].out = out;
  cards[number].classList.toggle('is-out', out);
  cards[number].querySelector('.out').checked = out;
  at('count').textContent = data.pictures.filter(p => p.out).length + ' of ' + cards.length + ' left out';
}

function enlarge(number) {
  current = number;
  const card = cards[number], picture = data.pictures[number];
  at('large').querySelector('img').src = card.querySelector('img').src;
  at('large').querySelector('.facts').textContent = picture.name + ', ' + card.querySelector('.size').textContent +
    (picture.reason ? ': ' + picture.reason : '');
  at('out').checked = picture.out;
  if (!at('large').open) at('large').showModal();
}

function step(by) { enlarge(shown[(shown.indexOf(current) + by + shown.length) % shown.length]); }

function list() {
  const lines = data.pictures.filter(p => p.out).map(p => p.name + (p.reason ? '  # ' + p.reason : '') + '\\n');
  return data.header + lines.join('');
}

cards.forEach((card, number) => {
  card.querySelector('.zoom').onclick = () => enlarge(number);
  card.querySelector('.out').onchange = event => mark(number, event.target.checked);
  mark(number, data.pictures[number].out);
});
document.querySelectorAll('.chip').forEach(c => c.onclick = () => { kind = c.dataset.kind; show(); });
at('sort').onchange = show;
at('out').onchange = event => mark(current, event.target.checked);
at('before').onclick = () => step(-1);
at('after').onclick = () => step(1);
at('large').onclick = event => { if (event.target === at('large')) at('large').close(); };
at('large').onkeydown = event => {
  if (event.key === 'ArrowLeft') step(-1);
  if (event.key === 'ArrowRight') step(1);
};
at('save').onclick = () => {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([list()], {type: 'text/plain'}));
  link.download = data.list;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
at('copy').onclick = async () => {
  try { await navigator.clipboard.writeText(list()); } catch {
    const area = document.body.appendChild(document.createElement('textarea'));
    area.value = list(); area.select(); document.execCommand('copy'); area.remove();
  }
  at('copy').textContent = 'Copied';
  setTimeout(() => at('copy').textContent = 'Copy list', 1500);
};
show();
"""
