"""Attribute classifiers: what linear separability asks about an image (section 4.2, appendix C).

They have the discriminator's architecture without the minibatch standard deviation. Ours is one network with an
output for each attribute; the official ones for CelebA-HQ are forty networks with one output each. Either way
sigmoid(2 * logit) is the probability that the attribute is there.
"""

import hashlib
import json
import re
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from stylegan.config import from_dict, to_dict
from stylegan.errors import InputError
from stylegan.images import atomic_file
from stylegan.interop import nvidia
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.weights import PRETRAINED, fill

FORMAT_VERSION = 1


class AttributeClassifiers(nn.Module):
    """Binary classifiers of images, frozen: one name and one logit an attribute."""

    def __init__(self, names: list[str], networks: list[Discriminator], *, name: str = "", checksum: str = "") -> None:
        """names: of the attributes. name, checksum: of the file they come from."""
        super().__init__()
        self.names, self.name, self.checksum = list(names), name, checksum
        self.networks = nn.ModuleList(networks).eval().requires_grad_(False)
        self.resolution = networks[0].config.resolution

    def check(self, generator: GeneratorConfig) -> None:
        """Raise InputError if a generator's images cannot be judged."""
        channels = self.networks[0].config.channels
        if generator.resolution < self.resolution or (channels != 3 and generator.channels != channels):
            raise InputError(
                f"the classifiers want images of {self.resolution} x {self.resolution} or more with {channels} "
                f"channels, the generator's are {generator.resolution} x {generator.resolution} with "
                f"{generator.channels}; train some with: stylegan classifiers STORE FILE"
            )

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, A] of images [N, C, H, W] in [-1, 1], larger ones box-filtered to the classifiers' resolution."""
        while images.shape[3] > self.resolution:
            images = ops.downsample(images)
        return torch.cat([network.outputs(images) for network in self.networks], dim=1)


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
    tensors = {
        name: (tensor.half() if half else tensor).detach().cpu().contiguous()
        for name, tensor in classifiers.networks.state_dict().items()
    }
    with atomic_file(path) as file:
        file.write(serialize(tensors, {"stylegan": json.dumps(header)}))


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
        path = PRETRAINED / f"{name}-classifiers.safetensors"
    if not path.is_file():
        known = ", ".join(bundled_classifiers())
        raise InputError(f"there are no classifiers {name}; give a file of `stylegan classifiers`, or one of: {known}")
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["stylegan"])
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118  (not a dict)
        if header["kind"] != "stylegan-classifiers" or header["format_version"] != FORMAT_VERSION:
            raise KeyError(header["kind"])
        configs = [from_dict(DiscriminatorConfig, values) for values in header["networks"]]
        names = [str(attribute) for attribute in header["attributes"]]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not a file of attribute classifiers, or is damaged ({error})") from error
    networks = fill(lambda: nn.ModuleList(Discriminator(config) for config in configs), tensors, path)
    return AttributeClassifiers(names, list(networks), name=path.stem, checksum=checksum_of([path]))


def bundled_classifiers() -> list[str]:
    """Names of the classifiers that come with the program."""
    return sorted(path.stem.removesuffix("-classifiers") for path in PRETRAINED.glob("*-classifiers.safetensors"))


def checksum_of(paths: list[Path]) -> str:
    """SHA-256 (hex) of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _from_pickles(paths: list[Path]) -> AttributeClassifiers:
    """The official classifiers, named after their files: celebahq-classifier-00-male.pkl, ..."""
    networks = [nvidia.discriminator_from(nvidia.read_network(path)) for path in paths]
    names = [re.sub(r".*classifier-\d+-", "", path.stem) for path in paths]
    return AttributeClassifiers(names, networks, name=paths[0].parent.name, checksum=checksum_of(paths))
