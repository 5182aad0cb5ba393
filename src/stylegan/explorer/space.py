"""A folder that is a Hugging Face Space: the explorer of one model, with all that it needs."""

import json
import shutil
import tempfile
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import stylegan
from stylegan import directions, weights
from stylegan.data.store import check_target
from stylegan.explorer.server import import_gradio
from stylegan.weights import Model

EXTRAS = ("app", "video")

APP = """\
from pathlib import Path

from stylegan.explorer import page, picture

here = Path(__file__).parent
explorer = picture.open_explorer(here / {model!r}{options})
page.wait(page.serve(explorer))
"""

README = """\
---
title: {title}
sdk: gradio
sdk_version: {gradio}
python_version: "3.12"
app_file: app.py
---

A StyleGAN to steer in the browser: sample, mix, edit, drag, walk, project. Made by `stylegan explore --space`; the
program (Apache-2.0) is in `stylegan/`. On a machine of your own: `pip install -r requirements.txt`, `python app.py`.

{about}
"""


def write_space(folder: Path | str, model: Path | str, directions_file: Path | str | None = None) -> None:
    """Write the folder: app.py, requirements.txt, README.md, the model, the directions if given, and this package.

    Raises InputError where something is there already, for what is no model, and for directions that do not fit it.
    """
    folder, name, gradio = Path(folder), Path(model).resolve().stem, import_gradio()
    check_target(folder)
    loaded = weights.load_model(model)
    if directions_file is not None:
        directions.load(directions_file, loaded.generator)
    known = {key.replace("_", " "): value for key, value in asdict(loaded.provenance).items() if value}
    options = "" if directions_file is None else ', directions_file=here / "directions.safetensors"'
    texts = {
        "app.py": APP.format(model=f"{name}.safetensors", options=options),
        "README.md": README.format(
            title=json.dumps(name),
            gradio=gradio.__version__,
            about="\n".join(f"- {key}: {value}" for key, value in known.items()),
        ),
        "requirements.txt": "".join(f"{line}\n" for line in requirements()),
    }
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".space-") as temporary:
        made = Path(temporary, "space")
        package = Path(stylegan.__file__).parent
        shutil.copytree(package, made / "stylegan", ignore=shutil.ignore_patterns("__pycache__", "pretrained"))
        weights.save(made / f"{name}.safetensors", Model(loaded.generator, loaded.provenance))
        if directions_file is not None:
            shutil.copyfile(directions_file, made / "directions.safetensors")
        for file, text in texts.items():
            (made / file).write_text(text, encoding="utf-8")
        if folder.exists():  # and is empty: not every system renames onto a folder
            folder.rmdir()
        made.rename(folder)


def requirements() -> list[str]:
    """Requirements of the explorer, from this package's own metadata."""
    needed = []
    for requirement in metadata.requires("stylegan") or ():
        name, _, condition = (part.strip() for part in requirement.partition(";"))
        if not condition or condition in [f'extra == "{extra}"' for extra in EXTRAS]:
            needed.append(name)
    return needed
