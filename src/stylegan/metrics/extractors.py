"""Frozen networks that look at images: feature extractors, and perceptual distances.

Inception-v3 and the VGG16 distance are torch-fidelity's. Their weights are files that `stylegan fetch` puts into the
cache, checked; nothing here downloads anything.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http.client import HTTPException
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from tqdm import tqdm

from stylegan.errors import InputError
from stylegan.images import atomic_file
from stylegan.metrics.classifiers import checksum_of

# --- the files


@dataclass(frozen=True)
class Download:
    """A file of weights: where it is from, and what it must be."""

    url: str
    sha256: str
    licence: str

    @property
    def name(self) -> str:
        return self.url.rsplit("/", 1)[-1]


FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
DOWNLOADS = {
    "inception": [
        Download(
            FIDELITY + "weights-inception-2015-12-05-6726825d.pth",
            "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            "Apache-2.0",
        )
    ],
    "lpips": [
        Download(
            "https://download.pytorch.org/models/vgg16-397923af.pth",
            "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            "BSD-3-Clause",
        ),
        Download(
            FIDELITY + "weights-vgg16-lpips.pth",
            "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
            "BSD-2-Clause",
        ),
    ],
}


def cache_folder() -> Path:
    """Where weights and statistics of reals are kept: $STYLEGAN_CACHE, else ~/.cache/stylegan."""
    return Path(os.environ.get("STYLEGAN_CACHE", "~/.cache/stylegan")).expanduser()


def fetch(name: str, source: Path | None = None, *, progress: bool = True) -> list[Path]:
    """Put the files of "inception" or "lpips" into the cache, from the network or from the folder `source`.

    A file that is there and right is left alone. Raises InputError where one cannot be had or is not what it should
    be; a wrong file is not kept.
    """
    if name not in DOWNLOADS:
        raise InputError(f"there is nothing called {name} to fetch; use one of: {', '.join(DOWNLOADS)}")
    paths = []
    for item in DOWNLOADS[name]:
        path = cache_folder() / item.name
        paths.append(path)
        if path.exists() and checksum_of([path]) == item.sha256:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        url = item.url if source is None else (source / item.name).resolve().as_uri()
        try:
            with atomic_file(path) as file, urllib.request.urlopen(url, timeout=60) as answer:
                total, digest = int(answer.headers.get("Content-Length") or 0), hashlib.sha256()
                with tqdm(total=total, unit="B", unit_scale=True, desc=item.name, disable=not progress) as bar:
                    while block := answer.read(2**20):
                        file.write(block)
                        digest.update(block)
                        bar.update(len(block))
                if digest.hexdigest() != item.sha256:
                    raise InputError(f"{url} is not the file that is wanted (its SHA-256 is {digest.hexdigest()})")
        except (OSError, HTTPException) as error:  # URLError among the first
            raise InputError(
                f"{url} cannot be read ({error}); on a machine without network put {item.name} into a folder and "
                f"call: stylegan fetch {name} --source FOLDER"
            ) from error
    return paths


def _fetched(name: str) -> list[Path]:
    """The files, which must be in the cache already."""
    paths = [cache_folder() / item.name for item in DOWNLOADS[name]]
    for path, item in zip(paths, DOWNLOADS[name], strict=True):
        if not path.exists() or checksum_of([path]) != item.sha256:
            raise InputError(f"{path} is missing or damaged; call once: stylegan fetch {name}")
    return paths


# --- feature extractors


class Extractor(nn.Module):
    """Features of images: call it with uint8 [N, 3, H, W] for (features [N, F], logits [N, C] or None), float32."""

    name: str
    feature_count: int
    logit_count: int
    checksum: str
    """SHA-256 of its weights."""
    resize: str
    """How images are brought to the network's size; figures made with different filters do not compare."""


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
    """An ImageNet MobileNetV2 in a file that holds its list of operations: 1,280 features.

    A stand-in where the Inception weights cannot be had. It orders models as FID does; its numbers are its own.
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
        values = {self.operations[0][3][0]: x.contiguous(memory_format=torch.channels_last)}
        for number, kind, stride, inputs, output, (low, high) in self.operations:
            y = values[inputs[0]]
            if kind == "ADD":
                y = y + values[inputs[1]]
            elif kind == "AVERAGE_POOL_2D":
                return y.mean(dim=(2, 3)).clamp(low, high)
            else:
                weight, bias = getattr(self, f"w{number}"), getattr(self, f"b{number}")
                # padding as TensorFlow's SAME: the odd one at the end
                padding = max((-(-y.shape[3] // stride) - 1) * stride + weight.shape[3] - y.shape[3], 0)
                y = F.pad(y, (padding // 2, padding - padding // 2) * 2)
                y = F.conv2d(y, weight, bias, stride, groups=1 if kind == "CONV_2D" else y.shape[1])
            values[output] = y.clamp(low, high)
        raise InputError("the list of operations does not end in an average pooling")


def _resize_to_224(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BICUBIC))


def load_extractor(text: str) -> Extractor:
    """The feature extractor that `text` names: "inception", or "ARCHITECTURE=FILE" with weights in safetensors.

    Architectures: inception, mobilenet-v2. Raises InputError where a file is missing or does not fit.
    """
    architecture, _, file = text.partition("=")
    if architecture == "inception" and not file:
        (path,) = _fetched("inception")
        return InceptionV3(torch.load(path, map_location="cpu", weights_only=True), checksum_of([path])).eval()
    if architecture not in ("inception", "mobilenet-v2") or not file:
        raise InputError(
            f"the extractor {text!r} is unknown; use inception, inception=FILE.safetensors or "
            "mobilenet-v2=FILE.safetensors"
        )
    path = Path(file)
    try:
        weights, checksum = load_file(path), checksum_of([path])
        if architecture == "inception":
            return InceptionV3(weights, checksum).eval()
        with safe_open(path, "pt") as opened:
            operations = json.loads((opened.metadata() or {})["ops"])
        weights = {name: weight.float() for name, weight in weights.items()}
        network = MobileNetV2(weights, operations, checksum).eval()
        network.features(torch.zeros(1, 3, 224, 224))  # fails here where operations and weights do not fit
        return network
    except FileNotFoundError:
        raise InputError(f"there is no file {path} with the extractor's weights") from None
    except (SafetensorError, LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        if isinstance(error, InputError):
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

    def __init__(self, extractor: MobileNetV2) -> None:
        super().__init__()
        self.extractor, self.name, self.checksum = extractor, f"{extractor.name} features", extractor.checksum

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        both = F.interpolate(torch.cat([a, b]), (224, 224), mode="bicubic", antialias=True) / 127.5 - 1
        first, second = F.normalize(self.extractor.features(both)).chunk(2)
        return (first - second).square().sum(dim=1)


def load_distance(text: str) -> Distance:
    """The distance that `text` names: "lpips", or "mobilenet-v2=FILE". Raises InputError."""
    if text == "lpips":
        paths = _fetched("lpips")
        states = [torch.load(path, map_location="cpu", weights_only=True) for path in paths]
        return LPIPS(*states, checksum_of(paths)).eval()
    if text.startswith("mobilenet-v2="):
        return FeatureDistance(load_extractor(text)).eval()
    raise InputError(f"the distance {text!r} is unknown; use lpips or mobilenet-v2=FILE.safetensors")


# --- torch-fidelity


def _import_fidelity(module: Literal["feature_extractor_inceptionv3", "sample_similarity_lpips"]):
    try:
        return import_module(f"torch_fidelity.{module}")
    except ImportError as error:
        raise InputError(
            f"this needs torch-fidelity ({error}); install it with: pip install 'stylegan[metrics]'"
        ) from None


@contextlib.contextmanager
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
