#!/usr/bin/env python3
"""A training step against genforce's StyleGAN, a plain port in PyTorch, side by side, as a Markdown table.

    benchmarks/port.py PATH [--rows official thin] [--precisions float32 auto] [--rounds 5] [--seconds 4]

PATH: a checkout of github.com/genforce/genforce, of which models/stylegan_generator.py and
models/stylegan_discriminator.py are used. The step is the same for all: fakes of random noise, logistic losses, R1 on
every step, Adam. Each in a process of its own, in turn, round after round; medians.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

RESOLUTION = 64
ROWS = {"official": (4, 8192, 512), "thin": (16, 1024, 128)}  # batch, feature maps: base and maximum
GAMMA = 10.0


def of_port(path: Path, base: int, maximum: int) -> tuple[nn.Module, Callable, Callable]:
    """Its discriminator, and functions: fakes of z; scores and gradients of images."""
    package = ModuleType("models")  # without the package's __init__, which imports everything
    package.__path__ = [str(path / "models")]
    sys.modules["models"] = package
    widths = {"fmaps_base": 2 * base, "fmaps_max": maximum}
    g = importlib.import_module("models.stylegan_generator").StyleGANGenerator(RESOLUTION, **widths)
    d = importlib.import_module("models.stylegan_discriminator").StyleGANDiscriminator(RESOLUTION, **widths)

    def fakes(z: Tensor) -> Tensor:
        return g(z, lod=0, randomize_noise=True)["image"]

    def scores_and_gradients(images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.detach().requires_grad_()
        scores = d(images, lod=0)
        (gradients,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
        return scores, gradients

    return nn.ModuleList([g, d]), fakes, scores_and_gradients


def of_ours(precision: str, base: int, maximum: int) -> tuple[nn.Module, Callable, Callable]:
    """The same of this project."""
    from stylegan.allocator import keep_freed_memory
    from stylegan.device import pick_precision, set_precision
    from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
    from stylegan.networks.generator import Generator, GeneratorConfig
    from stylegan.networks.layers import FeatureMaps
    from stylegan.sampling import cross

    keep_freed_memory()
    maps = FeatureMaps(base=base, maximum=maximum)
    g = Generator(GeneratorConfig(resolution=RESOLUTION, feature_maps=maps))
    d = Discriminator(DiscriminatorConfig(resolution=RESOLUTION, feature_maps=maps))
    g.synthesis.compute_dtype = d.compute_dtype = set_precision(pick_precision(precision, torch.device("cpu")))

    def fakes(z: Tensor) -> Tensor:  # mixed as the port's are, by a second latent
        first, second = g.mapping(torch.cat([z, torch.randn_like(z)])).chunk(2)
        crossover = torch.randint(1, first.shape[1], (1,)).expand(len(z))
        return g.synthesis(cross([first, second], crossover[:, None]))

    return nn.ModuleList([g, d]), fakes, d.scores_and_gradients


def optimizers(networks: nn.Module) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    """Adam of G and of D."""
    g, d = (torch.optim.Adam(part.parameters(), lr=0.001, betas=(0.0, 0.99), fused=True) for part in networks)
    return g, d


def step_of(
    networks: nn.Module,
    adams: tuple[torch.optim.Adam, torch.optim.Adam],
    fakes: Callable,
    scores_and_gradients: Callable,
    batch: int,
) -> Callable[[Tensor], None]:
    """One step of D, on reals [N, 3, R, R] in [-1, 1], and one of G."""
    (_, d), (g_adam, d_adam) = networks.train(), adams

    def step(reals: Tensor) -> None:
        with torch.no_grad():
            drawn = fakes(torch.randn(batch, 512))
        scores, gradients = scores_and_gradients(reals)
        penalty = GAMMA / 2 * gradients.square().sum() / batch
        (F.softplus(d(drawn)).mean() + F.softplus(-scores).mean() + penalty).backward()
        d_adam.step()
        d_adam.zero_grad(set_to_none=True)
        d.requires_grad_(False)
        F.softplus(-d(fakes(torch.randn(batch, 512)))).mean().backward()
        d.requires_grad_(True)
        g_adam.step()
        g_adam.zero_grad(set_to_none=True)

    return step


def child(path: Path, row: str, contender: str, seconds: float) -> float:
    """Seconds of a step, the best of those that fit into so many seconds, three at least."""
    batch, base, maximum = ROWS[row]
    torch.manual_seed(0)
    parts = of_port(path, base, maximum) if contender == "port" else of_ours(contender, base, maximum)
    networks, *functions = parts
    step = step_of(networks, optimizers(networks), *functions, batch)
    reals = torch.rand(batch, 3, RESOLUTION, RESOLUTION) * 2 - 1
    step(reals)
    times, until = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        start = time.perf_counter()
        step(reals)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--precisions", nargs="+", default=["float32", "auto"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each process repeats its step")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.path, *options.child, options.seconds)))
        return
    if not (options.path / "models" / "stylegan_generator.py").is_file():
        parser.error(f"{options.path} is no checkout of genforce")
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")}
    contenders = [*options.precisions, "port"]
    print("| 64 x 64 | " + " | ".join(contenders) + " |\n" + "|---" * (1 + len(contenders)) + "|")
    for row in options.rows:
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(options.rounds):
            for name in contenders:
                command = [sys.executable, __file__, str(options.path), "--seconds", str(options.seconds)]
                command += ["--child", row, name]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
                times[name].append(json.loads(done.stdout))
        cells = []
        for name in contenders:
            ratio = statistics.median(own / port for own, port in zip(times[name], times["port"], strict=True))
            cells.append(f"{statistics.median(times[name]) * 1000:.0f} ms, **{ratio:.3f}**")
        print(f"| {row}, batch {ROWS[row][0]} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
