"""What the tests share: tiny stores and networks, and the way to the golden numbers."""

import other_system  # noqa: F401, I001  (first: it may hide what other systems lack)

import json
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stylegan import planning
from stylegan.data.pyramid import pyramid
from stylegan.data.store_writer import StoreWriter
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train
from stylegan.training.schedule import ScheduleConfig

SHARED = Path(os.environ.get("STYLEGAN_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
GOLDEN = Path(__file__).parent / "golden"

# in the background of a shell, and under nohup, these are ignored, and so they would be by the programs under test
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name):
        signal.signal(getattr(signal, name), handler)


@pytest.fixture(scope="session")
def shared_golden() -> Path:
    """The full golden numbers, which lie outside the project."""
    if not (SHARED / "golden").is_dir():
        pytest.skip(f"the full golden numbers are not at {SHARED}; the reduced ones in tests/golden are tested")
    return SHARED / "golden"


TINY_MAPS = FeatureMaps(base=64, maximum=8)


def tiny_generator(resolution: int = 16, **options) -> Generator:
    torch.manual_seed(0)
    defaults = {"z_dim": 8, "w_dim": 8, "mapping_width": 8, "mapping_layers": 2, "feature_maps": TINY_MAPS}
    generator = Generator(GeneratorConfig(resolution=resolution, **(defaults | options)))
    with torch.no_grad():  # let every term count
        for name, parameter in generator.named_parameters():
            if "bias" in name or "strength" in name or "const" in name:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        generator.w_avg.normal_()
    return generator


def tiny_discriminator(resolution: int = 16, **options) -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(DiscriminatorConfig(resolution=resolution, **({"feature_maps": TINY_MAPS} | options)))


def write_store(path: Path, resolution: int = 16, count: int = 40, labels: int = 0, channels: int = 3) -> Path:
    """A store of smooth random images with two colors each; with labels the class sets the brightness."""
    rng = np.random.RandomState(3)
    ramp = np.linspace(0, 1, resolution)[:, None, None]
    names = [str(i) for i in range(labels)]
    with StoreWriter(path, resolution, channels, made={"source": "test", "fit": "pad"}, label_names=names) as writer:
        for i in range(count):
            top, bottom = rng.uniform(0, 255, (2, 1, 1, channels))
            image = np.broadcast_to(top + (bottom - top) * ramp, (resolution, resolution, channels))
            label = i % labels if labels else None
            writer.add(pyramid(image.astype(np.uint8)), f"{i}.png", label)
    return path


def of_earlier_version(path: Path) -> Path:
    """The store without its checksums, as earlier versions wrote it."""
    fields = json.loads((path / "dataset.json").read_text())
    del fields["checksums"], fields["crc32"]
    (path / "dataset.json").write_text(json.dumps(fields))
    (path / "checksums.npy").unlink()
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "store")


# --- tiny runs


@pytest.fixture(autouse=True)
def measured_in_no_time(monkeypatch):
    """Trainings without a preset measure the machine's speed by one iteration of each kind."""
    monkeypatch.setattr(planning, "SECONDS", 0.0)


def tiny_config(data: Path, **changes) -> TrainingConfig:
    """8 x 8, a fade to 16 x 16, then 16 x 16: 400 images in groups of 2 batches of 8."""
    label_count = changes.pop("label_count", 0)
    shape = {"resolution": 16, "label_count": label_count, "feature_maps": TINY_MAPS}
    config = TrainingConfig(
        data=str(data),
        generator=GeneratorConfig(z_dim=8, w_dim=8, mapping_width=8, mapping_layers=2, **shape),
        discriminator=DiscriminatorConfig(**shape),
        schedule=ScheduleConfig(
            stable_kimg=0.1,
            fade_kimg=0.1,
            total_kimg=0.4,
            batch_size={4: 8},
            learning_rate={4: 0.003},
            tick_kimg={4: 0.048},
            repeats=2,
        ),
        ema_kimg=0.1,
        grid=(3, 2),
        model_ticks=1,
        device="cpu",
    )
    return replace(config, **changes)


def tensors_of(outcome) -> dict[str, torch.Tensor]:
    return load_file(outcome.model)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session")
def finished(store, tmp_path_factory):
    """An uninterrupted run, and its folder."""
    run = tmp_path_factory.mktemp("finished") / "run"
    return train(tiny_config(store), run, progress=False), run


# --- several processes

FORKS = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
FORKS.set_forkserver_preload(["stylegan.training.loop", "stylegan.metrics.evaluate"])  # imported once for all


def in_two_processes(function: Callable, *inputs: object) -> str:
    """Call a function of a test module in two processes that are one group, as under torchrun; what they print."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with tempfile.NamedTemporaryFile() as said:
        members = [
            FORKS.Process(target=_member, args=(said.name, group | {"RANK": str(rank)}, function, inputs))
            for rank in range(2)
        ]
        for member in members:
            member.start()
        for member in members:
            member.join()
        text = said.read().decode()
    assert [member.exitcode for member in members] == [0, 0], text
    return text


def _member(said: str, environment: dict[str, str], function: Callable, inputs: tuple) -> None:
    with open(said, "ab", buffering=0) as file:  # noqa: PTH123
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    torch.set_num_threads(1)
    function(*inputs)


def train_in_two_processes(config: TrainingConfig | None, run: Path) -> None:
    in_two_processes(partial(train, progress=False), config, run)


# --- files of other programs, made from ours by the names and layouts that are documented


def _stored(tensor: torch.Tensor) -> np.ndarray:
    """Official layout: outputs last."""
    if tensor.ndim == 4:
        return np.ascontiguousarray(tensor.permute(2, 3, 1, 0).numpy())
    return tensor.T.numpy() if tensor.ndim == 2 else tensor.numpy()


def official_generator(g: Generator, up: str = "Conv0_up") -> dict[str, np.ndarray]:
    """All variables of an official G, by name."""
    variables = {"lod": np.float32(0)}
    top = g.config.resolution.bit_length() - 1
    for name, tensor in g.state_dict().items():
        part = name.split(".")
        if name == "w_avg":
            variables["dlatent_avg"] = tensor.numpy()
        elif name == "mapping.label_embedding":
            variables["LabelConcat/weight"] = tensor.numpy()
        elif part[0] == "mapping":
            variables[f"Dense{part[2]}/{part[3]}"] = _stored(tensor)
        elif part[1] != "blocks":
            variables[part[1]] = tensor.numpy()
        elif part[3] == "to_rgb":
            variables[f"ToRGB_lod{top - int(part[2]).bit_length() + 1}/{part[4]}"] = _stored(tensor)
        elif part[3] == "const":
            variables["4x4/Const/const"] = tensor[None].numpy()
        else:
            first = ("Const" if g.config.const_input else "Dense") if part[2] == "4" else up
            layer = first if part[3] in ("conv0", "layer0", "dense") else ("Conv" if part[2] == "4" else "Conv1")
            leaf = {"noise": "Noise/weight", "style": f"StyleMod/{part[-1]}"}.get(part[4], part[4])
            variables[f"{part[2]}x{part[2]}/{layer}/{leaf}"] = _stored(tensor)
    return variables


def official_discriminator(d: Discriminator, down: str = "Conv1_down") -> dict[str, np.ndarray]:
    """All variables of an official D, by name."""
    names = {"conv0": "Conv0", "conv1": down, "conv": "Conv", "dense0": "Dense0", "dense1": "Dense1"}
    variables, top = {"lod": np.float32(0)}, d.config.resolution.bit_length()
    for name, tensor in d.state_dict().items():
        _, r, layer, leaf = name.split(".")
        scope = f"FromRGB_lod{top - int(r).bit_length()}" if layer == "from_rgb" else f"{r}x{r}/{names[layer]}"
        variables[f"{scope}/{leaf}"] = _stored(tensor)
    return variables


def official_network(name: str, function: str, options: dict, variables: dict, components: dict | None = None) -> Any:
    """An instance of a class that is pickled as the official one is."""
    for parent in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"):
        module = sys.modules.setdefault(parent, types.ModuleType(parent))
    if not hasattr(module, "Network"):
        module.Network = type("Network", (), {"__module__": module.__name__, "__getstate__": lambda self: self.state})
    network = module.Network()
    network.state = {
        "version": 3,
        "name": name,
        "static_kwargs": options,
        "components": components or {},
        "build_module_src": "raise SystemExit  # never run",
        "build_func_name": function,
        "variables": list(variables.items()),
    }
    return network


def official_g(name: str, g: Generator, options: dict, lod: float = 0.0) -> Any:
    """G or Gs with its components, as the official training writes it."""
    own, mapping, synthesis = {"lod": np.float32(lod)}, {}, {"lod": np.float32(lod)}
    for variable, value in official_generator(g).items():
        in_mapping = variable.startswith(("LabelConcat", "Dense"))
        target = own if variable in ("lod", "dlatent_avg") else mapping if in_mapping else synthesis
        target.setdefault(variable, value)
    parts = {
        "synthesis": official_network("G_synthesis", "G_synthesis", options, synthesis),
        "mapping": official_network("G_mapping", "G_mapping", options | {"dlatent_broadcast": 6}, mapping),
    }
    return official_network(name, "G_style", options, own, parts)


TINY_OPTIONS = {"num_channels": 3, "resolution": 16, "label_size": 0, "fmap_base": 64, "fmap_max": 8}
TINY_G_OPTIONS = TINY_OPTIONS | {"latent_size": 8, "dlatent_size": 8, "mapping_fmaps": 8, "mapping_layers": 2}


def write_official(path: Path, protocol: int = 4, numpy: int = 2, **g_options) -> tuple[Generator, Discriminator]:
    """An official pickle of (G, D, Gs), and our Gs and D. numpy: the version whose names are in it (1: protocol 2)."""
    g, d = tiny_generator(), tiny_discriminator()
    networks = (
        official_g("G", tiny_generator(), TINY_G_OPTIONS | g_options),
        official_network("D", "D_basic", TINY_OPTIONS, official_discriminator(d)),
        official_g("Gs", g, TINY_G_OPTIONS | g_options),
    )
    data = pickle.dumps(networks, protocol)
    if numpy == 1:
        assert b"cnumpy._core.multiarray\n" in data
        data = data.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(data)
    return g, d


def relative_error(ours, truth) -> float:
    """Largest deviation, relative to the largest true value."""
    ours = ours.detach().numpy() if torch.is_tensor(ours) else np.asarray(ours)
    truth = truth.detach().numpy() if torch.is_tensor(truth) else np.asarray(truth)
    assert ours.shape == truth.shape
    return float(np.abs(ours - truth).max() / np.abs(truth).max())
