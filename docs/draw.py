"""Draws what docs/how-it-works.md shows: figure 1, and the pictures that the page's own lines of Python make.

python docs/draw.py
"""

import os
import re
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
PAGE, FIGURE_1, PICTURES = DOCS / "how-it-works.md", DOCS / "images/figure-1.svg", DOCS / "images/how"

STYLE = """
  .page { fill: #ffffff } text { fill: #1f2328; font: 13px system-ui, 'Segoe UI', Helvetica, Arial, sans-serif }
  .title { font-weight: 600; font-size: 15px } .small { font-size: 11.5px }
  .middle { text-anchor: middle } .right { text-anchor: end }
  .panel { fill: #f3f5f8; stroke: #c9d1da } .plain { fill: #ffffff; stroke: #8c959f }
  .conv { fill: #dcebfb; stroke: #4a86c5 } .norm { fill: #fdeacb; stroke: #c98a1b }
  .affine { fill: #fbd9dc; stroke: #c9505e } .noise { fill: #dff3e1; stroke: #4b9a58 }
  .line { stroke: #57606a; stroke-width: 1.4; fill: none } .head { fill: #57606a }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .panel { fill: #161b22; stroke: #3d444d }
    .plain { fill: #21262d; stroke: #8b949e } .conv { fill: #14314f; stroke: #5a9be0 }
    .norm { fill: #46330c; stroke: #d9a441 } .affine { fill: #4c1d23; stroke: #e5707d }
    .noise { fill: #173b20; stroke: #63b673 } .line { stroke: #9aa4af } .head { fill: #9aa4af }
  }
"""


class Drawing:
    """The parts of an SVG file, one after the other."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.size, self.title, self.parts = (width, height), title, []

    def text(self, x: float, y: float, text: str, kind: str = "middle") -> None:
        self.parts.append(f'<text x="{x:g}" y="{y:g}" class="{kind}">{text}</text>')

    def box(self, x: float, y: float, width: float, height: float, text: str = "", kind: str = "plain") -> None:
        """A box around (x, y), its center; the kind of a layer decides the color."""
        left, top = x - width / 2, y - height / 2
        size = f'width="{width:g}" height="{height:g}"'
        self.parts.append(f'<rect x="{left:g}" y="{top:g}" {size} rx="4" class="{kind}"/>')
        if text:
            self.text(x, y + 4.5, text)

    def circle(self, x: float, y: float, text: str) -> None:
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="9" class="plain"/>')
        self.text(x, y + 4.5, text)

    def arrow(self, *points: tuple[float, float], head: bool = True) -> None:
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        end = ' marker-end="url(#head)"' if head else ""
        self.parts.append(f'<polyline points="{path}" class="line"{end}/>')

    def __str__(self) -> str:
        width, height = self.size
        head = '<path d="M0,0 L8,4 L0,8 z" class="head"/>'
        marker = f'<marker id="head" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">{head}</marker>'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">',
                f"<title>{self.title}</title>",
                f"<style>{STYLE}</style>",
                f"<defs>{marker}</defs>",
                f'<rect width="{width}" height="{height}" class="page"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def figure_1() -> str:
    """Figure 1 as SVG: the traditional generator, the mapping network, the synthesis network."""
    drawing = Drawing(960, 790, "The traditional generator (a), and the style-based generator (b)")
    _traditional(drawing, x=120)
    _mapping(drawing, x=325)
    _synthesis(drawing, x=672)
    return str(drawing)


def _traditional(drawing: Drawing, x: float) -> None:
    drawing.text(x, 28, "(a) traditional", "title middle")
    drawing.box(x, 410, 200, 720, kind="panel")
    rows = [
        (78, "latent z", "plain"),
        (118, "normalize", "norm"),
        (172, "dense, to 4 × 4", "conv"),
        (210, "leaky ReLU, pixel norm", "norm"),
        (248, "conv 3 × 3", "conv"),
        (286, "leaky ReLU, pixel norm", "norm"),
        (360, "double", "plain"),
        (398, "conv 3 × 3, blur", "conv"),
        (436, "leaky ReLU, pixel norm", "norm"),
        (474, "conv 3 × 3", "conv"),
        (512, "leaky ReLU, pixel norm", "norm"),
        (680, "toRGB, conv 1 × 1", "conv"),
        (734, "image", "plain"),
    ]
    for (y, text, kind), (before, *_) in zip(rows, [(None,), *rows], strict=False):
        if before is not None:
            drawing.arrow((x, before + 13), (x, y - 14))
        drawing.box(x, y, 164, 26, text, kind)
    drawing.text(x + 92, 322, "4 × 4", "small right")
    drawing.text(x + 92, 548, "8 × 8", "small right")
    drawing.box(x, 600, 164, 44, kind="panel")
    drawing.text(x, 605, "16 × 16 … 1024 × 1024", "small middle")


def _mapping(drawing: Drawing, x: float) -> None:
    drawing.text(x + 245, 28, "(b) style-based", "title middle")
    drawing.box(x, 335, 150, 560, kind="panel")
    drawing.text(x, 600, "mapping network f", "small middle")
    places = [78, 118, *(172 + 40 * i for i in range(8)), 510]
    for i, y in enumerate(places):
        if i:
            drawing.arrow((x, places[i - 1] + 13), (x, y - 14))
        text = {0: "latent z", 1: "normalize", 10: "w"}.get(i, "dense, leaky ReLU")
        drawing.box(x, y, 126, 26, text, {1: "norm"}.get(i, "conv" if 1 < i < 10 else "plain"))
    drawing.text(x, 550, "in W, 512 numbers", "small middle")


def _synthesis(drawing: Drawing, x: float) -> None:
    trunk, side = x - 215, x + 190  # where w goes down, and where noise comes in
    drawing.box(x + 12, 410, 500, 720, kind="panel")
    drawing.text(x + 250, 758, "synthesis network g", "small right")
    drawing.text(side, 82, "noise", "small middle")
    drawing.arrow((side, 90), (side, 630), head=False)
    drawing.box(x, 78, 150, 26, "constant 4 × 4 × 512", "conv")
    w_level = 510
    drawing.arrow((325 + 63, w_level), (trunk, w_level), (trunk, 154), head=False)
    drawing.arrow((trunk, w_level), (trunk, 630), head=False)
    last = 78
    for first, rows, size in (
        (118, ["conv 3 × 3"], "4 × 4"),
        (306, ["double, conv 3 × 3, blur", "conv 3 × 3"], "8 × 8"),
    ):
        y = first
        if len(rows) == 1:
            y = last = _epilogue(drawing, x, y, last, trunk, side)
        for row in rows:
            y += 40
            drawing.arrow((x, last + 13), (x, y - 14))
            drawing.box(x, y, 180, 26, row, "conv")
            y = last = _epilogue(drawing, x, y + 38, y, trunk, side)
        drawing.text(x + 254, first + 60, size, "small right")
    drawing.arrow((x, last + 13), (x, 618), head=False)
    drawing.box(x, 632, 440, 28, kind="panel")
    drawing.text(x, 637, "16 × 16 … 1024 × 1024: 14 more layers, each with its own A and B", "small middle")
    drawing.arrow((x, 646), (x, 680 - 14))
    drawing.box(x, 680, 164, 26, "toRGB, conv 1 × 1", "conv")
    drawing.arrow((x, 693), (x, 734 - 14))
    drawing.box(x, 734, 164, 26, "image")


def _epilogue(drawing: Drawing, x: float, y: float, last: float, trunk: float, side: float) -> float:
    """Noise, bias and leaky ReLU, then AdaIN; returns where AdaIN is."""
    below = y + 36
    drawing.arrow((x, last + 13), (x, y - 14))
    drawing.box(x, y, 180, 26, "+ noise, bias, leaky ReLU", "noise")
    drawing.box(x + 140, y, 24, 24, "B", "noise")
    drawing.arrow((side, y), (x + 153, y))
    drawing.arrow((x + 128, y), (x + 91, y))
    drawing.arrow((x, y + 13), (x, below - 14))
    drawing.box(x, below, 180, 26, "AdaIN", "norm")
    drawing.box(x - 160, below, 24, 24, "A", "affine")
    drawing.arrow((trunk, below), (x - 173, below))
    drawing.arrow((x - 148, below), (x - 91, below))
    drawing.text(x - 120, below - 5, "style", "small middle")
    return below


def snippets(page: Path = PAGE) -> list[str]:
    """The page's blocks of Python, in order."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def draw_pictures(folder: Path) -> None:
    """Run the page in a temporary folder and keep the pictures that it writes, in 256 colors."""
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        try:
            scope: dict = {}
            for block in snippets():
                exec(block, scope)
        finally:
            os.chdir(home)
        folder.mkdir(exist_ok=True)
        for file in sorted(Path(scratch).glob("*.png")):
            with Image.open(file) as picture:
                picture.convert("RGB").quantize(256).save(folder / file.name, optimize=True)


if __name__ == "__main__":
    FIGURE_1.write_text(figure_1(), encoding="utf-8")
    draw_pictures(PICTURES)
