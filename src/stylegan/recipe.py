"""What is drawn: a frozen `Recipe`, and what it means for a generator. Commands, Python and the explorer draw by it.

What the recipe leaves open the model decides: its own truncation, all classes in turn, and for each image noise planes
from its seed. `resolve` makes it definite.
"""

import base64
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from tyro.conf import Suppress, arg
from tyro.constructors import PrimitiveConstructorSpec

from stylegan import marks, sampling, weights
from stylegan.config import at_least, between, check
from stylegan.errors import InputError
from stylegan.files import read_tensors
from stylegan.images import contact_sheet, crop_padding, save_image, to_uint8
from stylegan.networks.generator import Generator, NoiseInput

USUAL_SEEDS = range(32)
MOST_IN_A_SHEET, MOST_PIXELS_OF_A_SHEET = 1024, 2**26


def seeds_of(text: str) -> Sequence[int]:
    """ "0-3,7" -> [0, 1, 2, 3, 7]. Raises InputError for anything else."""
    seeds: list[int] = []
    for part in re.split(r"\s*,\s*|\s+", text.strip()):
        first, dash, last = part.partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise InputError(f"{text!r} are no seeds; write numbers and ranges below 2**32, such as 0-63 or 1,5,10-12")
        chosen = range(int(first), int(last or first) + 1)
        if not chosen or len(seeds) + len(chosen) > 1_000_000:
            raise InputError(f"seeds {text!r}: give 1 to 1,000,000 of them, ranges from the lower to the higher")
        seeds += chosen
    return seeds


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32


# how the command line reads seeds and files of latents
Seeds = Annotated[
    Sequence[int] | str | None,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="0-63",
        instance_from_str=lambda texts: texts[0],
        is_instance=lambda value: value is None or isinstance(value, Sequence),
        str_from_instance=lambda value: [str(value)],
    ),
]
LatentsFile = Annotated[
    Tensor | Path | None,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="FILE",
        instance_from_str=lambda texts: Path(texts[0]),
        is_instance=lambda value: value is None or isinstance(value, Tensor | Path),
        str_from_instance=lambda value: [str(value)],
    ),
]


@dataclass(frozen=True, eq=False)
class Recipe:
    """Images to draw: seeds or latents, their class, truncation, mixing and noise."""

    seeds: Seeds = None
    """Seeds of the images, below 2**32: numbers, or as text numbers and ranges, 0-63 or 1,5,10-12. Default: 0-31, or
    what the command says."""
    latents: LatentsFile = None
    """File of latents (.npy, .safetensors) to draw instead of seeds: z, w or w+; or a tensor of them."""
    label: Annotated[int | None, arg(name="class")] = None
    """Class of a conditional model. Default: all classes in turn."""
    psi: float | None = None
    """Truncation (appendix B): 1 for full variety, towards 0 for more average and cleaner images. Default: the value
    stored in the model; 1 for w, which may be truncated already."""
    cutoff: Annotated[int, at_least(0)] | None = None
    """Number of truncated layers. Default: the value stored in the model."""
    mix: Annotated[int, at_least(1)] = 1
    """Number of latents mixed into each image at random layers (table 2); for seeds only."""
    noise: sampling.Noise | None = None
    """Noise: random (each image's own planes, from its seed), const (the network's, the same for all), or none.
    Default: what the file of latents was drawn with, else random."""
    noise_seed: Annotated[int, between(0, 2**32 - 1)] | None = None
    """Seed of the random planes of all images. Default: each image's own seed; 0, 1, 2, ... for latents."""
    own_noise: Suppress[NoiseInput | None] = None
    """The noise that the latents were made with, such as the planes [N, 1, R, R] of a projection, one for each layer:
    used unless `noise` or `noise_seed` says another."""

    def __post_init__(self) -> None:
        if isinstance(self.seeds, str):
            object.__setattr__(self, "seeds", seeds_of(self.seeds))
        if isinstance(self.latents, str):
            object.__setattr__(self, "latents", Path(self.latents))
        check(self)
        if self.seeds is not None and self.latents is not None:
            raise InputError("give seeds or latents, not both")
        if self.noise_seed is not None and self.noise in ("const", "none"):
            raise InputError("noise_seed (--noise-seed) is for random noise; leave it or noise out")
        if self.latents is None and not all(0 <= seed < 2**32 for seed in self.numbers):
            raise InputError("a seed is a whole number from 0 to 2**32 - 1")
        if self.latents is not None and self.mix != 1:
            raise InputError("mixing is for seeds; latents are drawn as they are")
        if self.is_w and self.label is not None:
            raise InputError("w is of a class already; leave the class out")
        if not isinstance(self.latents, Path) and not len(self):
            raise InputError("there is nothing to draw; give one seed or more")

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def numbers(self) -> Sequence[int]:
        """The seeds; for latents 0, 1, 2, ..."""
        if self.latents is not None:
            return range(len(self.latents))
        return USUAL_SEEDS if self.seeds is None else cast(Sequence[int], self.seeds)  # text was read above

    @property
    def is_w(self) -> bool:
        """Whether the latents are w rather than z."""
        return isinstance(self.latents, Tensor) and self.latents.ndim == 3

    @property
    def names(self) -> list[str]:
        """Names of the images' files, without their ending: seed0007, or for latents 0007."""
        return [f"{'' if self.latents is not None else 'seed'}{number:04d}" for number in self.numbers]

    def of(self, seeds: Sequence[int]) -> "Recipe":
        """The same with these seeds, where it has neither seeds nor latents."""
        return self if self.seeds is not None or self.latents is not None else replace(self, seeds=seeds)


@dataclass(frozen=True, eq=False)
class Resolved:
    """N images of a recipe, ready for `generator.synthesis`."""

    w: Tensor  # [N, num_layers, w_dim], truncated
    noise: NoiseInput  # planes [N, 1, R, R], one a layer; "const" or "none"
    labels: Tensor | None  # int64 [N]; None for w and for a network without classes
    z: Tensor | None  # [N, z_dim]; None for w, and for images mixed from several


def opened(recipe: Recipe, generator: Generator) -> Recipe:
    """The recipe with the latents that its file holds, and their noise. Raises InputError."""
    if not isinstance(recipe.latents, Path):
        return recipe
    latents = sampling.load_latents(recipe.latents, generator.config, model=generator)[1]
    return replace(recipe, latents=latents, own_noise=noise_of_file(recipe.latents, generator))


@torch.no_grad()
def resolve(recipe: Recipe, generator: Generator, part: slice = slice(None)) -> Resolved:
    """What a recipe means for a generator; part: only these of its images.

    Raises InputError for classes, truncation or mixing that the generator does not have.
    """
    recipe = opened(recipe, generator)
    w, z, labels = _untruncated(recipe, generator, part)
    return Resolved(
        generator.truncate(w, *truncation_of(recipe, generator)), _noise(recipe, generator, part), labels, z
    )


def untruncated_w(recipe: Recipe, generator: Generator) -> Tensor:
    """w [N, num_layers, w_dim] before truncation. Raises InputError as `resolve`."""
    return _untruncated(opened(recipe, generator), generator, slice(None))[0]


@torch.no_grad()
def _untruncated(recipe: Recipe, generator: Generator, part: slice) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """w, z where there is one, labels."""
    latents = recipe.latents[part] if isinstance(recipe.latents, Tensor) else None
    if latents is not None and recipe.is_w:
        return latents.to(generator.w_avg.device), None, None
    labels = sampling.labels_in_turn(generator, recipe.label, len(recipe))
    labels = None if labels is None else labels[part]
    if recipe.mix != 1:
        return sampling.w_of_crossed_seeds(generator, recipe.numbers[part], recipe.mix, labels), None, labels
    z = sampling.z_of_seeds(recipe.numbers[part], generator.config.z_dim) if latents is None else latents
    return sampling.w_of_z(generator, z, labels), z, labels


def truncation_of(recipe: Recipe, generator: Generator) -> tuple[float, int | None]:
    """(psi, cutoff): the recipe's, or where it has none the model's own, but 1 for w."""
    psi, cutoff = generator.truncation
    if recipe.psi is not None:
        psi = recipe.psi
    elif recipe.is_w:
        psi = 1.0
    return psi, cutoff if recipe.cutoff is None else recipe.cutoff


def _noise(recipe: Recipe, generator: Generator, part: slice) -> NoiseInput:
    if recipe.own_noise is not None and recipe.noise is None and recipe.noise_seed is None:
        own = recipe.own_noise
        return own if isinstance(own, str) else [plane[part].to(generator.w_avg) for plane in own]
    return recipe.noise if recipe.noise in ("const", "none") else random_planes(recipe, generator, part)


def random_planes(recipe: Recipe, generator: Generator, part: slice = slice(None)) -> list[Tensor]:
    """Noise planes [N, 1, R, R], one for each layer, of the images' seeds, or of the noise seed."""
    seeds = recipe.numbers[part]
    if recipe.noise_seed is not None:
        seeds = [recipe.noise_seed] * len(seeds)
    return sampling.noise_of_seeds(seeds, generator)


@torch.no_grad()
def batches(generator: Generator, recipe: Recipe, *, batch: int = 16) -> Iterator[Tensor]:
    """The images of a recipe in order, with padding: [n, C, R, R] in about [-1, 1]. Raises as `resolve`."""
    recipe = opened(recipe, generator)
    for start in range(0, len(recipe), batch):
        some = resolve(recipe, generator, slice(start, start + batch))
        yield generator.synthesis(some.w, noise=some.noise)


def draw(model: Generator | Path | str, recipe: Recipe | Sequence[int] | None = None, *, batch: int = 16) -> Tensor:
    """The images of a recipe, or of seeds, as `stylegan generate` draws them: uint8 [N, C, H, W] on the CPU.

    model: a generator, or what `stylegan.load` takes. recipe: seeds 0 to 31 by default. batch: images at a time; it
    changes the speed, and rounding (one level of 255 at most). Raises InputError for a model that is not there, and as
    `resolve`.
    """
    generator = model if isinstance(model, Generator) else weights.load(model)
    if not isinstance(recipe, Recipe):
        recipe = Recipe(recipe)
    return torch.cat([shown(generator, images) for images in batches(generator, recipe, batch=batch)])


def shown(generator: Generator, images: Tensor) -> Tensor:
    """What people see of images [N, C, R, R] in about [-1, 1]: uint8 [N, C, H, W] without padding, on the CPU."""
    return to_uint8(crop_padding(images, generator.config.aspect)).cpu()


# --- files


def noise_of_file(path: Path | str, generator: Generator) -> NoiseInput | None:
    """The noise that the w in a file was drawn with, as `sampling.save_latents` wrote it; None where it does not say.

    Raises InputError where planes do not fit the generator.
    """
    if Path(path).suffix != ".safetensors":
        return None
    metadata, tensors = read_tensors(path, "a file of latents")
    planes = [tensors[f"noise{i}"] for i in range(len(tensors)) if f"noise{i}" in tensors]
    if not planes:
        header = json.loads(metadata.get("stylegan", "{}"))
        said = header.get("noise") if isinstance(header, dict) else None
        return said if said in ("const", "none") else None
    count = len(tensors["w"] if "w" in tensors else tensors.get("z", ()))
    sizes = generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution)
    if [tuple(plane.shape) for plane in planes] != [(count, 1, r, r) for r in sizes]:
        raise InputError(f"the noise planes in {path} are those of another model")
    return [plane.to(generator.w_avg) for plane in planes]


def save_latents(path: Path, generator: Generator, recipe: Recipe) -> None:
    """Write the w+ of a recipe, and in a .safetensors file z, where there is one, and noise that no seed decides.

    Raises InputError as `resolve` and `sampling.save_latents` do.
    """
    w, z, _ = _untruncated(opened(recipe, generator), generator, slice(None))
    w = generator.truncate(w, *truncation_of(recipe, generator))
    if path.suffix == ".npy":
        sampling.save_latents(path, w=w)
        return
    noise = recipe.noise or (recipe.own_noise if recipe.noise_seed is None else None)
    sampling.save_latents(path, w=w, z=z, noise=None if noise == "random" else noise, model=generator)


def write_images(
    generator: Generator,
    recipe: Recipe,
    folder: Path | str,
    *,
    batch: int = 16,
    columns: int | None = None,
    progress: bool = True,
    metadata: bool = True,
    also: Mapping[str, Any] | None = None,
) -> int:
    """Draw a recipe into a folder: a PNG file for each image, pixel by pixel, and grid.png, enlarged, with their names.

    columns: width of the grid in images. progress: show a bar where there is more than one batch. metadata: let each
    file say how it was made (see `records`), and `also` this. Returns how many of them the grid has: the first 1,024,
    or fewer large ones. Raises InputError; what cannot be drawn leaves nothing.
    """
    folder, recipe = Path(folder), opened(recipe, generator)
    names = iter(recipe.names)
    first: list[Tensor] = []
    made = records(recipe, generator, batch=batch, also=also) if metadata else iter([None] * len(recipe))
    bar = tqdm(total=len(recipe), unit="img", disable=None if progress and len(recipe) > batch else True)
    for images in batches(generator, recipe, batch=batch):
        folder.mkdir(parents=True, exist_ok=True)
        images = shown(generator, images)
        bar.update(len(images))
        for image in images:
            save_image(image, folder / f"{next(names)}.png", made=next(made))
        most = min(MOST_IN_A_SHEET, max(1, MOST_PIXELS_OF_A_SHEET // images[0, 0].numel()))
        first += images[: max(0, most - len(first))]
    bar.close()
    titles = [str(number) for number in recipe.numbers[: len(first)]]
    whole = record_of_sheet(recipe, generator, also) if metadata else None
    save_image(contact_sheet(torch.stack(first), titles, columns), folder / "grid.png", sheet=True, made=whole)
    return len(first)


# --- how images were made, as their files say it


def records(
    recipe: Recipe,
    generator: Generator,
    *,
    batch: int = 16,
    w: Tensor | None = None,
    also: Mapping[str, Any] | None = None,
) -> Iterator[dict[str, Any]]:
    """How each image of a recipe is made, in words and numbers for JSON: what its file keeps, `draw_again` draws by.

    batch: images drawn at a time, which decides the last bits. w: [N, num_layers, w_dim], drawn as it stands instead of
    the seeds' own; w is kept, then, and where the recipe has latents. also: what else to keep.
    """
    recipe = opened(recipe, generator)
    shared = {**_shared(recipe, generator), "mix": recipe.mix, **(also or {})}
    classes = generator.config.label_count if recipe.label is None and not recipe.is_w else 0
    for i, number in enumerate(recipe.numbers):
        part: dict[str, Any] = {"seed" if recipe.latents is None else "latent": int(number)}
        if classes:
            part["class"] = i % classes
        kept = w[i] if w is not None else None
        if w is None and recipe.latents is not None:
            kept = resolve(recipe, generator, slice(i, i + 1)).w[0]
        if kept is not None:
            part["w"] = _packed(kept)
        yield shared | part | {"batch": [min(batch, len(recipe) - i // batch * batch), i % batch]}


def record_of_sheet(recipe: Recipe, generator: Generator, also: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """How several images in one picture, or a video, were made; `again.draw` draws by `given`, what was asked for."""
    drawn: dict[str, Any] = {} if recipe.seeds is None else {"seeds": list(map(int, recipe.seeds[:MOST_IN_A_SHEET]))}
    if recipe.latents is None and recipe.own_noise is None and len(recipe) <= MOST_IN_A_SHEET:
        given = {f.name: value for f in fields(recipe) if (value := getattr(recipe, f.name)) != f.default}
        drawn["given"] = given | ({"seeds": drawn["seeds"]} if drawn else {})
    return _shared(recipe, generator) | drawn | dict(also or {})


def _shared(recipe: Recipe, generator: Generator) -> dict[str, Any]:
    psi, cutoff = truncation_of(recipe, generator)
    own = recipe.own_noise if recipe.noise is None and recipe.noise_seed is None else None
    noise = own if isinstance(own, str) else "planes" if own is not None else recipe.noise or "random"
    shared = {
        "program": marks.PROGRAM,
        "model": weights.fingerprint(generator),
        "rest": weights.fingerprint_of_rest(generator),
        "psi": float(psi),
        "cutoff": 8 if cutoff is None else cutoff,  # as `Generator.truncate` has it
        "noise": noise,
    }
    given = {"noise_seed": recipe.noise_seed, "class": recipe.label}
    return shared | {name: value for name, value in given.items() if value is not None}


def _packed(w: Tensor) -> dict[str, Any]:
    """w as JSON holds it: its shape, and its bytes (float32, little-endian), compressed, in base 64."""
    content = zlib.compress(w.detach().float().cpu().contiguous().numpy().astype("<f4", copy=False).tobytes(), 9)
    return {"shape": list(w.shape), "float32": base64.b64encode(content).decode()}


@torch.no_grad()
def draw_again(generator: Generator, made: Mapping[str, Any], name: Path | str = "the picture") -> Tensor:
    """The image that a record tells of (see `records`), uint8 [C, H, W]: to the bit on the same kind of machine.

    name: of its file, for people. Raises InputError for a record of another generator, of a picture of several images,
    or of noise planes that nobody kept, and for a damaged one.
    """
    if "batch" not in made:
        raise InputError(f"{name} shows several images, or a video; give a picture of one")
    check_model(generator, made, name)
    if made.get("noise") == "planes":
        raise InputError(f"{name} was drawn with noise planes of its own; draw it from its file of latents")
    try:
        recipe, place = _recipe_of(made, generator)
    except (KeyError, TypeError, ValueError, OverflowError, zlib.error) as error:
        raise InputError(f"what {name} says of its making is damaged ({str(error)[:100]})") from error
    some = resolve(recipe, generator)
    return shown(generator, generator.synthesis(some.w, noise=some.noise))[place]


def check_model(generator: Generator, made: Mapping[str, Any], name: Path | str) -> None:
    """Raise InputError where a record is of another generator, or of the same one in another state."""
    hint = "draw it with that model"
    weights.check_fingerprint(str(made.get("model", "none")), generator, f"{name} is a picture", hint)
    if str(made.get("rest", own := weights.fingerprint_of_rest(generator))) != own:  # older records have none
        raise InputError(f"{name} was drawn with another average of w, other noise planes or at another growth; {hint}")


def _recipe_of(made: Mapping[str, Any], generator: Generator) -> tuple[Recipe, int]:
    """The image as often as there were images in its batch, and its place there: sums are rounded by both."""
    count, place = map(int, made["batch"])
    if not 0 <= place < count <= 4096:
        raise ValueError(f"batch {made['batch']}")
    number, noise, noise_seed = int(made.get("seed", made.get("latent"))), made["noise"], made.get("noise_seed")
    if noise not in ("random", "const", "none"):
        raise ValueError(f"noise {noise!r}")
    if noise == "random" and "w" in made:
        noise_seed = number if noise_seed is None else int(noise_seed)
    if "w" in made:
        w = _unpacked(made["w"], generator).expand(count, -1, -1)
        return Recipe(latents=w, psi=1.0, noise=noise, noise_seed=noise_seed), place
    psi = float(made["psi"])
    if not math.isfinite(psi):
        raise ValueError(f"psi {psi}")
    rest = {"psi": psi, "cutoff": int(made["cutoff"]), "mix": int(made["mix"]), "label": made.get("class")}
    return Recipe([number] * count, noise=noise, noise_seed=noise_seed, **rest), place


def _unpacked(packed: Mapping[str, Any], generator: Generator) -> Tensor:
    shape = (generator.config.num_layers, generator.config.w_dim)
    if tuple(packed["shape"]) != shape:
        raise ValueError(f"w of shape {packed['shape']}")
    content = zlib.decompressobj().decompress(base64.b64decode(packed["float32"]), 4 * shape[0] * shape[1])
    w = torch.from_numpy(np.frombuffer(content, "<f4").reshape(1, *shape).copy())
    if not w.isfinite().all():
        raise ValueError("w is not finite")
    return w
