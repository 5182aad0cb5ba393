"""From seeds to images: z, w, truncation, mixing, interpolation. What draws images yields them in batches."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import InputError
from stylegan.networks.generator import Generator


def z_of_seeds(seeds: Sequence[int], z_dim: int) -> Tensor:
    """One z per seed, float32 [N, z_dim]: `numpy.random.RandomState(seed).randn(z_dim)`, as the paper's figures."""
    rows = [np.random.RandomState(seed).randn(z_dim).astype(np.float32) for seed in seeds]
    return torch.from_numpy(np.stack(rows))


def noise_of_seeds(seeds: Sequence[int], generator: Generator, resolution: int | None = None) -> list[Tensor]:
    """One noise plane [N, 1, H, W] for each layer; every seed has its own, whatever the batch and resolution."""
    sizes = generator.synthesis.layer_resolutions(generator.synthesis.grown[0] if resolution is None else resolution)
    planes = []
    for layer, size in enumerate(sizes):
        rows = [np.random.RandomState([seed, layer]).randn(1, size, size).astype(np.float32) for seed in seeds]
        planes.append(torch.from_numpy(np.stack(rows)).to(generator.w_avg.device))
    return planes


@torch.no_grad()
def w_of_seeds(generator: Generator, seeds: Sequence[int], labels: Tensor | None = None) -> Tensor:
    """w [N, num_layers, w_dim] of the seeds, not truncated."""
    z = z_of_seeds(seeds, generator.config.z_dim).to(generator.w_avg.device)
    return generator.mapping(z, labels)


@torch.no_grad()
def w_center(generator: Generator, count: int = 10_000, seed: int = 0, labels: Tensor | None = None) -> Tensor:
    """The centre of mass of W from `count` fresh samples, [w_dim]: E_z[f(z)] of appendix B.

    The generator's own `w_avg` is the running average of training; this one belongs to the weights as they are.
    labels: one label [1] or row [1, label_count] for the centre of a class.
    """
    device, total = generator.w_avg.device, torch.zeros(generator.config.w_dim, dtype=torch.float64)
    stream = torch.Generator().manual_seed(seed)
    for start in range(0, count, 1000):
        z = torch.randn(min(1000, count - start), generator.config.z_dim, generator=stream)
        given = None if labels is None else labels.to(device).expand(len(z), *labels.shape[1:])
        total += generator.mapping(z.to(device), given)[:, 0].cpu().double().sum(dim=0)
    return (total / count).to(generator.w_avg)


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
    grown = len(generator.synthesis.layer_resolutions(generator.synthesis.grown[0]))
    layers = min(grown, generator.config.num_layers)
    if not 1 <= latents <= layers:
        raise InputError(f"{latents} latents cannot be mixed: this generator has {layers} style inputs in use")
    return layers


def lerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Linear interpolation, for W. t = 0 is a, t = 1 is b; a tensor t must broadcast against them."""
    return a + (b - a) * t


def slerp(a: Tensor, b: Tensor, t: Tensor | float) -> Tensor:
    """Spherical interpolation of directions, for Z: both [N, z_dim] are normalised, and so is the result."""
    a, b = a / a.norm(dim=-1, keepdim=True), b / b.norm(dim=-1, keepdim=True)
    cosine = (a * b).sum(dim=-1, keepdim=True)
    angle = t * torch.acos(cosine.clamp(-1, 1))
    across = b - cosine * a
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return a * torch.cos(torch.as_tensor(angle)) + across * torch.sin(torch.as_tensor(angle))


@torch.no_grad()
def generate(
    generator: Generator,
    seeds: Sequence[int],
    *,
    psi: float = 1.0,
    cutoff: int | None = None,
    labels: Tensor | None = None,
    noise: Literal["seeded", "fixed", "none"] = "seeded",
    latents: int = 1,
    batch: int = 16,
) -> Iterator[Tensor]:
    """Draw the images of the seeds, in order, as batches [n, channels, H, W] in about [-1, 1].

    A seed's image depends on the seed alone, not on its neighbours: latent and noise have streams of their own.
    psi, cutoff: truncation, see `Generator.truncate`. labels: one per seed. noise: "seeded" draws each seed's
    own planes, "fixed" uses the network's, "none" leaves noise out. latents: how many each image is mixed from,
    see `w_of_crossed_seeds`. Padding is drawn too; `images.crop_padding` takes it off.
    """
    for start in range(0, len(seeds), batch):
        chunk = seeds[start : start + batch]
        given = None if labels is None else labels[start : start + batch].to(generator.w_avg.device)
        w = generator.truncate(w_of_crossed_seeds(generator, chunk, latents, given), psi, cutoff)
        planes = noise_of_seeds(chunk, generator) if noise == "seeded" else noise
        yield generator.synthesis(w, noise=planes)
