"""From seeds or files to images: z, w, mixing, interpolation; latents as files. `recipe` draws."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.files import atomic_file, read_tensors, write_tensors
from stylegan.images import crop_padding, grid, to_uint8
from stylegan.networks.generator import Generator, GeneratorConfig, NoiseInput
from stylegan.resolutions import resolutions
from stylegan.weights import check_fingerprint, fingerprint

Noise = Literal["random", "const", "none"]
"""Every image's own planes, from its seed; the network's, the same for all; or no noise."""
Route = Literal["linear", "spherical", "cubic"]
"""How to go from latent to latent, see `through`."""


def z_of_seeds(seeds: Sequence[int], z_dim: int) -> Tensor:
    """One z per seed, float32 [N, z_dim]: `numpy.random.RandomState(seed).randn(z_dim)`, as the paper's figures."""
    rows = [np.random.RandomState(seed).randn(z_dim).astype(np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def noise_of_seeds(seeds: Sequence[int], generator: Generator, resolution: int | None = None) -> list[Tensor]:
    """One noise plane [N, 1, H, W] for each layer; every seed has its own, whatever the batch and resolution."""
    sizes = generator.synthesis.layer_resolutions(
        generator.synthesis.grown.resolution if resolution is None else resolution
    )
    planes = []
    for layer, size in enumerate(sizes):
        rows = [np.random.RandomState([seed, layer]).randn(1, size, size).astype(np.float32) for seed in seeds]
        planes.append(torch.from_numpy(np.stack(rows)).to(generator.w_avg.device))
    return planes


@torch.no_grad()
def w_of_seeds(generator: Generator, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
    """w [N, num_layers, w_dim] of the seeds, not truncated."""
    return w_of_z(generator, z_of_seeds(seeds, generator.config.z_dim), labels)


@torch.no_grad()
def w_of_z(generator: Generator, z: Tensor, labels: Tensor | None = None) -> Tensor:
    """w [N, num_layers, w_dim] of z [N, z_dim], not truncated, on the generator's device."""
    return generator.mapping(z.to(generator.w_avg.device), labels)


def labels_of(generator: Generator, label: int | None, count: int) -> Tensor | None:
    """The label of one class for so many images: int64 [count], or None for a network without classes.

    Raises InputError where a class is missing, unknown, or given to a network without.
    """
    classes = generator.config.label_count
    if not classes and label is not None:
        raise InputError("this model knows no classes; leave the class out")
    if classes and (label is None or not 0 <= label < classes):
        raise InputError(f"this model draws classes; choose one, from 0 to {classes - 1}")
    return None if label is None else torch.full((count,), label, device=generator.w_avg.device)


def labels_in_turn(generator: Generator, label: int | None, count: int) -> Tensor | None:
    """The labels of so many images: the class where one is given, else all in turn: int64 [count], or None.

    None for a network without classes. Raises InputError for a class that the network does not have.
    """
    if label is None and generator.config.label_count:
        return torch.arange(count, device=generator.w_avg.device) % generator.config.label_count
    return labels_of(generator, label, count)


def noise_input(generator: Generator, noise: Noise, seeds: Sequence[int]) -> NoiseInput:
    """The noise that `generator.synthesis` takes. "random" becomes the seeds' planes: an image can be drawn again."""
    return noise_of_seeds(seeds, generator) if noise == "random" else noise


@torch.no_grad()
def sample_w(
    generator: Generator, count: int = 10_000, stream: torch.Generator | int = 0, label: int | None = None
) -> Tensor:
    """w [count, w_dim] of fresh z, not truncated: of one class, or all in turn.

    stream: a generator of random numbers on the CPU, or the seed of one. Raises InputError as `labels_in_turn`.
    """
    stream = torch.Generator().manual_seed(stream) if isinstance(stream, int) else stream
    labels, parts = labels_in_turn(generator, label, count), []
    for start in range(0, count, 1000):
        z = torch.randn(min(1000, count - start), generator.config.z_dim, generator=stream)
        some = None if labels is None else labels[start : start + len(z)]
        parts.append(w_of_z(generator, z, some)[:, 0])
    return torch.cat(parts)


def coordinates(pool: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [w_dim] of samples w [N, w_dim], and the matrix [w_dim, w_dim] from coordinates of unit variance to w.

    w = middle + spread v. Directions in which w hardly varies get a thousandth of the largest deviation.
    """
    values, vectors = torch.linalg.eigh(torch.cov(pool.double().T))
    deviations = values.clamp_min(1e-6 * float(values[-1])).sqrt()
    return pool.mean(dim=0), (vectors * deviations).to(pool)


def w_center(generator: Generator, count: int = 10_000, seed: int = 0, label: int | None = None) -> Tensor:
    """The center of mass of W from `count` fresh samples, [w_dim]: E_z[f(z)] of appendix B; of a class, or of all.

    The generator's own `w_avg` is the running average of training; this one belongs to the weights as they are.
    """
    return sample_w(generator, count, seed, label).double().mean(dim=0).to(generator.w_avg)


def mix(w_a: Tensor, w_b: Tensor, layers: slice | Sequence[int]) -> Tensor:
    """Style mixing: w_a with the given layers taken from w_b (section 3.1). Both [N or 1, num_layers, w_dim].

    Raises InputError for the w of a traditional generator, which is one for the whole image.
    """
    if w_a.shape[1] == 1:
        raise InputError("a traditional generator has one input and no styles to mix; use a style-based one")
    mixed = w_a.expand(max(len(w_a), len(w_b)), -1, -1).clone()
    mixed[:, layers] = w_b[:, layers]
    return mixed


@torch.no_grad()
def w_of_crossed_seeds(
    generator: Generator, seeds: Sequence[int], latents: int, labels: Tensor | None = None
) -> Tensor:
    """w [N, num_layers, w_dim] of the seeds, each crossed with `latents - 1` more latents at random layers (table 2).

    The seed's own w is used from the first layer on; the others, and the layers where they take over, are drawn
    from the seed too. Raises InputError where the generator has fewer layers than that.
    """
    layers = layers_in_use(generator, latents)
    w = w_of_seeds(generator, seeds, labels)
    if latents == 1:
        return w
    streams = [np.random.RandomState([seed, latents, 2**31]) for seed in seeds]
    crossovers = np.stack([np.sort(stream.permutation(layers - 1)[: latents - 1]) + 1 for stream in streams])
    others = []
    for _ in range(latents - 1):
        z = np.stack([stream.randn(generator.config.z_dim) for stream in streams]).astype(np.float32)
        others.append(generator.mapping(torch.from_numpy(z).to(w), labels))
    return cross([w, *others], torch.from_numpy(crossovers).to(w.device))


def cross(ws: Sequence[Tensor], crossovers: Tensor) -> Tensor:
    """Styles of several w [N, num_layers, w_dim], one after the other.

    crossovers: int64 [N, len(ws) - 1], the layers, ascending, from which the second, third, ... is used.
    """
    crossed, layer = ws[0], torch.arange(ws[0].shape[1], device=ws[0].device)[:, None]
    for w, first in zip(ws[1:], crossovers.T, strict=True):
        crossed = torch.where(layer < first[:, None, None], crossed, w)
    return crossed


def layers_in_use(generator: Generator, latents: int) -> int:
    """How many style inputs a generator has at what it has been grown to. Raises InputError if `latents` is more."""
    grown = len(generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution))
    layers = min(grown, generator.config.num_layers)
    if not 1 <= latents <= layers:
        raise InputError(f"{latents} latents cannot be mixed: this generator has {layers} style inputs in use")
    return layers


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Linear interpolation, for W. t = 0 is a, t = 1 is b; a tensor t must broadcast against them."""
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical interpolation of directions, for Z: both [N, z_dim] are normalized, and so is the result."""
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(dim=-1, keepdim=True)
    angle = t * torch.acos(cosine.clamp(-1, 1))
    across = b - cosine * a
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return a * torch.cos(torch.as_tensor(angle)) + across * torch.sin(torch.as_tensor(angle))


def through(points: Tensor, t: Tensor, path: Route) -> Tensor:
    """Where a path through points [K, ...] is at the times t [T]: [T, ...]. It is at point i when t = i.

    "linear" (for W) and "spherical" (for Z) go from the first point to the last, t from 0 to K - 1. On the sphere
    the direction turns at an even speed, and the length goes from that of one point to that of the next. "cubic" is a
    closed curve with continuous first and second derivatives, of period K: from the last point back to the first.
    """
    if path == "cubic":
        return _cubic_loop(points, t)
    first = t.floor().long().clamp(0, max(len(points) - 2, 0))
    a, b = points[first], points[(first + 1).clamp(max=len(points) - 1)]
    along = (t - first).view(-1, *[1] * (points.ndim - 1)).to(points)
    if path == "linear":
        return lerp(a, b, along)
    length = lerp(a.norm(dim=-1, keepdim=True), b.norm(dim=-1, keepdim=True), along)
    return slerp(a, b, along) * length


def _cubic_loop(points: Tensor, t: Tensor) -> Tensor:
    """The periodic cubic spline: between two points a cubic, whose second derivatives at the points solve a system."""
    count, flat = len(points), points.cpu().double().flatten(1)
    step = torch.eye(count, dtype=torch.float64).roll(1, dims=1)  # from each point to the next
    system = 4 * torch.eye(count, dtype=torch.float64) + step + step.T
    bend = torch.linalg.solve(system, 6 * (step @ flat - 2 * flat + step.T @ flat))
    first = t.floor().long() % count
    following = (first + 1) % count
    s = (t - t.floor()).double()[:, None]
    straight = (1 - s) * flat[first] + s * flat[following]
    curved = ((1 - s) ** 3 - (1 - s)) * bend[first] + (s**3 - s) * bend[following]
    return (straight + curved / 6).to(points).view(-1, *points.shape[1:])


def style_ranges(resolution: int) -> dict[str, range]:
    """The layers of coarse, middle and fine styles: those at 4-8, 16-32 and 64-1024 in the paper (section 3.1).

    A smaller network's colors are decided in its last layers all the same, so fine is its last resolution: 16 and 32
    are middle and fine in one of 32 x 32; 4, 8 and 16 the three in one of 16 x 16. Raises InputError below.
    """
    layers = 2 * len(resolutions(resolution))
    if layers < 6:
        raise InputError(f"{resolution} x {resolution} is too small for coarse, middle and fine styles; 16 x 16 is not")
    middle, fine = min(4, layers - 4), min(8, layers - 2)
    return {"coarse": range(middle), "middle": range(middle, fine), "fine": range(fine, layers)}


@torch.no_grad()
def draw(generator: Generator, w: Tensor, noise: NoiseInput = "const", *, batch: int = 16) -> Tensor:
    """The images of w [N, num_layers, w_dim] at once, to look at: uint8 [N, C, H, W], without padding, on the CPU.

    noise: as for `synthesis`.
    """
    drawn = []
    for start in range(0, len(w), batch):
        part = slice(start, start + batch)
        planes = noise if isinstance(noise, str) else [plane[part] if len(plane) > 1 else plane for plane in noise]
        images = generator.synthesis(w[part], noise=planes)
        drawn.append(to_uint8(crop_padding(images, generator.config.aspect)).cpu())
    return torch.cat(drawn)


@torch.no_grad()
def mixing_table(
    generator: Generator,
    top: Tensor,
    left: Tensor,
    layers: Sequence[Sequence[int]],
    *,
    noise: NoiseInput = "const",
    gap: int = 0,
) -> Tensor:
    """Style mixing as a table (figure 3): the images of the left column with some styles of those of the top row.

    top, left: w [N, num_layers, w_dim] and [M, num_layers, w_dim]. layers: those that come from the top row, for each
    of the M rows. noise: one set of planes for all, so that only styles differ. gap: pixels between the images. Returns
    uint8 [C, H, W]. Raises InputError for a traditional generator.
    """
    rows = [torch.cat([w[None], mix(w[None], top, chosen)]) for w, chosen in zip(left, layers, strict=True)]
    drawn = draw(generator, torch.cat([top, *rows]), noise)
    return grid(torch.cat([torch.full_like(drawn[:1], 255), drawn]), columns=len(top) + 1, gap=gap)


def save_latents(
    path: Path | str,
    *,
    z: Tensor | None = None,
    w: Tensor | None = None,
    noise: NoiseInput | None = None,
    model: Generator | None = None,
) -> None:
    """Write z [N, z_dim], w [N, w_dim] or w+ [N, num_layers, w_dim] to a file that `load_latents` reads.

    A `.safetensors` file holds what is given under its name, `z` or `w`, the noise they were drawn with ("const",
    "none", or planes [N, 1, R, R] as `noise0`, `noise1`, ...), and the fingerprint of `model`, in whose W it is; a
    `.npy` file holds one of z and w alone. Raises InputError for another ending, and for several in a `.npy` file.
    """
    path = Path(path)
    tensors = {name: x.detach().float() for name, x in (("z", z), ("w", w)) if x is not None}
    tensors |= {f"noise{i}": plane for i, plane in enumerate(() if isinstance(noise, str) else noise or ())}
    if path.suffix not in (".npy", ".safetensors") or (path.suffix == ".npy" and len(tensors) != 1):
        raise InputError(f"{path} cannot hold latents: write a .safetensors file, or one of z and w to a .npy file")
    if path.suffix == ".safetensors":
        header = {"kind": "stylegan-latents", "format_version": 1}
        header |= {"noise": noise} if isinstance(noise, str) else {}
        header |= {} if model is None else {"fingerprint": fingerprint(model)}
        write_tensors(path, tensors, header)
        return
    with atomic_file(path) as file:
        np.save(file, next(iter(tensors.values())).cpu().numpy())


def load_latents(
    path: Path | str, config: GeneratorConfig, *, model: Generator | None = None
) -> tuple[Literal["z", "w"], Tensor]:
    """What a file holds for a generator: ("z", [N, z_dim]) or ("w", [N, num_layers, w_dim]), float32.

    A `.safetensors` file names it, `z` or `w`; where it has both, w is used. A `.npy` file says it by its shape:
    [N, z_dim], [N, w_dim] (the same w for all layers) or [N, num_layers, w_dim] (w+); where z and w are of one size, by
    its name: `*.z.npy` or `*.w.npy`. Raises InputError for everything else, and for a w of which the file says that it
    is of another generator than `model`.
    """
    path = Path(path)
    name, x = read_latents(path, model)
    shapes: dict[Literal["z", "w"], list[tuple[int, ...]]] = {
        "z": [(config.z_dim,)],
        "w": [(config.w_dim,), (config.num_layers, config.w_dim)],
    }
    fitting = [space for space in shapes if name in (space, "") and tuple(x.shape[1:]) in shapes[space]]
    if not fitting or not len(x) or not x.dtype.is_floating_point:
        raise InputError(
            f"{path} holds {name} {list(x.shape)} of {x.dtype}; this model takes floats, z [N, {config.z_dim}], "
            f"w [N, {config.w_dim}] or w+ [N, {config.num_layers}, {config.w_dim}]"
        )
    if len(fitting) > 1:
        raise InputError(f"{path} holds {list(x.shape)}, which may be z or w; name it {path.stem}.z.npy or .w.npy")
    if not x.isfinite().all():
        raise InputError(f"the numbers in {path} are not all finite")
    w_for_all = fitting == ["w"] and x.ndim == 2
    return fitting[0], x.float()[:, None].expand(-1, config.num_layers, -1) if w_for_all else x.float()


def read_latents(path: Path, model: Generator | None = None) -> tuple[str, Tensor]:
    """A file's latents and their name, z or w; or "" where it does not say. w must be of `model`, if the file says.

    Raises InputError for what is no file of latents.
    """
    hint = "give a .npy or .safetensors file of latents"
    try:
        if path.suffix == ".npy":
            name = path.with_suffix("").suffix.removeprefix(".")
            return name if name in ("z", "w") else "", torch.from_numpy(_array(path))
        if path.suffix == ".safetensors":
            metadata, latents = read_tensors(path, "a file of latents", hint=hint)
            if there := [name for name in ("w", "z") if name in latents]:
                if there[0] == "w" and model is not None:
                    header = json.loads(metadata.get("stylegan", "{}"))
                    stored = header.get("fingerprint", "") if isinstance(header, dict) else ""
                    hint = "draw them with their own, or from a .npy file, which does not say whose they are"
                    check_fingerprint(stored, model, f"the w in {path} are", hint)
                return there[0], latents[there[0]]
            raise InputError(f"{path} holds {', '.join(latents) or 'nothing'}; the tensor must be named z or w")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}; {hint}") from None
    except InputError:
        raise
    except (ValueError, TypeError, EOFError, RecursionError, OverflowError) as error:
        raise InputError(f"{path} cannot be read: it is damaged or holds no latents ({error})") from error
    raise InputError(f"{path} is no latent file; give a .npy or .safetensors file")


def _array(path: Path) -> np.ndarray:
    """The array in a .npy file. Memory is taken once it is known that the file holds what its header says."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        held = path.stat().st_size - file.tell()
    if math.prod(shape) * dtype.itemsize > held:
        raise ValueError(f"it says that it holds {list(shape)} of {dtype}, and has {held} bytes of them")
    return np.load(path, allow_pickle=False)
