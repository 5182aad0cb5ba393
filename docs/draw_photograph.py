"""Runs the commands of docs/photograph.md, tells the time of each, and draws the page's picture.

python docs/draw_photograph.py PHOTOGRAPH OUT

OUT is where the commands run, beside a copy of the photograph. Those of the page's last section, which train
an encoder, are left out.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from stylegan import likeness, load, sampling

DOCS = Path(__file__).parent
PAGE, PICTURE = DOCS / "photograph.md", DOCS / "images/photograph.png"
LAST_SECTION = "## Without an encoder"
SIDE, CAPTION = 192, 24  # pixels


def run(out: Path) -> None:
    """Carry out the page's blocks of code in a folder."""
    page = PAGE.read_text(encoding="utf-8").partition(LAST_SECTION)[0].replace("\\\n", " ")
    for language, text in re.findall(r"```(sh|python)\n(.*?)```", page, re.DOTALL):
        lines = [["-c", text]] if language == "python" else [["-m", *shlex.split(line)] for line in text.splitlines()]
        for words in lines:
            before = os.times()
            subprocess.run([sys.executable, *words], cwd=out, check=True)
            after = os.times()
            own = after.children_user + after.children_system - before.children_user - before.children_system
            print(
                f"    a core worked {own:.1f} s: {language if language == 'python' else shlex.join(words[1:])}",
                flush=True,
            )


@torch.no_grad()
def draw(out: Path) -> None:
    """The page's picture, from what the commands have made."""
    with Image.open(out / "photograph/photograph-target.png") as picture:
        photograph = picture.convert("RGB")
    drawn = {}
    for name, model, station in (
        ("encoded", "faces", "photograph"),
        ("tuned", "photograph/tuned.safetensors", "photograph"),
        ("dragged", "photograph/tuned.safetensors", "dragged"),
        ("edited", "photograph/tuned.safetensors", "edited"),
    ):
        generator = load(out / model if "/" in model else model)
        w = sampling.load_latents(out / station / "latents.safetensors", generator.config)[1]
        drawn[name] = sampling.draw(generator, w, "const")[0]
    target = torch.frombuffer(bytearray(photograph.tobytes()), dtype=torch.uint8)
    target = target.view(photograph.height, photograph.width, 3).permute(2, 0, 1)
    parts = {"photograph": target}
    for name, image in drawn.items():
        near = float(likeness.psnr(image[None], target[None]))
        parts[f"{name}, {near:.1f} dB" if name in ("encoded", "tuned") else name] = image
    sheet = Image.new("RGB", (SIDE * len(parts), SIDE + CAPTION), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (caption, image) in enumerate(parts.items()):
        tile = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((SIDE, SIDE), Image.Resampling.NEAREST)
        sheet.paste(tile, (i * SIDE, 0))
        pen.text((i * SIDE + SIDE / 2, SIDE + CAPTION / 2), caption, "black", font, anchor="mm")
    sheet.quantize(256, dither=Image.Dither.NONE).save(PICTURE, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photograph", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    shutil.copy(options.photograph, options.out / "photograph.png")
    run(options.out)
    draw(options.out)


if __name__ == "__main__":
    main()
