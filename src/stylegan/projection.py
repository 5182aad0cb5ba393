"""Projection: the w, or one w for each layer (w+), whose image is closest to a given one.

The course is that of Karras et al., 2020 (appendix D: the start, the noise on w, the learning rate, the noise planes
and their regularization). Ours are the coordinates, in which W has unit variance in all directions, the start from the
nearest of many samples, and a pixel loss beside the perceptual one.
"""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import torch
from torch import Tensor
from tqdm import tqdm

from stylegan import encoders, likeness, sampling, tuning, videos, weights
from stylegan.config import SEED, above, at_least, between, check
from stylegan.data.fitting import Fit, Fitting, decode
from stylegan.data.items import Unusable
from stylegan.errors import InputError
from stylegan.files import printable
from stylegan.images import contact_sheet, from_uint8, grid, save_image
from stylegan.likeness import psnr as psnr
from stylegan.networks import ops
from stylegan.networks.generator import Generator, NoiseInput
from stylegan.recipe import Recipe, record_of_sheet, records, shown
from stylegan.weights import Provenance

POOL = 10_000  # samples that say what W is like, and of which the best is chosen
RATE, RATE_FROM_ENCODER = 0.2, 0.05
PROJECTED = {"projected": True}  # in the records of pictures


@dataclass(frozen=True)
class ProjectConfig:
    """How images are projected. The defaults take less than a minute for an image of 64 x 64 on a CPU."""

    space: Literal["w", "w+"] = "w+"
    """Space: one w for all layers (w), or one for each (w+); both are the same for a traditional generator."""
    noise: Literal["const", "none", "optimized", "optimised"] = "const"
    """Noise: the network's planes (const), none, or planes that are optimized too (`optimised` is the old spelling)."""
    distance: str = "auto"
    """Perceptual distance beside the pixels: lpips, mobilenet-v2, none, or auto, which is lpips where it has been
    fetched."""
    start: str = "best"
    """Start: the sample nearest to the image (best), the average of W (average), or what an encoder finds, a file of
    `stylegan encoder` or the bundled one (encoder=faces)."""
    candidates: Annotated[int, between(1, POOL)] = 500
    """Number of samples that the best is chosen of."""
    steps: Annotated[int, at_least(0)] = 500
    """Number of steps of Adam; 0 takes the start as it is."""
    learning_rate: Annotated[float, above(0)] | None = None
    """Highest learning rate, in standard deviations of W; it rises over the first 5 % and falls over the last half.
    Default: 0.2, and from an encoder 0.05, which stays where edits do what they do to samples."""
    perturbation: Annotated[float, at_least(0)] = 0.05
    """Deviation of the noise on w at the start, in standard deviations of W; none after three quarters of the steps."""
    noise_weight: Annotated[float, at_least(0)] = 1e5
    """How much autocorrelation of the optimized planes counts."""
    seed: Annotated[int, SEED] = 0
    """Seed of the samples and the noise on w."""

    def __post_init__(self) -> None:
        check(self)
        if self.start not in ("best", "average") and not self.encoder:
            raise InputError(f"the start {self.start!r} is unknown; use best, average or encoder=FILE")

    @property
    def rate(self) -> float:
        """The highest learning rate, given or not."""
        return self.learning_rate or (RATE_FROM_ENCODER if self.encoder else RATE)

    @property
    def encoder(self) -> str:
        """The encoder to start from, a file or a bundled one's name; "" where there is none."""
        name, _, file = self.start.partition("=")
        return file if name == "encoder" else ""


@dataclass(frozen=True, eq=False)
class Projection:
    """Where a projection of N images stands after so many steps."""

    step: int
    w: Tensor  # [N, num_layers, w_dim]
    noise: NoiseInput  # as `generator.synthesis` takes it: the optimized planes, "const" or "none"
    images: Tensor  # [N, C, R, R] in about [-1, 1], drawn from w and noise
    loss: Tensor  # [N]


def project(
    model: Generator | Path | str,
    images: Tensor | Path | str | Sequence[Path | str],
    config: ProjectConfig | None = None,
    *,
    label: int | None = None,
    fit: Fit | None = None,
) -> Projection:
    """The projection of images: image files, or targets as `projecting` takes them.

    model: a generator, or what `stylegan.load` takes. fit: how files become square, see `read_image`. Raises InputError
    as `projecting` and `read_image` do.
    """
    if not isinstance(model, Generator):
        loaded = weights.load_model(model)
        model, fit = loaded.generator, fit or fit_of(loaded.provenance)
    if not isinstance(images, Tensor):
        files = [images] if isinstance(images, str | Path) else images
        images = torch.cat([read_image(file, model, fit) for file in files])
    return deque(projecting(model, images, config, label=label), maxlen=1).pop()


def projecting(
    generator: Generator, targets: Tensor, config: ProjectConfig | None = None, *, label: int | None = None
) -> Iterator[Projection]:
    """Project images, and yield what is there before the first step and after each: `config.steps` + 1 times.

    targets: [N, C, R, R] in [-1, 1], of what the generator draws; each is projected as if it were alone. label: the
    class, of a conditional generator. The generator's weights are left as they are. Raises InputError for images of
    another size, a class that is not there, and a distance that cannot be had.
    """
    config = config or ProjectConfig()
    targets = targets.to(generator.w_avg)
    _check(generator, targets, label)
    distance = likeness.open_distance(config.distance, targets.shape[3], targets.device)

    # coordinates v of w = middle + spread v, and where to begin
    draws = torch.Generator().manual_seed(config.seed)
    pool = sampling.sample_w(generator, POOL, draws, label)
    middle, spread = sampling.coordinates(pool)
    start = _start(generator, pool, targets, config)
    v = torch.linalg.solve(spread, (start - middle).flatten(0, 1).T).T.unflatten(0, start.shape[:2])
    if config.space == "w":
        v = v.mean(dim=1, keepdim=True)
    v = v.expand(len(targets), generator.config.num_layers if config.space == "w+" else 1, -1).clone().requires_grad_()
    planes = _fresh_planes(generator, targets, draws) if config.noise.startswith("optimi") else []
    optimized = [v, *planes]
    adam = torch.optim.Adam(optimized)

    for step in range(config.steps + 1):
        # the images of a w near by, and in the last quarter of w itself
        done = step / max(config.steps, 1)
        jitter = config.perturbation * max(0.0, 1 - done / 0.75) ** 2
        near = v + jitter * torch.randn(1, *v.shape[1:], generator=draws).to(v)
        w = (middle + near @ spread.T).expand(-1, generator.config.num_layers, -1)
        w = encoders.on_sphere(generator, w)
        images = generator.synthesis(w, noise=planes or _unchanging(config))
        loss = likeness.loss(images, targets, distance)
        kept = [plane.detach().clone() for plane in planes] or _unchanging(config)
        yield Projection(step, w.detach(), kept, images.detach(), loss.detach())
        if step == config.steps:
            return

        # a step of Adam; the planes stay of mean 0 and variance 1
        total = loss.sum() + config.noise_weight * sum(autocorrelation(plane).sum() for plane in planes)
        adam.param_groups[0]["lr"] = config.rate * _rate((step + 0.5) / config.steps)
        adam.zero_grad()
        total.backward(inputs=optimized)
        adam.step()
        with torch.no_grad():
            for plane in planes:
                plane -= plane.mean(dim=(2, 3), keepdim=True)
                plane *= plane.square().mean(dim=(2, 3), keepdim=True).rsqrt()


def autocorrelation(plane: Tensor) -> Tensor:
    """How much neighbors in a noise plane [N, 1, R, R] have in common, at all scales down to 8 x 8: [N], 0 for none.

    At each scale the squares of the mean products with the neighbor, across and down, are added; a scale is the mean
    of 2 x 2 of the one before, times 2 so that independent noise keeps its variance. 0 for planes below 8 x 8.
    """
    total = plane.new_zeros(len(plane))
    while plane.shape[3] >= 8:
        for axis in (2, 3):
            total = total + (plane * plane.roll(1, axis)).mean(dim=(1, 2, 3)).square()
        plane = ops.downsample(plane) * 2
    return total


def _check(generator: Generator, targets: Tensor, label: int | None) -> None:
    resolution, config = generator.synthesis.grown.resolution, generator.config
    if targets.shape[1:] != (config.channels, resolution, resolution) or not len(targets):
        raise InputError(
            f"images of shape {list(targets.shape)} cannot be projected; this generator draws "
            f"[N, {config.channels}, {resolution}, {resolution}]"
        )
    if label is not None and not 0 <= label < config.label_count:
        known = f"has 0 to {config.label_count - 1}" if config.label_count else "knows no classes"
        raise InputError(f"class {label} is unknown; this model {known}")


def _start(generator: Generator, pool: Tensor, targets: Tensor, config: ProjectConfig) -> Tensor:
    """w [N, num_layers or 1, w_dim] to begin with. pool: samples. Raises InputError where an encoder does not fit."""
    if config.encoder:
        return encoders.encode(encoders.load(config.encoder, generator), generator, targets)
    if config.start == "best":
        return _nearest(generator, pool[: config.candidates], targets, config)[:, None]
    return pool.mean(dim=0).expand(len(targets), 1, -1)


@torch.no_grad()
def _nearest(generator: Generator, candidates: Tensor, targets: Tensor, config: ProjectConfig) -> Tensor:
    """The candidates [M, w_dim] whose images are nearest to the targets by pixels: [N, w_dim]."""
    losses = []
    for some in candidates.split(16):
        images = generator.synthesis(
            some[:, None].expand(-1, generator.config.num_layers, -1), noise=_unchanging(config)
        )
        losses.append(torch.stack([likeness.pixel_loss(images, target) for target in targets[:, None]], dim=1))
    return candidates[torch.cat(losses).argmin(dim=0)]


def _fresh_planes(generator: Generator, targets: Tensor, draws: torch.Generator) -> list[Tensor]:
    """Planes to optimize, the same for each image: [N, 1, R, R], one a layer; none where there are no noise inputs."""
    if not generator.config.use_noise:
        return []
    sizes = generator.synthesis.layer_resolutions(targets.shape[3])
    planes = [torch.randn(1, 1, r, r, generator=draws).to(targets) for r in sizes]
    return [plane.repeat(len(targets), 1, 1, 1).requires_grad_() for plane in planes]


def _unchanging(config: ProjectConfig) -> Literal["const", "none"]:
    return "none" if config.noise == "none" else "const"


def _rate(done: float) -> float:
    """The learning rate over the course, 0 to 1: up over the first 5 %, down over the last half, a cosine."""
    return min(1.0, done / 0.05) * (0.5 - 0.5 * math.cos(math.pi * min(1.0, 2 * (1 - done))))


# --- files


def fit_of(provenance: Provenance) -> Fit | None:
    """How images become square for a model: as those it was trained on, where its file says.

    None for "celeba", too: no images but CelebA's can be cropped so.
    """
    return next((fit for fit in get_args(Fit) if fit == provenance.fit and fit != "celeba"), None)


def read_image(path: Path | str, generator: Generator, fit: Fit | None = None) -> Tensor:
    """An image file as a target: [1, C, R, R] in [-1, 1], made square as `stylegan prepare --fit` does.

    fit: unless given, "wide" for a model of 4:3 images, else "crop"; see `fit_of`. For a model of FFHQ or of faces
    prepared with "face", that finds the largest face and aligns it in the same way. Raises InputError for what is no
    image.
    """
    config = generator.config
    fit = fit or ("wide" if tuple(config.aspect) == (4, 3) else "crop")
    fitting = Fitting(generator.synthesis.grown.resolution, fit, config.channels, allow_upscale=True)
    try:
        pixels = decode(Path(path).read_bytes(), fitting)
    except Unusable as reason:
        raise InputError(f"{path} cannot be projected: {reason}") from None
    return from_uint8(torch.tensor(pixels).permute(2, 0, 1)[None])


def project_files(
    model: weights.Model,
    files: Sequence[Path],
    folder: Path,
    config: ProjectConfig,
    *,
    fit: Fit | None = None,
    label: int | None = None,
    tune: tuning.TuneConfig | None = None,
    video: Path | None = None,
    progress: bool = True,
    metadata: bool = True,
) -> list[float]:
    """Project image files, each by itself, and write what was found into a folder; the PSNR of each in dB.

    It gets each file's target and projection, comparison.png (targets above), and latents.safetensors: w, and the noise
    planes if they were optimized. fit, label: as for `project`. tune: how the generator is then bent around all of
    them; tuned.safetensors is its model file, and what is drawn is drawn by it. video: of the way there, .mp4 or .gif.
    progress: show a bar. metadata: let the projections say how they were made. Raises InputError.
    """
    generator = model.generator
    targets = torch.cat([read_image(file, generator, fit or fit_of(model.provenance)) for file in files])
    wanted = shown(generator, targets)
    frames, every = [], max(1, config.steps // 150)
    steps = tqdm(projecting(generator, targets, config, label=label), disable=None if progress else True)
    steps.total, steps.unit = config.steps + 1, "step"
    for result in steps:
        steps.set_postfix(loss=f"{result.loss.mean():.4f}", refresh=False)
        if video is not None and (result.step % every == 0 or result.step == config.steps):
            frames.append(shown(generator, result.images))
    rows = [wanted, shown(generator, result.images)]
    if tune is not None and tune.tune:
        generator, drawn = _tune(generator, targets, result, config, tune, progress=progress)
        rows.append(shown(generator, drawn))
    found = rows[-1]
    decibels = [db for row in rows[1:] for db in psnr(row, wanted).tolist()]

    folder.mkdir(parents=True, exist_ok=True)
    if len(rows) > 2:
        weights.save(folder / "tuned.safetensors", tuning.tuned_model(model, generator, len(files)))
    recipe = Recipe(latents=result.w, own_noise=result.noise)
    made = list(records(recipe, generator, batch=len(files), also=PROJECTED)) if metadata else [None] * len(files)
    for i, file in enumerate(files):
        name = file.stem if len({f.stem for f in files}) == len(files) else f"{file.stem}-{i}"
        save_image(wanted[i], folder / f"{name}-target.png")
        save_image(found[i], folder / f"{name}-projected.png", made=made[i])
    titles = [printable(file.stem) for file in files] + [f"{db:.1f} dB" for db in decibels]
    sheet = contact_sheet(torch.cat(rows), titles, columns=len(files))
    whole = record_of_sheet(recipe, generator, PROJECTED) if metadata else None
    save_image(sheet, folder / "comparison.png", sheet=True, made=whole)
    sampling.save_latents(folder / "latents.safetensors", w=result.w, noise=result.noise, model=generator)
    if video is not None:
        sheets = (grid(torch.cat([wanted, frame]), columns=len(files)) for frame in frames + [found] * 30)
        videos.write(video, ((sheet, "") for sheet in sheets), fps=30, made=whole)
    return decibels[-len(files) :]


def _tune(
    generator: Generator,
    targets: Tensor,
    found: Projection,
    config: ProjectConfig,
    tune: tuning.TuneConfig,
    *,
    progress: bool,
) -> tuple[Generator, Tensor]:
    """The tuned generator, and what it draws: [N, C, R, R]."""
    distance = likeness.open_distance(config.distance, targets.shape[3], targets.device)
    steps = tuning.tuning(generator, targets, found.w, tune, noise=found.noise, distance=distance)
    bar = tqdm(steps, total=tune.tune, unit="step", desc="tuning", disable=None if progress else True)
    for state in bar:
        bar.set_postfix(loss=f"{state.loss:.4f}", refresh=False)
    with torch.no_grad():
        return state.generator, state.generator.synthesis(found.w, noise=found.noise)
