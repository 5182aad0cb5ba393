"""Frozen networks that look at images: feature extractors, and perceptual distances.

Inception-v3 and the VGG16 distance are torch-fidelity's. Their weights are files that `stylegan fetch` puts into the
cache; those of MobileNetV2 come with the package. Nothing here downloads anything.
"""

import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from stylegan.downloads import DOWNLOADS, checksum_of, fetched, is_fetched
from stylegan.errors import InputError, InputWarning
from stylegan.files import read_tensors

MOBILENET = Path(__file__).parents[1] / "pretrained" / "mobilenet-v2" / "features.safetensors"  # license beside it

# --- feature extractors


class Extractor(nn.Module):
    """Features of images: call it with uint8 [N, 3, H, W] for (features [N, F], logits [N, C] or None), float32."""

    name: str
    feature_count: int
    logit_count: int
    checksum: str
    """SHA-256 of its weights."""
    resize: str
    """Filter that brings images to the network's size; scores made with different filters do not compare."""


class InceptionV3(Extractor):
    """torch-fidelity's Inception-v3 of 2015, as TensorFlow has it: 2,048 pooled features, 1,008 unbiased logits."""

    name, feature_count, logit_count = "inception-v3", 2048, 1008
    resize = "bilinear to 299, as TensorFlow 1"

    def __init__(self, state: dict[str, Tensor], checksum: str) -> None:
        super().__init__()
        fidelity = _import_fidelity("feature_extractor_inceptionv3")
        self.checksum = checksum
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "weights.pth"
            torch.save(state, path)  # it reads pickles only; this one is ours
            self.network = fidelity.FeatureExtractorInceptionV3(
                "inception-v3-compat", ["2048", "logits_unbiased"], feature_extractor_weights_path=str(path)
            )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.network(images)


class MobileNetV2(Extractor):
    """An ImageNet MobileNetV2 (Sandler et al., 2018) in a file that holds its list of operations: 1,280 features.

    The bundled weights are float16. Its scores order models much as Inception's do; its numbers are its own.
    """

    name, logit_count = "mobilenet-v2", 0
    resize = "Pillow's bicubic to 224"

    def __init__(self, weights: dict[str, Tensor], operations: list, checksum: str) -> None:
        super().__init__()
        self.checksum, self.operations = checksum, operations
        for name, weight in weights.items():
            self.register_buffer(name, weight)
        last = [number for number, kind, *_ in operations if kind.endswith("CONV_2D")][-1]
        self.feature_count = len(weights[f"b{last}"])

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it works
            resized = list(pool.map(_resize_to_224, images.permute(0, 2, 3, 1).cpu().numpy()))
        x = torch.from_numpy(np.stack(resized)).to(images.device).permute(0, 3, 1, 2)
        return self.features(x.float() / 127.5 - 1), None

    def features(self, x: Tensor) -> Tensor:
        """[N, 3, 224, 224] in [-1, 1] -> [N, 1280]"""
        if self.operations[-1][1] != "AVERAGE_POOL_2D":
            raise InputError("the list of operations does not end in an average pooling")
        (pooled,) = self.stages(x, (self.operations[-1][4],))
        return pooled

    def stages(self, x: Tensor, outputs: tuple[int, ...]) -> list[Tensor]:
        """[N, 3, H, W] in [-1, 1] -> the results of the operations with these outputs, in the network's order."""
        values = {self.operations[0][3][0]: x.contiguous(memory_format=torch.channels_last)}
        for number, kind, stride, inputs, output, (low, high) in self.operations:
            y = values[inputs[0]]
            if kind == "ADD":
                y = y + values[inputs[1]]
            elif kind == "AVERAGE_POOL_2D":
                y = y.mean(dim=(2, 3))
            else:
                weight, bias = (getattr(self, f"{part}{number}").to(y.dtype) for part in "wb")
                # padding as TensorFlow's SAME: the odd one at the end
                padding = max((-(-y.shape[3] // stride) - 1) * stride + weight.shape[3] - y.shape[3], 0)
                if padding % 2:
                    y, padding = F.pad(y, (padding // 2, padding - padding // 2) * 2), 0
                y = F.conv2d(y, weight, bias, stride, padding // 2, groups=1 if kind == "CONV_2D" else y.shape[1])
            values[output] = F.hardtanh_(y, low, high)  # as clamp, whose derivative takes four passes
            if all(wanted in values for wanted in outputs):
                break
        return [values[wanted] for wanted in outputs]


def _resize_to_224(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))


def load_extractor(text: str) -> Extractor:
    """The feature extractor that `text` names: "inception" (fetched), "mobilenet-v2" (bundled), "auto", or
    "ARCHITECTURE=FILE" with weights of either in safetensors.

    "auto" is inception where it has been fetched, else mobilenet-v2, with a warning. Raises InputError where a file is
    missing or does not fit.
    """
    if text == "auto":
        text = "inception" if is_fetched("inception") else "mobilenet-v2"
        if text != "inception":
            warnings.warn(
                "Inception has not been fetched, so features of the bundled MobileNetV2 are compared, whose scores are "
                "its own; for scores to hold against published ones: stylegan fetch inception",
                InputWarning,
                stacklevel=2,
            )
    architecture, _, file = text.partition("=")
    if architecture == "mobilenet-v2":
        return load_mobilenet(Path(file) if file else MOBILENET)
    if architecture != "inception":
        raise InputError(
            f"the extractor {text!r} is unknown; use auto, inception, mobilenet-v2, inception=FILE.safetensors or "
            "mobilenet-v2=FILE.safetensors"
        )
    if not file:
        (path,) = fetched("inception")
        return InceptionV3(torch.load(path, map_location="cpu", weights_only=True), checksum_of([path])).eval()
    with _reading(Path(file), architecture):
        weights = read_tensors(Path(file), f"a file with the weights of {architecture}")[1]
        return InceptionV3(weights, checksum_of([Path(file)])).eval()


def load_mobilenet(path: Path = MOBILENET) -> MobileNetV2:
    """The MobileNetV2 of a file, by default the bundled one. Raises InputError as `load_extractor`."""
    with _reading(path, "mobilenet-v2"):
        header, weights = read_tensors(path, "a file with the weights of mobilenet-v2")
        network = MobileNetV2(weights, json.loads(header["ops"]), checksum_of([path])).eval()
        network.features(torch.zeros(1, 3, 224, 224))  # fails here where operations and weights do not fit
        return network


@contextmanager
def _reading(path: Path, architecture: str) -> Iterator[None]:
    """Inside, what goes wrong because of a file's content is an InputError."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError) or "allocate memory" in str(error):  # which says nothing about the file
            raise
        reason = str(error).splitlines()[0]
        raise InputError(f"{path} does not hold the weights of {architecture} ({reason})") from error


# --- perceptual distances


class Distance(nn.Module):
    """Distance of two images: call it with float [N, 3, H, W] in [0, 255], twice, for [N]."""

    name: str
    checksum: str


class LPIPS(Distance):
    """torch-fidelity's VGG16 distance with the learned weights of LPIPS 0.1 (Zhang et al., 2018)."""

    name = "vgg16-lpips"

    def __init__(self, vgg16: dict[str, Tensor], linear: dict[str, Tensor], checksum: str) -> None:
        super().__init__()
        self.checksum = checksum
        fidelity = _import_fidelity("sample_similarity_lpips")
        vgg, learned = (item.name for item in DOWNLOADS["lpips"])
        with _hub_files({vgg: vgg16, learned: linear}):
            self.network = fidelity.SampleSimilarityLPIPS("lpips-vgg16")

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        if min(a.shape[2:]) < 16:
            raise InputError(
                f"path lengths want 16 x 16 pixels or more, these are {a.shape[3]} x {a.shape[2]}; use --crop none"
            )
        return self.network(a, b).flatten()


class FeatureDistance(Distance):
    """Squared Euclidean distance of an extractor's features, each scaled to length 1, on floats throughout."""

    def __init__(self, extractor: MobileNetV2, side: int = 224) -> None:
        """side: height and width at which the network looks; 224 is what it was trained for."""
        super().__init__()
        self.side, self.extractor, self.name, self.checksum = (
            side,
            extractor,
            f"{extractor.name} features",
            extractor.checksum,
        )

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = F.interpolate(torch.cat([a, b]), (self.side, self.side), mode="bicubic", antialias=True) / 127.5 - 1
        first, second = F.normalize(self.extractor.features(both)).chunk(2)
        return (first - second).square().sum(dim=1)


def load_distance(text: str, *, side: int = 224) -> Distance:
    """The distance that `text` names: "lpips" (fetched), "mobilenet-v2" (bundled) or "mobilenet-v2=FILE".

    side: height and width at which MobileNetV2 looks. Raises InputError where it is none of these, or where the file is
    missing or does not fit.
    """
    if text == "lpips":
        paths = fetched("lpips")
        vgg16, linear = (torch.load(path, map_location="cpu", weights_only=True) for path in paths)
        return LPIPS(vgg16, linear, checksum_of(paths)).eval()
    name, _, file = text.partition("=")
    if name == "mobilenet-v2":
        return FeatureDistance(load_mobilenet(Path(file) if file else MOBILENET), side).eval()
    raise InputError(f"the distance {text!r} is unknown; use lpips, mobilenet-v2 or mobilenet-v2=FILE.safetensors")


# --- torch-fidelity


def _import_fidelity(module: Literal["feature_extractor_inceptionv3", "sample_similarity_lpips"]):
    try:
        return import_module(f"torch_fidelity.{module}")
    except ImportError as error:
        raise InputError(
            f"this needs torch-fidelity ({error}); install it with: pip install 'stylegan[metrics]'"
        ) from None


@contextmanager
def _hub_files(states: dict[str, dict[str, Tensor]]) -> Iterator[None]:
    """Let torch.hub find these weights as if it had downloaded them, and nothing else."""
    before, folder = torch.hub.get_dir(), Path(tempfile.mkdtemp())
    try:
        (folder / "checkpoints").mkdir()
        for name, state in states.items():
            torch.save(state, folder / "checkpoints" / name)
        torch.hub.set_dir(str(folder))
        yield
    finally:
        torch.hub.set_dir(before)
        shutil.rmtree(folder)
