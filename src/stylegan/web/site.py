"""A model as a folder that any web server can serve: a page that draws in the visitor's browser, with all it needs."""

import gzip
import json
import lzma
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stylegan import directions, marks, recipe, sampling, weights
from stylegan.data.store import check_target
from stylegan.errors import InputError
from stylegan.images import crop_padding, save_image, to_uint8
from stylegan.interop import onnx
from stylegan.networks.generator import Generator
from stylegan.recipe import Recipe

HERE = Path(__file__).parent
BUILDS = ("wasm", "jspi")  # of onnxruntime-web: for processors alone, and for WebGPU
TRIED = range(4)  # seeds that are drawn with the halved weights and without
SHOWS = 0.25  # levels of 255 that the pictures may differ in, on average, with weights in half precision
NUMBERS = "numbers.bin"  # the average w, then the directions' steps: float32
NOISE = "noise.bin"  # the network's own planes: float16


@dataclass(frozen=True)
class Site:
    """A folder that has been written."""

    bytes: int
    """Size of all its files; a visitor loads about half of it, one of the two runtimes."""
    half: bool
    """Whether the weights are stored in half precision."""
    difference: float
    """Mean absolute difference of its pictures from this program's, in levels of 255, drawn by onnxruntime."""


def write_site(
    folder: Path | str,
    model: Path | str,
    directions_file: Path | str | None = None,
    *,
    title: str | None = None,
    licence: str | None = None,
) -> Site:
    """Write the page of a model into a new folder.

    model: as for `weights.find`. directions_file: editing directions, which become sliders; default: a bundled model's
    own. title: of the page, by default the model's name. licence: of the weights, by default the model's own. The
    weights are stored in half precision where that does not show.

    Raises InputError, and leaves no folder, where something is there already, for what is no model, for directions
    that do not fit it, and where the libraries for ONNX are missing.
    """
    folder, title = Path(folder), title or Path(str(model).partition("@")[0]).resolve().stem
    check_target(folder)
    loaded = weights.to_share(weights.load_model(model), only_ema=True, licence=licence)
    if directions_file is None:
        directions_file = directions.default_of(model)
    found = None if directions_file is None else directions.load(directions_file, loaded.generator)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".site-") as temporary:
        made = Path(temporary, "site")
        shutil.copytree(HERE / "page", made, ignore=shutil.ignore_patterns("__pycache__"))
        (made / "model").mkdir()
        half, difference = _write_networks(made / "model", loaded.generator)
        _write_runtime(made / "runtime")
        _write_numbers(made / "model", loaded.generator, found)
        sizes = {path.relative_to(made).as_posix(): path.stat().st_size for path in made.glob("*/*") if path.is_file()}
        description = describe(loaded, title, found) | {"half": half, "sizes": sizes}
        (made / "model/model.json").write_text(json.dumps(description, indent=1), encoding="utf-8")
        page = (made / "index.html").read_text(encoding="utf-8").replace("@TITLE@", escape(title))
        (made / "index.html").write_text(page, encoding="utf-8")
        _write_poster(made / "poster.png", loaded.generator)
        if folder.exists():  # and is empty: not every system renames onto a folder
            folder.rmdir()
        made.chmod(0o755)
        made.rename(folder)
    return Site(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()), half, difference)


def describe(model: weights.Model, title: str, found: directions.Directions | None = None) -> dict[str, Any]:
    """What the page must know of a model, for its model.json."""
    generator, config = model.generator, model.generator.config
    r = generator.synthesis.grown.resolution
    psi, cutoff = generator.truncation
    pixels = crop_padding(torch.arange(r * r).view(1, 1, r, r), config.aspect)[0, 0]
    first, (height, width) = int(pixels[0, 0]), pixels.shape
    return {
        "kind": "stylegan-web",
        "format_version": 1,
        "program": marks.PROGRAM,
        "title": title,
        "fingerprint": weights.fingerprint(generator),
        "z_dim": config.z_dim,
        "w_dim": config.w_dim,
        "num_layers": config.num_layers,
        "label_count": config.label_count,
        "label_names": list(model.label_names),
        "shown": [first // r, first % r, height, width],  # top, left: without padding
        "noise": generator.synthesis.layer_resolutions(r) if config.use_noise else [],
        "psi": psi if generator.has_w else None,  # nothing to truncate in
        "cutoff": min(8 if cutoff is None else cutoff, config.num_layers),
        "ranges": ranges_of(generator),
        "directions": [] if found is None else list(found.names),
        "direction_layers": [] if found is None else list(found.layers or range(config.num_layers)),
        "provenance": {name: value for name, value in asdict(model.provenance).items() if value},
    }


def ranges_of(generator: Generator) -> dict[str, list[int]]:
    """First layer of coarse, middle and fine styles and the one after the last; nothing where they cannot be mixed."""
    config = generator.config
    try:
        ranges = sampling.style_ranges(generator.synthesis.grown.resolution) if config.use_styles else {}
    except InputError:  # too small
        ranges = {}
    return {name: [layers.start, layers.stop] for name, layers in ranges.items()}


def _write_networks(folder: Path, generator: Generator) -> tuple[bool, float]:
    """The two networks as ONNX files: whether in half precision, and how far their pictures are from ours."""
    for half in (True, False):
        try:
            for part in ("mapping", "synthesis"):
                cutoff = 0 if part == "mapping" else None  # the page truncates
                onnx.export(folder / f"{part}.onnx", generator, part=part, cutoff=cutoff, half=half)
        except InputError:
            if half:
                continue
            raise
        difference = _difference(folder, generator, TRIED)
        if difference <= SHOWS:
            break
    return half, difference


@torch.no_grad()
def _difference(folder: Path, generator: Generator, seeds: Sequence[int]) -> float:
    """Mean absolute difference of what the files draw from what this program draws, in levels of 255."""
    import onnxruntime

    def run(part: str, inputs: dict[str, np.ndarray]) -> torch.Tensor:
        session = onnxruntime.InferenceSession(folder / f"{part}.onnx", providers=["CPUExecutionProvider"])
        return torch.from_numpy(session.run(None, inputs)[0])

    labels = sampling.labels_in_turn(generator, None, len(seeds))
    inputs = {"z": sampling.z_of_seeds(seeds, generator.config.z_dim).numpy()}
    if labels is not None:
        inputs["labels"] = labels.numpy()
    w = generator.truncate(run("mapping", inputs), *generator.truncation)
    inputs = {"w": w.numpy()}
    if generator.config.use_noise:
        planes = sampling.noise_of_seeds(seeds, generator)
        inputs |= {f"noise{layer}": plane.numpy() for layer, plane in enumerate(planes)}
    drawn = to_uint8(crop_padding(run("synthesis", inputs), generator.config.aspect))
    return float((drawn.double() - recipe.draw(generator, seeds).double()).abs().mean())


def _write_runtime(folder: Path) -> None:
    """onnxruntime-web: its programs packed by gzip, which every browser unpacks, whatever its server does."""
    folder.mkdir()
    for name in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copyfile(HERE / "runtime" / name, folder / name)
    for build in BUILDS:
        script = f"ort.{build}.bundle.min.mjs"
        # renamed, since some servers do not know that .mjs is a script, and browsers then refuse it
        shutil.copyfile(HERE / "runtime" / script, folder / f"{build}.js")
        program = lzma.decompress((HERE / "runtime" / f"{build}.wasm.xz").read_bytes())
        (folder / f"{build}.wasm.gz").write_bytes(gzip.compress(program, 6, mtime=0))


def _write_numbers(folder: Path, generator: Generator, found: directions.Directions | None) -> None:
    """What the page computes with besides the networks."""
    steps = [] if found is None else [found.step(name) for name in found.names]
    numbers = torch.cat([generator.w_avg.cpu().float(), *steps])
    (folder / NUMBERS).write_bytes(numbers.numpy().astype("<f4").tobytes())
    count = len(generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution))
    if generator.config.use_noise:
        planes = [getattr(generator.synthesis, f"noise{i}").flatten().half() for i in range(count)]
        (folder / NOISE).write_bytes(torch.cat(planes).cpu().numpy().astype("<f2").tobytes())


def _write_poster(path: Path, generator: Generator) -> None:
    """The first picture, shown until the page draws, and by those who link to it."""
    first = Recipe((0,))
    save_image(recipe.draw(generator, first)[0], path, made=next(recipe.records(first, generator)))
