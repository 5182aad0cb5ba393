"""What the tests share: tiny stores and networks, and the way to the golden numbers."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from stylegan.data.store import StoreWriter, pyramid
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import FeatureMaps

SHARED = Path(os.environ.get("STYLEGAN_SHARED", Path(__file__).parents[1] / ".." / "shared")).resolve()
GOLDEN = Path(__file__).parent / "golden"


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
    """A store of smooth random images with two colours each; with labels the class sets the brightness."""
    rng = np.random.RandomState(3)
    ramp = np.linspace(0, 1, resolution)[:, None, None]
    names = [str(i) for i in range(labels)]
    with StoreWriter(path, resolution, channels, made={"source": "test"}, label_names=names) as writer:
        for i in range(count):
            top, bottom = rng.uniform(0, 255, (2, 1, 1, channels))
            image = np.broadcast_to(top + (bottom - top) * ramp, (resolution, resolution, channels))
            label = i % labels if labels else None
            writer.add(pyramid(image.astype(np.uint8)), f"{i}.png", label)
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "store")


def relative_error(ours, truth) -> float:
    """Largest deviation, relative to the largest true value."""
    ours = ours.detach().numpy() if torch.is_tensor(ours) else np.asarray(ours)
    truth = truth.detach().numpy() if torch.is_tensor(truth) else np.asarray(truth)
    assert ours.shape == truth.shape
    return float(np.abs(ours - truth).max() / np.abs(truth).max())
