"""Videos: interpolation, style mixing, noise, truncation, all of them as the paper's shows them; `write` streams them
into MP4 and GIF files.

Each video is a function that yields frames: an image uint8 [C, H, W], a grid of `columns` images, and a caption or "".
`w` is [N, num_layers, w_dim]. Noise planes stay the same from frame to frame, but in `noise`. `only`: the frames to
draw, by their numbers; all by default.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from stylegan import marks, sampling
from stylegan import recipe as recipes
from stylegan.config import above, at_least, check
from stylegan.errors import InputError
from stylegan.extras import need_ffmpeg
from stylegan.files import atomic_file, check_output
from stylegan.images import enlarge, grid, on_white, to_pil
from stylegan.networks.generator import Generator, NoiseInput
from stylegan.recipe import Recipe
from stylegan.sampling import Route, draw, mixing_table, noise_of_seeds, through

Frame = tuple[Tensor, str]
Kind = Literal["interpolation", "style-mixing", "noise", "truncation", "paper"]
MOVING = ("interpolation", "style-mixing", "paper")  # whose images are on their way
PAPER_GRID = (5, 4)  # images in a frame of the paper's video


@dataclass(frozen=True)
class VideoConfig:
    """What moves, and how long."""

    path: Route | None = None
    """Path: cubic (smooth, and returns to the beginning), linear (straight through W to the last latent), or spherical
    (along arcs through Z); to close these two, repeat the first seed at the end. Default: cubic."""
    grid: Annotated[tuple[int, int], at_least(1)] | None = None
    """Columns and rows, in images; paper has 5 4. Default: 1 1, or 4 3 for style-mixing, sources not counted."""
    destinations: recipes.Seeds = None
    """Seeds of the left column of style-mixing. Default: 100, 101, ..."""
    styles: Literal["coarse", "middle", "fine"] | None = None
    """The styles that style-mixing takes from the top row. Default: coarse."""
    seconds: Annotated[float, above(0)] | None = None
    """Length of the whole. Default: 2 for each latent on the way, 1 for each layer of noise, 6 for truncation, 32 for
    paper."""
    fps: Annotated[float, above(0)] = 30.0
    """Frames a second."""

    def __post_init__(self) -> None:
        check(self)
        if self.fps > 1000:
            raise InputError(f"fps is {self.fps}; give 1000 at most")
        if self.seconds is not None and self.seconds * self.fps > 1e6:
            raise InputError(f"seconds is {self.seconds}; a video has a million frames at most")


def options_of(config: VideoConfig) -> dict[str, Any]:
    """What of a configuration is not the default, for the record in the file."""
    return {f.name: value for f in fields(config) if (value := getattr(config, f.name)) != f.default}


def make(
    generator: Generator,
    kind: Kind,
    recipe: Recipe,
    config: VideoConfig | None = None,
    *,
    only: Sequence[int] | None = None,
) -> tuple[int, Iterator[Frame]]:
    """The number of frames of a video, and the frames: what `stylegan video` writes.

    recipe: the first images fill the grid (of style-mixing the top row); the next as many are where these go, and so
    on. An interpolation begins with what `recipe.draw` draws of it, and its noise planes stand still. Raises InputError
    where the images cannot be shared out, and for options that this kind of video does not have.
    """
    config = config or VideoConfig()
    if kind not in get_args(Kind):
        raise InputError(f"there is no video {kind}; use one of: {', '.join(get_args(Kind))}")
    for name, kinds in (("path", MOVING[:2]), ("destinations", ("style-mixing",)), ("styles", ("style-mixing",))):
        if getattr(config, name) is not None and kind not in kinds:
            raise InputError(f"the video {kind} takes no --{name}")
    for name in {"truncation": ("psi", "cutoff"), "noise": ("noise", "noise_seed")}.get(kind, ()):
        if getattr(recipe, name) is not None:
            raise InputError(f"the video {kind} takes no --{name.replace('_', '-')}")
    if kind == "paper" and config.grid is not None:
        raise InputError("the video paper takes no --grid")
    usual_grid = {"style-mixing": (4, 3), "paper": PAPER_GRID}.get(kind, (1, 1))
    columns: int | None
    columns, rows = config.grid or usual_grid
    count = columns if kind == "style-mixing" else columns * rows
    recipe = recipes.opened(recipe.of(range(4 * count if kind in MOVING else count)), generator)
    if config.grid is None and kind not in MOVING:
        columns, count = None, len(recipe)
    if len(recipe) % count or (kind not in MOVING and len(recipe) != count):
        many = f"a multiple of {count}" if kind in MOVING else count
        raise InputError(f"{len(recipe)} latents cannot be shared out among {count} images; give {many}")
    path = config.path or "cubic"
    if path == "spherical" and kind == "style-mixing":
        raise InputError("the video style-mixing goes through W; use --path linear or cubic")
    if path == "spherical" and (recipe.is_w or recipe.mix != 1):
        raise InputError("w, and latents that are mixed, are not on a sphere; use --path linear or cubic")

    first = recipes.resolve(recipe, generator, slice(0, 1 if kind == "style-mixing" else count))
    psi, cutoff = recipes.truncation_of(recipe, generator)
    if path == "spherical":
        every = recipes.resolve(recipe, generator)
        keys = every.z.unflatten(0, (-1, count)).to(generator.w_avg.device)
    else:
        keys = recipes.untruncated_w(recipe, generator).unflatten(0, (-1, count))
    layers = len(generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution))
    usual = {"noise": layers, "truncation": 6, "paper": 32}.get(kind, 2 * len(keys))
    frames = max(1, round((config.seconds or usual) * config.fps))
    if only is not None and not all(0 <= i < frames for i in only):
        raise InputError(f"this video has frames 0 to {frames - 1}")
    how = {"path": path, "psi": psi, "cutoff": cutoff, "noise": first.noise, "only": only}
    if kind == "paper":
        how.pop("path")
        return frames, paper(generator, keys, frames, seeds=recipe.numbers[:count], **how)
    if kind == "interpolation":
        return frames, interpolation(generator, keys, frames, labels=first.labels, columns=columns, **how)
    if kind == "style-mixing":
        alike = {"label": recipe.label, "psi": recipe.psi, "cutoff": recipe.cutoff}
        left = Recipe(config.destinations or range(100, 100 + rows), **alike)
        if config.grid is not None and len(left) != rows:
            raise InputError(f"--grid has {rows} rows for {len(left)} --destinations; leave out one of them")
        styles = sampling.style_ranges(generator.synthesis.grown.resolution)[config.styles or "coarse"]
        keys = recipes.resolve(recipe, generator).w.unflatten(0, (-1, count))  # truncated, as what is mixed with them
        w = recipes.resolve(left, generator).w
        rows_of_layers = [styles] * len(w)
        return frames, style_mixing(generator, keys, w, rows_of_layers, frames, path=path, noise=first.noise, only=only)
    if kind == "noise":
        return frames, noise(generator, first.w, frames, columns=columns, seeds=recipe.numbers, only=only)
    return frames, truncation(generator, keys[0], frames, noise=first.noise, columns=columns, only=only)


# --- the videos


@torch.no_grad()
def interpolation(
    generator: Generator,
    keys: Tensor,
    frames: int,
    *,
    path: Route = "cubic",
    labels: Tensor | None = None,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseInput = "const",
    columns: int | None = None,
    only: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """N images, each on its way through K keys; see `sampling.through` for the paths.

    keys: w [K, N, num_layers, w_dim]; for the spherical path z [K, N, z_dim]. labels: of the N images, for z. psi,
    cutoff: truncation, see `Generator.truncate`.
    """
    for t in _times(len(keys), frames, path, only):
        here = through(keys, t, path)[0]
        w = generator.mapping(here, labels) if path == "spherical" else here
        yield grid(draw(generator, generator.truncate(w, psi, cutoff), noise), columns), ""


@torch.no_grad()
def style_mixing(
    generator: Generator,
    keys: Tensor,
    w: Tensor,
    layers: Sequence[Sequence[int]],
    frames: int,
    *,
    path: Literal["linear", "cubic"] = "cubic",
    noise: NoiseInput = "const",
    only: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """A table whose top row is on its way, and gives the styles of some layers to the images of the left column.

    keys: of the top row, w [K, N, num_layers, w_dim], truncated like w, the left column. layers: those that come from
    the top row, for each row.
    noise: one set of planes for all. Raises InputError for a traditional generator.
    """
    for t in _times(len(keys), frames, path, only):
        top = through(keys, t, path)[0]
        yield mixing_table(generator, top, w, layers, noise=noise), ""


@torch.no_grad()
def noise(
    generator: Generator,
    w: Tensor,
    frames: int,
    *,
    columns: int | None = None,
    seeds: Sequence[int] = (0,),
    only: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """The noise of one layer at a time changes, from the first layer to the last; the others' stands still.

    A plane goes round a circle of normal noise, cos(a) x + sin(a) y, and comes back to where it was.
    seeds: of the planes, one for all images or one for each. Raises InputError
    for a generator without noise inputs.
    """
    if not generator.config.use_noise:
        raise InputError("this generator has no noise inputs; use one of config e or f")
    planes = noise_of_seeds(seeds, generator)
    others = noise_of_seeds([(seed + 1) % 2**32 for seed in seeds], generator)
    for i in _numbers(frames, only):
        layer, rest = divmod(i * len(planes), frames)
        angle = 2 * math.pi * rest / frames
        plane = math.cos(angle) * planes[layer] + math.sin(angle) * others[layer]
        side = plane.shape[3]
        caption = f"noise of layer {layer + 1} of {len(planes)} ({side} x {side})"
        yield grid(draw(generator, w, [*planes[:layer], plane, *planes[layer + 1 :]]), columns), caption


@torch.no_grad()
def truncation(
    generator: Generator,
    w: Tensor,
    frames: int,
    *,
    noise: NoiseInput = "const",
    columns: int | None = None,
    only: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """Truncation of all layers, from the image through the average to the anti-face, and back (figure 8).

    Raises InputError for a traditional generator without mapping layers, which has no W.
    """
    for i in _numbers(frames, only):
        psi = math.cos(2 * math.pi * i / frames)
        yield (
            grid(draw(generator, generator.truncate(w, psi, w.shape[1]), noise), columns),
            f"psi {round(psi, 2) + 0.0:+.2f}",
        )


@torch.no_grad()
def paper(
    generator: Generator,
    keys: Tensor,
    frames: int,
    *,
    psi: float = 1.0,
    cutoff: int | None = None,
    noise: NoiseInput = "const",
    seeds: Sequence[int] = (0,),
    only: Sequence[int] | None = None,
) -> Iterator[Frame]:
    """Scenes as in the video of the paper, each with its title, all of one size: a walk at random, style mixing by
    coarse, middle and fine styles, truncation, and noise in all layers, none, fine ones, coarse ones.

    keys: w [K, 20, num_layers, w_dim] of the images on their way, not truncated. seeds: of the noise. Raises InputError
    for a traditional generator, and one too small for three ranges of styles; without noise inputs the last scene is
    left out.
    """
    columns, rows = PAPER_GRID
    ranges = sampling.style_ranges(generator.synthesis.grown.resolution)
    truncated = generator.truncate(keys.flatten(0, 1), psi, cutoff).view_as(keys)
    left, first = truncated[0, columns : columns + rows - 1], truncated[0, : columns - 1]
    one = noise if isinstance(noise, str) else [plane[:1] for plane in noise]  # so that only styles differ

    def walk(count: int, some: Sequence[int]) -> Iterator[Frame]:
        how = {"psi": psi, "cutoff": cutoff, "noise": noise, "columns": columns}
        return interpolation(generator, keys, count, only=some, **how)

    def mixing(count: int, some: Sequence[int]) -> Iterator[Frame]:
        top = truncated[:, : len(first)]
        return style_mixing(generator, top, left, list(ranges.values()), count, noise=one, only=some)

    def truncating(count: int, some: Sequence[int]) -> Iterator[Frame]:
        return truncation(generator, keys[0], count, noise=noise, columns=columns, only=some)

    def with_noise(count: int, some: Sequence[int]) -> Iterator[Frame]:
        return _noise_in_parts(generator, truncated[0, :columns], count, ranges["fine"].start, seeds[:columns], some)

    scenes = {
        "A walk at random through W": walk,
        "Coarse, middle, fine styles (rows) of the top row": mixing,
        "Truncation": truncating,
    }
    if generator.config.use_noise:
        scenes["Noise: all layers, none, fine ones, coarse ones"] = with_noise
    wanted, starts = _numbers(frames, only), [round(i * frames / len(scenes)) for i in range(len(scenes) + 1)]
    for (title, scene), start, end in zip(scenes.items(), starts, starts[1:], strict=False):
        for image, caption in scene(end - start, [i - start for i in wanted if start <= i < end]):
            yield image, f"{title}: {caption}" if caption else title


def _noise_in_parts(
    generator: Generator, w: Tensor, frames: int, fine: int, seeds: Sequence[int], only: Sequence[int]
) -> Iterator[Frame]:
    """A row of images with moving noise in all layers, in none, in those from `fine` on, and in those before it."""
    planes = noise_of_seeds(seeds, generator)
    others = noise_of_seeds([(seed + 1) % 2**32 for seed in seeds], generator)
    count = len(planes)
    for i in only:
        angle = 2 * math.pi * i / max(frames, 1)
        now = [math.cos(angle) * a + math.sin(angle) * b for a, b in zip(planes, others, strict=True)]
        shown = [range(count), range(0), range(fine, count), range(fine)]
        parts = [draw(generator, w, [plane * (k in layers) for k, plane in enumerate(now)]) for layers in shown]
        yield grid(torch.cat(parts), len(w)), ""


def _numbers(frames: int, only: Sequence[int] | None) -> Sequence[int]:
    return range(frames) if only is None else only


def _times(keys: int, frames: int, path: Route, only: Sequence[int] | None = None) -> Iterator[Tensor]:
    """The time [1] of each frame: a closed path ends one step before its beginning, an open one at its last key."""
    if keys < 2:
        raise InputError("a path needs two keys or more for each image; give more seeds or latents")
    for i in _numbers(frames, only):
        yield torch.tensor([i * keys / frames if path == "cubic" else i * (keys - 1) / max(frames - 1, 1)])


# --- files


def check_file(path: Path) -> None:
    """Refuse, before the work, what `write` could not write. Raises InputError."""
    check_output(path)
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: videos are written as .mp4 or .gif")
    need_ffmpeg()


def write(
    path: Path | str,
    frames: Iterable[Frame],
    *,
    fps: float = 30.0,
    factor: int | None = None,
    made: dict[str, Any] | None = None,
) -> None:
    """Write frames to an MP4 (H.264) or GIF file, one after the other; nothing is left of a video that fails.

    fps: frames a second; GIF viewers go up to 50. factor: enlarge by so much; as far as 512 pixels allow by default.
    Captions stand below the pictures. made: how it was made, kept in the file. Raises InputError for
    another ending, and where imageio-ffmpeg is not installed.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InputError(f"{path}: videos are written as .mp4 or .gif")
    need_ffmpeg()
    from imageio_ffmpeg import write_frames

    pictures = (picture_of(frame, factor) for frame in frames)
    first = next(pictures)  # what cannot be drawn leaves nothing behind
    with atomic_file(path) as file:
        options = {"fps": fps, "macro_block_size": 1, "ffmpeg_log_level": "error"} | FORMATS[path.suffix]
        with closing(write_frames(file.name, first.size, **options)) as ffmpeg:
            ffmpeg.send(None)
            for picture in chain([first], pictures):
                ffmpeg.send(picture.tobytes())
        if made is not None:
            marks.add_to_film(file.name, made)


FORMATS: dict[str, dict[str, Any]] = {
    ".mp4": {"codec": "libx264", "quality": 8, "output_params": ["-f", "mp4", "-movflags", "+faststart"]},
    ".gif": {
        "codec": "gif",
        "quality": None,
        "pix_fmt_out": "pal8",
        # each frame its own palette, so that ffmpeg need not hold them all
        "output_params": [
            "-vf",
            "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1",
            "-f",
            "gif",
        ],
    },
}
CAPTION = 22  # pixels


def picture_of(frame: Frame, factor: int | None = None) -> Image.Image:
    """A frame as RGB, before it is compressed: enlarged, with its caption, and with even sides, which H.264 wants.

    Films have no alpha: white shows through.
    """
    image, caption = frame
    image = enlarge(image, factor or max(1, 512 // max(image.shape[1:])))
    height, width = image.shape[1] + (CAPTION if caption else 0), image.shape[2]
    picture = Image.new("RGB", (width + width % 2, height + height % 2), "white")
    picture.paste(to_pil(on_white(image)))
    if caption:
        text = ImageFont.load_default(14)
        ImageDraw.Draw(picture).text((width / 2, image.shape[1] + CAPTION / 2), caption, "black", text, anchor="mm")
    return picture
