"""Runs the commands of docs/your-pictures.md, tells the time of each, and draws the page's pictures.

python docs/draw_pictures.py STATUES OUT [--from look] [--extra "--threads 1"]

OUT is where the commands run, beside a link to the folder STATUES. --from begins with the first command of that name,
over what is there already; --extra are further options of the training.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).parent
PAGE, PICTURES = DOCS / "your-pictures.md", DOCS / "images/statues"
COLORS = 256


def commands() -> list[list[str]]:
    """The page's commands, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in lines]


def small(path: Path, name: str, box: tuple[int, int, int, int] | None = None) -> None:
    """A picture of the page: part of another, in few colors."""
    with Image.open(path) as picture:
        part = picture.convert("RGB").crop(box) if box else picture.convert("RGB")
    part.quantize(COLORS, dither=Image.Dither.NONE).save(PICTURES / name, optimize=True)


def draw(out: Path) -> None:
    """The page's pictures, from what the commands have made. The photograph itself is not among them."""
    PICTURES.mkdir(exist_ok=True)
    small(out / "pictures/grid.png", "samples.png")
    for name in ("truncation", "mixing", "directions"):
        small(out / f"{name}.png", f"{name}.png")
    small(out / "edited/comparison.png", "edited.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("statues", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--from", dest="first", default="look")
    parser.add_argument("--extra", default="")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    if not (options.out / "statues").exists():
        (options.out / "statues").symlink_to(options.statues.resolve())
    names = [words[1] for words in commands()]
    for words in commands()[names.index(options.first) :]:
        extra = options.extra.split() if words[1] == "train" else []
        wall, before = time.perf_counter(), os.times()
        done = subprocess.run([sys.executable, "-m", *words, *extra], cwd=options.out, check=False)
        if words[1] != "status":  # which says by its exit code how the run stands
            done.check_returncode()
        after, wall = os.times(), time.perf_counter() - wall
        own = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"{shlex.join(words)}\n    {wall:.0f} s, of which a core worked {own:.0f}", flush=True)
    draw(options.out)


if __name__ == "__main__":
    main()
