"""Attribute classifiers: what linear separability asks about an image (section 4.2, appendix C).

They have the discriminator's architecture without the minibatch standard deviation. Ours is one network with an
output for each attribute; the official ones for CelebA-HQ are forty networks with one output each. Either way
sigmoid(2 * logit) is the probability that the attribute is there.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from stylegan.config import from_dict, to_dict
from stylegan.downloads import checksum_of
from stylegan.errors import InputError
from stylegan.files import read_tensors, write_tensors
from stylegan.interop import nvidia, nvidia_files
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.networks.layers import build
from stylegan.weights import PRETRAINED

FORMAT_VERSION = 1


class AttributeClassifiers(nn.Module):
    """Binary classifiers of images, frozen: one name and one logit an attribute."""

    def __init__(self, names: list[str], networks: list[Discriminator], *, name: str = "", checksum: str = "") -> None:
        """names: of the attributes. name, checksum: of the file they come from."""
        super().__init__()
        self.names, self.name, self.checksum = list(names), name, checksum
        self.networks = nn.ModuleList(networks).eval().requires_grad_(False)
        self.resolution, self.channels = networks[0].config.resolution, networks[0].config.channels

    def check(self, generator: GeneratorConfig) -> None:
        """Raise InputError if a generator's images cannot be judged."""
        if generator.resolution < self.resolution or self.channels not in (3, generator.channels):
            raise InputError(
                f"the classifiers want images of {self.resolution} x {self.resolution} or more with {self.channels} "
                f"channels, the generator's are {generator.resolution} x {generator.resolution} with "
                f"{generator.channels}; train some with: stylegan classifiers STORE FILE"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, A] of images [N, C, H, W] in [-1, 1], larger ones box-filtered to the classifiers' resolution."""
        while images.shape[3] > self.resolution:
            images = ops.downsample(images)
        return torch.cat([network.outputs(images) for network in cast(Iterable[Discriminator], self.networks)], dim=1)


def save_classifiers(
    path: Path | str, classifiers: AttributeClassifiers, *, half: bool = False, notes: str = ""
) -> None:
    """Write a classifier file: safetensors with the configuration in its header. `half` stores float16."""
    header = {
        "kind": "stylegan-classifiers",
        "format_version": FORMAT_VERSION,
        "attributes": classifiers.names,
        "networks": [to_dict(network.config) for network in classifiers.networks],
        "notes": notes,
    }
    write_tensors(path, classifiers.networks.state_dict(), header, half=half)


JUDGED_BY = {"portraits": "portraits-32"}
"""Bundled models whose samples another one's classifiers judge: these show the same at a higher resolution."""


def load_classifiers(name: Path | str) -> AttributeClassifiers:
    """Read a classifier file, a bundled one by its name, or the official pickles: one file or a folder of them.

    Raises InputError where there are none.
    """
    path = Path(name)
    if path.is_dir() and (pickles := sorted(path.glob("*.pkl"))):
        return _from_pickles(pickles)
    if path.suffix == ".pkl" and path.is_file():
        return _from_pickles([path])
    if not path.is_file():
        path = PRETRAINED / f"{JUDGED_BY.get(str(name), name)}-classifiers.safetensors"
    if not path.is_file():
        known = ", ".join(bundled_classifiers())
        raise InputError(f"there are no classifiers {name}; give a file of `stylegan classifiers`, or one of: {known}")
    header, tensors = read_tensors(
        path, "a file of attribute classifiers", kind="stylegan-classifiers", version=FORMAT_VERSION
    )
    try:
        names, configs = header["attributes"], header["networks"]
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or not isinstance(configs, list):
            raise InputError("its header does not list attributes and networks")
        parts: list[dict[str, Tensor]] = [{} for _ in configs]
        for key, tensor in tensors.items():
            number, _, own = key.partition(".")
            if number not in map(str, range(len(parts))):
                raise InputError(f"it holds {key[:100]!r}, which belongs to no network")
            parts[int(number)][own] = tensor
        networks = [
            build(Discriminator, from_dict(DiscriminatorConfig, config), part)
            for config, part in zip(configs, parts, strict=True)
        ]
        outputs = sum(max(network.config.label_count, 1) for network in networks)
        if not networks or outputs != len(names):
            raise InputError(f"it has {len(names)} attributes for {outputs} outputs")
    except KeyError as error:
        raise InputError(f"{path} cannot be read: its header has no {error}") from error
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    return AttributeClassifiers(names, networks, name=path.stem, checksum=checksum_of([path]))


def bundled_classifiers() -> list[str]:
    """Names of the classifiers that come with the program."""
    return sorted(path.stem.removesuffix("-classifiers") for path in PRETRAINED.glob("*-classifiers.safetensors"))


def _from_pickles(paths: list[Path]) -> AttributeClassifiers:
    """The official classifiers, named after their files: celebahq-classifier-00-male.pkl, ..."""
    networks = []
    for path in paths:
        try:
            networks.append(nvidia.discriminator_from(nvidia_files.read_network(path)))
        except InputError as error:
            raise InputError(f"{path} cannot be used as an attribute classifier: {error}") from error
    names = [re.sub(r".*classifier-\d+-", "", path.stem) for path in paths]
    return AttributeClassifiers(names, networks, name=paths[0].parent.name, checksum=checksum_of(paths))
