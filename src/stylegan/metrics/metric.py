"""The metrics, what they draw on (`Evaluation`) and what each needs (`METRICS`).

A new metric is one function beside the others and one entry of `METRICS`.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylegan import processes
from stylegan.classifiers.model import AttributeClassifiers, bundled_classifiers, load_classifiers
from stylegan.config import SEED, at_least, check
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.extras import need_scikit_learn
from stylegan.metrics import distances, memorization, stream
from stylegan.metrics.extractors import Distance, Extractor, load_distance, load_extractor
from stylegan.metrics.memorization import MOST_TRAINING, memorized
from stylegan.metrics.path_length import EPSILON, mean_without_outliers, path_length
from stylegan.metrics.separability import Separability, separability
from stylegan.metrics.stream import Images, Sampler
from stylegan.metrics.subject import Pictures, Which, is_store, open_images
from stylegan.networks.generator import Generator, NoiseInput


@dataclass(frozen=True)
class EvaluateConfig:
    """Options of measuring. The defaults are the official code's but for labels, path lengths' noise and the SVM."""

    metrics: tuple[str, ...] = ("fid50k",)
    """Some of fid50k kid50k pr50k is50k memorization ppl_zfull ppl_zend ppl_wfull ppl_wend ls, or all."""
    count: Annotated[int, at_least(2)] | None = None
    """Number of samples; scores of another number do not compare. Default: each metric's own."""
    extractor: str = "auto"
    """Network whose features fid, kid, pr and is compare: inception (fetched), mobilenet-v2 (bundled), inception=FILE,
    mobilenet-v2=FILE (safetensors), or auto, which is inception where it has been fetched, else mobilenet-v2."""
    distance: str = "lpips"
    """Perceptual distance of path lengths: lpips (fetched), mobilenet-v2 (bundled), or mobilenet-v2=FILE."""
    classifiers: str | None = None
    """Attribute classifiers of ls: a file of `stylegan classifiers`, a bundled one, or a folder of the official
    pickles. Default: the bundled ones of the store's attributes."""
    crop: Literal["face", "none"] = "face"
    """Part of the image that path lengths look at: face, as the official code for all data, or none for all of it."""
    noise: Literal["random", "const"] = "random"
    """Noise in path lengths: random planes for each pair of images, or the network's own for all."""
    labels: Literal["data", "none"] = "data"
    """Classes that a conditional generator draws: as frequent as in the store, or none as in the official code."""
    svm: Literal["converged", "official"] = "converged"
    """Hyperplanes of ls: at their optimum, or as the official code's 1,000 iterations leave them, which fits worse and
    takes some forty times as long."""
    mix: Annotated[int, at_least(1)] = 1
    """Number of latents mixed into each image, at random layers, for fid, kid, pr and is (table 2)."""
    reals: Which = "auto"
    """Images of a store that are the reals: held-out, training, or auto, which is held-out where the store has some."""
    mirror: bool | None = None
    """Flip half of the reals. Default: as the model's training did, where its run.json is beside it."""
    seed: Annotated[int, SEED] = 0
    """Seed of the samples."""
    batch: Annotated[int, at_least(1)] = 16
    """Number of images at a time."""

    def __post_init__(self) -> None:
        names = tuple(name for text in self.metrics for name in text.split(",") if name)
        object.__setattr__(self, "metrics", names)  # fid50k,ls is as good as fid50k ls
        for name in names:
            if name not in METRICS and name != "all":
                raise InputError(f"there is no metric {name}; use some of: {', '.join(METRICS)}, or all")
        check(self)


Set = Literal["fakes", "reals", "training", "held_out"]
"""Images that metrics look at: what is measured, what it is compared with, what was trained on and what was not."""


class Evaluation:
    """What the metrics draw on: samples, reals, networks that look at them. All is made when it is first needed, once.

    Keep one to measure again and again, as training does; `evaluate` makes one for a single call.
    """

    def __init__(
        self,
        config: EvaluateConfig,
        device: torch.device,
        *,
        generator: Generator | None = None,
        images: Images | None = None,
        data: Pictures | None = None,
        progress: bool = True,
    ) -> None:
        """generator or images: what is measured. data: the reals, a store (or other images)."""
        self.config, self.device, self.generator, self.progress = config, device, generator, progress
        self.data = data
        self._fakes = images
        self._features: dict[tuple[str, int], Any] = {}
        self.wants_hyperplanes = False
        """Measure separability even where the record has its score, for the sake of `separability`."""
        self.pictures: dict[str, Image.Image] = {}
        """Sheets that metrics have drawn, by name; `measure` keeps them beside its record."""
        self.separability: dict[str, Separability] = {}
        """Hyperplanes and entropies in each space, once separability has been measured."""

    @property
    def exact(self) -> torch.device:
        """Device of computations in float64."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")

    @cached_property
    def sampler(self) -> Sampler:
        if self.generator is None:
            raise InputError("this metric needs a generator, not a set of images; use fid50k, kid50k, pr50k or is50k")
        labels = None
        if self.draws_labels_of_data:
            store, classes = open_store(self._need_store()), self.generator.config.label_count
            if store.label_count != classes:
                raise InputError(
                    f"the generator has {classes} classes but {self.data} has {store.label_count}; use --labels none"
                )
            labels = store.labels
        return Sampler(self.generator, seed=self.config.seed, labels=labels, latents=self.config.mix)

    @cached_property
    def extractor(self) -> Extractor:
        return load_extractor(self.config.extractor).to(self.device)

    @cached_property
    def distance(self) -> Distance:
        return load_distance(self.config.distance).to(self.device)

    @cached_property
    def classifiers(self) -> AttributeClassifiers:
        return load_classifiers(self.config.classifiers or self._fitting_classifiers()).to(self.device)

    @cached_property
    def reals(self) -> Images:
        """A store's at the size of what is measured, where it has that."""
        mirror = bool(self.config.mirror)
        return open_images(self._need_data(), self.config.reals, mirror=mirror, resolution=self._level)

    @cached_property
    def training(self) -> Images:
        """The images that were trained on, as they are."""
        return open_images(self._need_data(), "training", resolution=self._level)

    @cached_property
    def held_out(self) -> Images | None:
        """A store's images that were not trained on; None where there are none."""
        data = self._need_data()
        if not isinstance(data, Path | str) or not is_store(data) or not open_store(data).held_out_count:
            return None
        return open_images(data, "held-out", resolution=self._level)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of what is measured."""
        if self.generator is None:
            return self.fakes.size
        return (self.generator.config.resolution, self.generator.config.resolution)

    @property
    def _level(self) -> int | None:
        """The resolution at which a store's images are compared with what is measured; None for the store's own."""
        height, width = self.size
        return height if height == width else None

    @property
    def draws_labels_of_data(self) -> bool:
        """Whether the generator draws classes as frequently as the reals have them."""
        return bool(self.generator and self.generator.config.label_count and self.config.labels == "data")

    @property
    def fakes(self) -> Images:
        return self._fakes or stream.images_of_generator(self.sampler)

    def images(self, which: Set) -> Images:
        """One of the sets of images that metrics look at."""
        images = getattr(self, which)
        if images is None:
            raise InputError(f"{self.data} has no held-out images; prepare it with --hold-out")
        return images

    def count(self, which: Set, wanted: int) -> int:
        """How many images are looked at: so many, or all where there are fewer."""
        images = self.images(which)
        return wanted if images.count is None else min(wanted, images.count)

    def features(self, which: Set, count: int) -> dict[str, Tensor]:
        """Features and logits of so many images, or of all where there are fewer."""
        images, count = self.images(which), self.count(which, count)
        if (which, count) not in self._features:
            options = {"batch": self.config.batch, "device": self.device, "progress": self.progress}
            self._features[which, count] = stream.extract_cached(images, self.extractor, count, **options)
        return self._features[which, count]

    def small_images(self, which: Set, count: int) -> Tensor:
        """So many images, or all where there are fewer, small: uint8 [N, 3, 16, 16]."""
        images, count = self.images(which), self.count(which, count)
        key = (f"{which}, small", count)
        if key not in self._features:
            batches = self.in_batches(count, f"pixels of {images.name}")
            parts = ((numbers, memorization.small_images(images.batch(numbers))) for numbers in batches)
            shape = (count, 3, memorization.SIDE, memorization.SIDE)
            self._features[key] = stream.gather(shape, parts, self.device, torch.uint8)
        return self._features[key]

    def forget_fakes(self) -> None:
        """Say that the generator has changed."""
        self._features = {key: found for key, found in self._features.items() if not key[0].startswith("fakes")}

    def in_batches(self, count: int, name: str) -> Iterator[np.ndarray]:
        return stream.numbers_in_batches(count, self.config.batch, name, progress=self.progress)

    def _need_data(self) -> Pictures:
        if self.data is None:
            raise InputError("this metric compares with reals; name a store with --data")
        return self.data

    def _need_store(self) -> Path | str:
        data = self._need_data()
        if not isinstance(data, Path | str):
            raise InputError("the classes of reals are those of a store; name one, or set labels to none")
        return data

    def _fitting_classifiers(self) -> str:
        """The bundled classifiers of the store's attributes."""
        if isinstance(self.data, Path | str):
            wanted = set(open_store(self.data).attribute_names)
            for name in bundled_classifiers():
                if wanted == set(load_classifiers(name).names):
                    return name
        raise InputError(
            "ls needs attribute classifiers: name some with --classifiers, or train them on a store with attributes: "
            "stylegan classifiers STORE FILE"
        )


# --- the metrics; each takes an evaluation and a count and returns its values


def fid(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Frechet inception distance (Heusel et al., 2017)."""
    fakes, reals = (evaluation.features(which, count)["features"] for which in ("fakes", "reals"))
    return {"fid": processes.on_first(lambda: distances.frechet(distances.moments(fakes), distances.moments(reals)))}


def kid(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Kernel inception distance (Binkowski et al., 2018), mean and deviation over 100 subsets."""
    fakes, reals = (evaluation.features(which, count)["features"] for which in ("fakes", "reals"))
    mean, deviation = processes.on_first(lambda: distances.kid(fakes.to(evaluation.exact), reals))
    return {"kid": mean, "kid_std": deviation}


def precision_recall(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Improved precision and recall (Kynkaanniemi et al., 2019)."""
    fakes, reals = (evaluation.features(which, count)["features"] for which in ("fakes", "reals"))
    precision, recall = processes.on_first(lambda: distances.precision_recall(fakes.to(evaluation.exact), reals))
    return {"precision": precision, "recall": recall}


def inception_score(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Inception score (Salimans et al., 2016), mean and deviation over 10 splits."""
    logits = evaluation.features("fakes", count)["logits"]
    mean, deviation = distances.inception_score(logits)
    return {"is": mean, "is_std": deviation}


def perceptual_path_length(
    evaluation: Evaluation, count: int, *, space: Literal["z", "w"], sampling: Literal["full", "end"]
) -> dict[str, float]:
    """Perceptual path length (section 4.1): eq. 2 in Z, eq. 3 in W; along the whole path, or at its start alone."""
    sampler, config = evaluation.sampler, evaluation.config

    def images_of(w: Tensor, noise: NoiseInput) -> Tensor:
        return stream.to_rgb(sampler.synthesize(w, noise))

    def parts() -> Iterator[tuple[np.ndarray, Tensor]]:
        for numbers in evaluation.in_batches(count, f"ppl_{space}{sampling}"):
            label, noise = sampler.label(numbers), sampler.noise(numbers) if config.noise == "random" else "const"
            if not isinstance(noise, str):
                noise = [torch.cat([plane, plane]) for plane in noise]  # the same for both ends
            t = torch.zeros(len(numbers), device=evaluation.device)
            if sampling == "full":
                t = sampler.uniform(numbers, "t")
            found = path_length(
                partial(sampler.generator.mapping, labels=label),
                partial(images_of, noise=noise),
                evaluation.distance,
                sampler.z(numbers, "first z"),
                sampler.z(numbers, "second z"),
                t,
                space=space,
                crop=config.crop,
            )
            yield numbers, found

    found = stream.gather((count,), parts(), evaluation.device)
    return {f"ppl_{space}{sampling}": mean_without_outliers(found)}


def linear_separability(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Linear separability in Z and, where there is one, in W (section 4.2)."""
    sampler, batches = evaluation.sampler, evaluation.in_batches(count, "ls")
    z, w, logits = latents_and_logits(sampler, evaluation.classifiers, batches, count)
    spaces = {"w": w, "z": z} if sampler.generator.has_w else {"z": z}
    converged = evaluation.config.svm == "converged"
    workers = min(os.cpu_count() or 1, 8) if converged else 1  # each takes 1.4 GB at the paper's size
    evaluation.separability = processes.on_first(
        lambda: {
            name: separability(latents, logits, converged=converged, workers=workers)
            for name, latents in spaces.items()
        }
    )
    return {f"ls_{name}": found.score for name, found in evaluation.separability.items()}


@torch.no_grad()
def latents_and_logits(
    sampler: Sampler, classifiers: AttributeClassifiers, batches: Iterable[np.ndarray], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """z [count, z_dim] and w [count, w_dim] of samples 0 to count - 1, and the logits of their images, [count, A].

    batches: the numbers that this process draws.
    """
    config, channels = sampler.generator.config, classifiers.channels
    widths = [config.z_dim, config.w_dim, len(classifiers.names)]

    def parts() -> Iterator[tuple[np.ndarray, Tensor]]:
        for numbers in batches:
            z = sampler.z(numbers)
            w = sampler.generator.mapping(z, sampler.label(numbers))
            images = sampler.synthesize(w, sampler.noise(numbers))
            yield numbers, torch.cat([z, w[:, -1], classifiers(stream.to_channels(images, channels))], dim=1)

    z, w, logits = stream.gather((count, sum(widths)), parts(), sampler.device).split(widths, dim=1)
    return z, w, logits


# --- what metrics need, and the table of them


@dataclass(frozen=True)
class Need:
    """Something that metrics look at: what of the configuration decides it, and when it cannot be had."""

    settings: Callable[[Evaluation, int], dict[str, Any]]
    """What the record says of it, given the number of samples. Loads what is needed, so that what is missing is said
    before anything is measured (InputError)."""
    lacking: Callable[[Evaluation], str] = lambda evaluation: ""
    """Why it cannot be had of what is measured; "" where it can."""


def _extractor_settings(evaluation: Evaluation, count: int) -> dict[str, Any]:
    tool = evaluation.extractor
    latents = evaluation.config.mix
    return {"extractor": tool.name, "checksum": tool.checksum, "resize": tool.resize, "latents": latents}


def reals_settings(evaluation: Evaluation, count: int) -> dict[str, Any]:
    """What the record says of the reals."""
    reals = evaluation.reals
    return {
        "reals": reals.name,
        "reals_identity": reals.identity,
        "mirror": bool(evaluation.config.mirror),
        "reals_count": evaluation.count("reals", count),
    }


def _path_settings(evaluation: Evaluation, count: int) -> dict[str, Any]:
    config, tool = evaluation.config, evaluation.distance
    how = {"crop": config.crop, "noise": config.noise, "epsilon": EPSILON}
    return {"distance": tool.name, "checksum": tool.checksum, **how}


def _classifier_settings(evaluation: Evaluation, count: int) -> dict[str, Any]:
    need_scikit_learn()
    tool = evaluation.classifiers
    tool.check(evaluation.sampler.generator.config)
    return {"classifiers": tool.name, "checksum": tool.checksum, "svm": evaluation.config.svm}


def _lacks_logits(evaluation: Evaluation) -> str:
    has = evaluation.extractor.logit_count
    return "" if has else f"the extractor {evaluation.extractor.name} has no logits for is50k; use inception"


def _lacks_generator(evaluation: Evaluation) -> str:
    return "" if evaluation.generator else "this metric needs a generator, not a set of images"


def _lacks_w(evaluation: Evaluation) -> str:
    if evaluation.generator and not evaluation.generator.has_w:
        return "a traditional generator without mapping layers has no W; use ppl_zfull and ppl_zend"
    return ""


def _training_settings(evaluation: Evaluation, count: int) -> dict[str, Any]:
    training, held_out = evaluation.training, evaluation.held_out
    return {
        "training": training.name,
        "training_identity": training.identity,
        "training_count": evaluation.count("training", MOST_TRAINING),
        "held_out": held_out.identity if held_out else "",
        "held_out_count": evaluation.count("held_out", count) if held_out else 0,
    }


FEATURES = Need(_extractor_settings)
REALS = Need(reals_settings)
TRAINING = Need(_training_settings)
LOGITS = Need(_extractor_settings, _lacks_logits)
PATHS = Need(_path_settings, _lacks_generator)
W = Need(lambda evaluation, count: {}, _lacks_w)
CLASSIFIERS = Need(_classifier_settings, _lacks_generator)


@dataclass(frozen=True)
class Metric:
    """A metric: its function, how many samples it takes, what it needs, and which values are better."""

    measure: Callable[[Evaluation, int], dict[str, float]]
    """Values by name, of so many samples."""
    count: int
    needs: tuple[Need, ...]
    better: Literal["lower", "higher"] = "lower"

    def lacking(self, evaluation: Evaluation) -> str:
        """Why it cannot be measured; "" where it can."""
        return next((sentence for need in self.needs if (sentence := need.lacking(evaluation))), "")


def _ppl(space: Literal["z", "w"], sampling: Literal["full", "end"]) -> Metric:
    def measure(evaluation: Evaluation, count: int) -> dict[str, float]:
        return perceptual_path_length(evaluation, count, space=space, sampling=sampling)

    return Metric(measure, 100_000, (PATHS, W) if space == "w" else (PATHS,))


METRICS = {
    "fid50k": Metric(fid, 50_000, (FEATURES, REALS)),
    "kid50k": Metric(kid, 50_000, (FEATURES, REALS)),
    "pr50k": Metric(precision_recall, 50_000, (FEATURES, REALS), "higher"),
    "memorization": Metric(memorized, 10_000, (FEATURES, TRAINING), "higher"),
    "is50k": Metric(inception_score, 50_000, (LOGITS,), "higher"),
    "ppl_zfull": _ppl("z", "full"),
    "ppl_zend": _ppl("z", "end"),
    "ppl_wfull": _ppl("w", "full"),
    "ppl_wend": _ppl("w", "end"),
    "ls": Metric(linear_separability, 200_000, (CLASSIFIERS,)),
}
