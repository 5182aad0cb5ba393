"""Dragging: points of an image are drawn to where they should be, and w+ follows (DragGAN, Pan et al., 2023).

Each step moves w+ so that the features around each point are found a little nearer to its target (motion supervision,
eq. 1), and then looks where the points have come to (point tracking, eq. 2). What lies outside the mask is to stay.
Features are those of one block; positions are pixels of the image, (x, y), (0, 0) in the middle of the first pixel.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, UnidentifiedImageError
from torch import Tensor

from stylegan import sampling, videos
from stylegan.config import SEED, above, at_least, check
from stylegan.encoders import on_sphere
from stylegan.errors import InputError
from stylegan.files import atomic_file
from stylegan.images import crop_padding, enlarge, grid, on_white, save_image, to_pil
from stylegan.networks.generator import Generator, NoiseInput
from stylegan.recipe import Recipe, opened, records, resolve, shown

KIND, FORMAT_VERSION = "stylegan-drag", 1  # of the file


@dataclass(frozen=True)
class Point:
    """A point of a picture, and where it is to go: pixels."""

    x: float
    y: float
    to_x: float
    to_y: float


@dataclass(frozen=True, eq=False)
class Drag:
    """What is to move."""

    points: tuple[Point, ...]
    mask: Tensor | None = None  # bool [H, W], true where the picture may change; None: everywhere


@dataclass(frozen=True)
class DragConfig:
    """How points are dragged. Lengths are for images of 64 x 64 and grow with the image."""

    steps: Annotated[int, at_least(1)] = 200
    """Number of steps at most; it ends when all points have arrived."""
    features: int | None = None
    """Resolution of the block whose features are followed. Default: half that of the image."""
    layers: Annotated[int, at_least(1)] | None = None
    """Number of layers whose w may change, from the first. Default: those up to the block of the features."""
    learning_rate: Annotated[float, above(0)] = 0.1
    """Learning rate of Adam, in standard deviations of W."""
    radius: Annotated[float, above(0)] = 2.0
    """Radius around a point within which features are moved, in pixels (r1 of the paper)."""
    search: Annotated[float, above(0)] = 3.0
    """How far from where it was a point is looked for, in pixels (r2 of the paper)."""
    mask_weight: Annotated[float, at_least(0)] = 9.0
    """How much a change outside the mask counts (lambda of the paper, 20 there)."""
    tolerance: Annotated[float, above(0)] = 1.0
    """Distance from its target at which a point has arrived, in pixels."""
    seed: Annotated[int, SEED] = 0
    """Seed of the samples that W is measured with."""

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, eq=False)
class Dragged:
    """Where a drag stands after so many steps."""

    step: int
    w: Tensor  # [1, num_layers, w_dim]
    image: Tensor  # [1, C, R, R] in about [-1, 1], drawn from w
    points: Tensor  # [P, 2], where the points are now: x, y
    distances: Tensor  # [P] from their targets
    arrived: bool


def dragging(
    generator: Generator,
    w: Tensor,
    drag: Drag,
    config: DragConfig | None = None,
    *,
    noise: NoiseInput = "const",
    space: tuple[Tensor, Tensor] | None = None,
) -> Iterator[Dragged]:
    """Drag, and yield what is there before the first step and after each, until all points have arrived.

    w: [1, num_layers, w_dim], of a seed or a projection. noise: as for `synthesis`, the planes of that image. space:
    where W lies, as `sampling.coordinates` says it; measured anew by default. The generator's weights are left as they
    are. Raises InputError for points and masks outside the image, and blocks and layers that are not there.
    """
    config = config or DragConfig()
    resolution, block = generator.synthesis.grown.resolution, _block(generator, config)
    corner = _check(drag, generator)
    scale = max(resolution / 64, 0.25)  # pixels for each of the configuration's
    layers = min(config.layers or _layers_of(generator, block), generator.config.num_layers)
    points = torch.tensor([[p.x, p.y] for p in drag.points]).to(w) + corner.to(w)
    targets = torch.tensor([[p.to_x, p.to_y] for p in drag.points]).to(w) + corner.to(w)
    still = None if drag.mask is None else _still(drag.mask, generator, block).to(w)
    middle, spread = space or sampling.coordinates(sampling.sample_w(generator, 10_000, config.seed))
    start = torch.linalg.solve(spread, (w[0] - middle).T).T[None]  # v of w = middle + spread v
    moving, fixed = start[:, :layers].clone().requires_grad_(), start[:, layers:]
    adam = torch.optim.Adam([moving], lr=config.learning_rate)

    for step in range(config.steps + 1):
        now = on_sphere(generator, middle + torch.cat([moving, fixed], dim=1) @ spread.T)
        now = now if step else w + (now - now.detach())  # the image itself, to the bit
        image, maps = generator.synthesis.with_features(now, block, noise=noise)
        if step == 0:
            first = maps.detach()
            of_points, size = features_at(first, points, resolution), first.std()  # all models' count alike
        else:
            points = track(maps.detach(), of_points, points, config.search * scale, resolution)
        distances = (targets - points).norm(dim=1)
        arrived = bool((distances <= config.tolerance * scale).all())
        yield Dragged(step, now.detach(), image.detach(), points - corner.to(w), distances, arrived)
        if arrived or step == config.steps:
            return
        loss = motion(maps, points, targets, config.radius * scale, scale, resolution) / size
        if still is not None:
            loss = loss + config.mask_weight * ((maps - first).abs() * still).mean() / size
        adam.zero_grad()
        loss.backward(inputs=[moving])
        adam.step()


def motion(maps: Tensor, points: Tensor, targets: Tensor, radius: float, step: float, resolution: int) -> Tensor:
    """Motion supervision (eq. 1): how far the features a step nearer to the targets are from those at the points.

    maps: [1, C, r, r]. points, targets: [P, 2], pixels of an image of `resolution`. radius: of the patch that moves.
    step: how far it is to move. Those at the points are what is wanted, and take no gradient.
    """
    reach = math.ceil(radius)
    line = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    patch = torch.cartesian_prod(line, line)
    patch = patch[patch.norm(dim=1) <= radius]  # [Q, 2]
    way = targets - points
    distance = way.norm(dim=1, keepdim=True)
    way = torch.where(distance > step, way / distance.clamp_min(1e-6) * step, way)
    here = points[:, None] + patch  # [P, Q, 2]
    wanted = features_at(maps.detach(), here.flatten(0, 1), resolution)
    found = features_at(maps, (here + way[:, None]).flatten(0, 1), resolution)
    return (found - wanted).abs().mean(dim=1).unflatten(0, here.shape[:2]).mean(dim=1).sum()


@torch.no_grad()
def track(maps: Tensor, of_points: Tensor, points: Tensor, search: float, resolution: int) -> Tensor:
    """Point tracking (eq. 2): where around the points [P, 2] the features are most like `of_points` [P, C]: [P, 2].

    search: half the side of the square that is searched, by half pixels.
    """
    line = torch.arange(-math.ceil(2 * search), math.ceil(2 * search) + 1, device=maps.device, dtype=maps.dtype) / 2
    patch = torch.cartesian_prod(line, line)
    patch = patch[patch.abs().sum(dim=1).argsort(stable=True)]  # of those that are alike, the nearest
    places = (points[:, None] + patch).clamp(0, resolution - 1)  # [P, Q, 2]
    found = features_at(maps, places.flatten(0, 1), resolution).unflatten(0, places.shape[:2])
    nearest = (found - of_points[:, None]).abs().sum(dim=2).argmin(dim=1)
    return places[torch.arange(len(points), device=points.device), nearest]


def features_at(maps: Tensor, places: Tensor, resolution: int) -> Tensor:
    """Features [Q, C] of maps [1, C, r, r] at places [Q, 2] of the image, between their pixels bilinear."""
    spots = (places + 0.5) * (2 / resolution) - 1
    return F.grid_sample(maps, spots[None, None].to(maps), padding_mode="border", align_corners=False)[0, :, 0].T


def _block(generator: Generator, config: DragConfig) -> int:
    resolution = generator.synthesis.grown.resolution
    block = config.features or max(4, resolution // 2)
    if str(block) not in generator.synthesis.blocks or block > resolution:
        raise InputError(f"there is no block of {block} x {block} features; use a power of two from 4 to {resolution}")
    return block


def _layers_of(generator: Generator, block: int) -> int:
    return len(generator.synthesis.layer_resolutions(block)) if generator.config.use_styles else 1


def _check(drag: Drag, generator: Generator) -> Tensor:
    """Where in the square image the picture begins that people see: x, y. Raises InputError for what is outside."""
    resolution = generator.synthesis.grown.resolution
    height, width = picture_size(generator)
    if not drag.points:
        raise InputError("there is nothing to drag; give a point or more, such as 20,30:26,30")
    for p in drag.points:
        if not all(0 <= x <= width - 1 for x in (p.x, p.to_x)) or not all(0 <= y <= height - 1 for y in (p.y, p.to_y)):
            raise InputError(
                f"the point {text_of(p)} is not inside the picture, whose pixels go from 0,0 to "
                f"{width - 1},{height - 1}"
            )
    if drag.mask is not None and drag.mask.shape != (height, width):
        raise InputError(f"the mask is {list(drag.mask.shape)}; the picture is {width} x {height}")
    return torch.tensor([(resolution - width) // 2, (resolution - height) // 2])


def _still(mask: Tensor, generator: Generator, block: int) -> Tensor:
    """1 where the features [block, block] must stay, by the part of them that lies outside the mask."""
    resolution, (height, width) = generator.synthesis.grown.resolution, mask.shape
    left, top = (resolution - width) // 2, (resolution - height) // 2
    padded = F.pad(mask.float(), (left, resolution - width - left, top, resolution - height - top))
    return 1 - F.adaptive_avg_pool2d(padded[None, None], block)


def picture_size(generator: Generator) -> tuple[int, int]:
    """Height and width of what people see of an image: without padding."""
    resolution = generator.synthesis.grown.resolution
    height, width = crop_padding(torch.empty(1, 1, resolution, resolution), generator.config.aspect).shape[2:]
    return height, width


# --- points and masks as text and files


def text_of(point: Point) -> str:
    """A point as `point_of` reads it."""
    return "{:g},{:g}:{:g},{:g}".format(*astuple(point))


def point_of(text: str) -> Point:
    """ "20,30:26,30" -> from (20, 30) to (26, 30). Raises InputError for anything else."""
    try:
        start, end = text.split(":")
        return _point([float(number) for part in (start, end) for number in part.split(",", 1)])
    except ValueError:
        raise InputError(f"{text!r} is no point; write where it is and where it goes, such as 20,30:26,30") from None


def _point(numbers: Sequence[float]) -> Point:
    if len(numbers) != 4 or not all(math.isfinite(number) for number in numbers):
        raise ValueError
    return Point(*map(float, numbers))


def mask_of(text: str, generator: Generator, folder: Path = Path()) -> Tensor:
    """Where a picture may change, bool [H, W]: a rectangle "left,top,right,bottom" (right and bottom exclusive),
    several with spaces between, or an image file whose bright pixels are it. Raises InputError.

    folder: that the file's name begins from.
    """
    try:
        return mask_of_rectangles([[int(number) for number in part.split(",")] for part in text.split()], generator)
    except ValueError:
        pass
    size = picture_size(generator)
    try:
        with Image.open(folder / text) as picture:
            bright = np.asarray(picture.convert("L").resize(size[::-1], Image.Resampling.BOX)) > 127
    except FileNotFoundError:
        raise InputError(f"{text!r} is no mask; give an image file, or left,top,right,bottom in pixels") from None
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError(f"{text} cannot be used as a mask: it is no image ({str(error)[:100]})") from None
    return torch.from_numpy(bright.copy())


def mask_of_rectangles(rectangles: Sequence[Sequence[float]], generator: Generator) -> Tensor:
    """Where a picture may change, bool [H, W]: rectangles (left, top, right, bottom) in pixels. Raises ValueError where
    nothing of the picture is in them."""
    mask = torch.zeros(picture_size(generator), dtype=torch.bool)
    for left, top, right, bottom in rectangles:
        mask[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))] = True
    if not mask.any():
        raise ValueError("its mask is empty")
    return mask


def read(path: Path | str, generator: Generator) -> Drag:
    """A drag from a JSON file, see docs/file-formats.md. Raises InputError where it is none."""
    path = Path(path)
    points, mask = content_of(path)
    if not isinstance(mask, list):
        return Drag(points, None if mask is None else mask_of(str(mask), generator, path.parent))
    try:
        return Drag(points, mask_of_rectangles(mask, generator))
    except (ValueError, TypeError, OverflowError) as error:
        raise _no_points(path, error) from None


def content_of(path: Path) -> tuple[tuple[Point, ...], Any]:
    """The points of a JSON file, and its mask as it stands there. Raises InputError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.get("kind", KIND) != KIND or content.get("format_version", FORMAT_VERSION) != FORMAT_VERSION:
            raise ValueError("it is of another kind or version")
        return tuple(_point(numbers) for numbers in content["points"]), content.get("mask")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; write one such as {EXAMPLE}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _no_points(path, error) from None


def _no_points(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is no file of points ({str(error)[:100]}); write one such as {EXAMPLE}")


EXAMPLE = '{"points": [[20, 30, 26, 30]], "mask": [[10, 20, 40, 40]]}'


def write(path: Path | str, drag: Drag) -> None:
    """Write a drag as a JSON file that `read` takes; the mask as rectangles, one for each run of a row."""
    rectangles = None
    if drag.mask is not None:
        rectangles = []
        for y, row in enumerate(drag.mask.cpu().int().tolist()):
            edges = [x for x, (a, b) in enumerate(zip([0, *row], [*row, 0], strict=True)) if a != b]
            rectangles += [[left, y, right, y + 1] for left, right in zip(edges[::2], edges[1::2], strict=True)]
    content = {"kind": KIND, "format_version": FORMAT_VERSION, "points": [list(astuple(p)) for p in drag.points]}
    with atomic_file(path) as file:
        file.write(json.dumps(content | {"mask": rectangles}).encode())


# --- pictures


def marked(image: Tensor, points: Tensor, targets: Tensor, mask: Tensor | None = None) -> Tensor:
    """A picture uint8 [C, H, W], enlarged to 256 pixels or more, with its points (red) and their targets (blue):
    uint8 [3, h, w]. What must not change is shown paler."""
    factor = max(1, -(-256 // image.shape[2]))
    picture = enlarge(on_white(image), factor)
    if mask is not None:
        picture = torch.where(enlarge(mask.cpu(), factor), picture, (picture.float() * 0.7 + 76).to(torch.uint8))
    drawn = to_pil(picture)
    pen = ImageDraw.Draw(drawn)
    for (x, y), (to_x, to_y) in zip(points.cpu().tolist(), targets.cpu().tolist(), strict=True):
        here, there = [((a + 0.5) * factor, (b + 0.5) * factor) for a, b in ((x, y), (to_x, to_y))]
        pen.line([here, there], "white", width=2)
        for (a, b), color in ((there, "#1f6feb"), (here, "#e5484d")):
            pen.ellipse([a - 5, b - 5, a + 5, b + 5], color, "white")
    return torch.from_numpy(np.array(drawn)).permute(2, 0, 1)


def drag_images(
    generator: Generator,
    recipe: Recipe,
    drag: Drag,
    folder: Path,
    config: DragConfig | None = None,
    *,
    video: Path | None = None,
    metadata: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Drag each image of a recipe, and write what became of them into a folder.

    It gets dragged0000.png and so on, comparison.png (before and, below, after, with the points and the mask), and
    latents.safetensors. video: of the way there, .mp4 or .gif. metadata: let the files say how they were made. say: is
    told, for each image, where its points have come to. Raises InputError.
    """
    recipe = opened(recipe, generator)
    start = resolve(recipe, generator)
    targets = torch.tensor([[p.to_x, p.to_y] for p in drag.points])
    ws, pairs, frames = [], [], []
    for i, name in enumerate(recipe.names):
        planes = start.noise if isinstance(start.noise, str) else [plane[[i % len(plane)]] for plane in start.noise]
        way = []
        for state in dragging(generator, start.w[[i]], drag, config, noise=planes):
            picture = shown(generator, state.image)[0]
            frame = marked(picture, state.points, targets, drag.mask if state.step == 0 else None)
            pairs += [frame] if state.step == 0 else []
            way.append(frame)
        pairs.append(way[-1])
        frames.append(way)
        ws.append(state.w)
        folder.mkdir(parents=True, exist_ok=True)
        how = "arrived" if state.arrived else "not all arrived"
        far = ", ".join(f"{distance:.1f}" for distance in state.distances.tolist())
        say(f"{name}: {how} after {state.step} steps; pixels from the targets: {far}")
    w = torch.cat(ws)
    also = {"drag": [text_of(point) for point in drag.points]}
    made = list(records(recipe, generator, w=w, also=also)) if metadata else [None] * len(w)
    drawn = sampling.draw(generator, w, start.noise)
    for i, image in enumerate(drawn):
        save_image(image, folder / f"dragged{i:04d}.png", made=made[i])
    save_image(grid(torch.stack(pairs[::2] + pairs[1::2]), columns=len(w)), folder / "comparison.png", sheet=True)
    sampling.save_latents(folder / "latents.safetensors", w=w, noise=start.noise, model=generator)
    if video is not None:
        longest = max(map(len, frames))
        ways = [way + [way[-1]] * (longest - len(way) + 20) for way in frames]
        videos.write(video, ((grid(torch.stack(row)), "") for row in zip(*ways, strict=True)), fps=20)
