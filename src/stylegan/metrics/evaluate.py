"""Measure a generator, or a set of images, against a set of reals. `METRICS` says what there is."""

import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from stylegan import distributed
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.metrics import distances, stream
from stylegan.metrics.classifiers import AttributeClassifiers, bundled_classifiers, load_classifiers
from stylegan.metrics.extractors import Distance, Extractor, load_distance, load_extractor
from stylegan.metrics.path_length import EPSILON, mean_without_outliers, path_length
from stylegan.metrics.separability import Separability, separability
from stylegan.metrics.stream import Images, Sampler
from stylegan.networks.generator import Generator


@dataclass(frozen=True)
class EvaluateConfig:
    """How is measured. The defaults are the official code's, but for labels, the noise of path lengths and the SVM."""

    metrics: tuple[str, ...] = ("fid50k",)
    """Any of fid50k kid50k pr50k is50k ppl_zfull ppl_zend ppl_wfull ppl_wend ls, or all."""
    count: int | None = None
    """Samples, instead of each metric's own number; a figure at another count is another figure."""
    extractor: str = "inception"
    """Features of fid, kid, pr and is: inception (fetched), or inception=FILE, mobilenet-v2=FILE (safetensors)."""
    distance: str = "lpips"
    """Of path lengths: lpips (fetched), or mobilenet-v2=FILE."""
    classifiers: str | None = None
    """Of ls: a file of `stylegan classifiers`, a bundled one, or a folder of the official pickles."""
    crop: Literal["face", "none"] = "face"
    """Of path lengths: face as in the official code, for all data; none where it makes no sense."""
    noise: Literal["random", "const"] = "random"
    """Of path lengths: each pair of images has planes of its own, or all have the network's."""
    labels: Literal["data", "none"] = "data"
    """Classes that a conditional generator draws: as frequent as in the store, or none as in the official code."""
    svm: Literal["converged", "official"] = "converged"
    """Of ls: hyperplanes at their optimum, or as the official code's 1,000 iterations leave them, which fits worse
    and takes some forty times as long."""
    mix: int = 1
    """Of fid, kid, pr and is: mix so many latents into each image, at random layers (table 2)."""
    mirror: bool | None = None
    """Flip half of the reals; unless given, as the model's training did, where its run.json is beside it."""
    seed: int = 0
    """Of the samples."""
    batch: int = 16
    """Images at a time."""

    def __post_init__(self) -> None:
        names = tuple(name for text in self.metrics for name in text.split(",") if name)
        object.__setattr__(self, "metrics", names)  # fid50k,ls is as good as fid50k ls
        for name in names:
            if name not in METRICS and name != "all":
                raise InputError(f"there is no metric {name}; use some of: {', '.join(METRICS)}, or all")
        if min(self.batch, self.mix) < 1 or (self.count is not None and self.count < 2):
            raise InputError("batch and mix must be 1 or more, and count 2 or more")


class Evaluation:
    """What the metrics draw on. Everything is made when it is first asked for, and features are made once."""

    def __init__(
        self,
        config: EvaluateConfig,
        device: torch.device,
        *,
        generator: Generator | None = None,
        images: Images | None = None,
        data: Path | str | None = None,
        progress: bool = True,
    ) -> None:
        """generator or images: what is measured. data: the reals, a store (or a folder or zip file)."""
        self.config, self.device, self.generator, self.progress = config, device, generator, progress
        self.data = data
        self._fakes, self._features = images, {}
        self.wants_directions = False
        """Measure `ls` even where the record has its figure."""
        self.separability: dict[str, Separability] = {}
        """What `ls` found in each space, for whoever wants the hyperplanes."""

    @property
    def exact(self) -> torch.device:
        """Where float64 is computed."""
        return self.device if self.device.type == "cuda" else torch.device("cpu")

    @cached_property
    def sampler(self) -> Sampler:
        if self.generator is None:
            raise InputError("this metric needs a generator, not a set of images; use fid50k, kid50k, pr50k or is50k")
        labels = None
        if self.generator.config.label_count and self.config.labels == "data":
            store, classes = open_store(self._need_data()), self.generator.config.label_count
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
        return stream.open_images(self._need_data(), mirror=bool(self.config.mirror))

    @property
    def fakes(self) -> Images:
        return self._fakes or stream.images_of_generator(self.sampler)

    def count(self, which: Literal["reals", "fakes"], wanted: int) -> int:
        """How many images are looked at: so many, or all where there are fewer."""
        images = self.reals if which == "reals" else self.fakes
        return wanted if images.count is None else min(wanted, images.count)

    def features(self, which: Literal["reals", "fakes"], count: int) -> dict[str, Tensor]:
        """Features and logits of so many images, or of all where there are fewer."""
        images, count = self.reals if which == "reals" else self.fakes, self.count(which, count)
        if (which, count) not in self._features:
            options = {"batch": self.config.batch, "device": self.device, "progress": self.progress}
            self._features[which, count] = stream.extract_cached(images, self.extractor, count, **options)
        return self._features[which, count]

    def forget_fakes(self) -> None:
        """Say that the generator has changed."""
        self._features = {key: found for key, found in self._features.items() if key[0] == "reals"}

    def in_batches(self, count: int, name: str) -> Iterator[np.ndarray]:
        return stream.numbers_in_batches(count, self.config.batch, name, progress=self.progress)

    def _need_data(self) -> Path | str:
        if self.data is None:
            raise InputError("this metric compares with reals; name a store with --data")
        return self.data

    def _fitting_classifiers(self) -> str:
        """The bundled classifiers of the store's attributes."""
        if self.data is not None:
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
    return {"fid": distributed.on_first(lambda: distances.frechet(distances.moments(fakes), distances.moments(reals)))}


def kid(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Kernel inception distance (Binkowski et al., 2018), mean and deviation over 100 subsets."""
    fakes, reals = (evaluation.features(which, count)["features"] for which in ("fakes", "reals"))
    mean, deviation = distributed.on_first(lambda: distances.kid(fakes.to(evaluation.exact), reals))
    return {"kid": mean, "kid_std": deviation}


def precision_recall(evaluation: Evaluation, count: int) -> dict[str, float]:
    """Improved precision and recall (Kynkaanniemi et al., 2019)."""
    fakes, reals = (evaluation.features(which, count)["features"] for which in ("fakes", "reals"))
    precision, recall = distributed.on_first(lambda: distances.precision_recall(fakes.to(evaluation.exact), reals))
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

    def parts() -> Iterator[tuple[np.ndarray, Tensor]]:
        for numbers in evaluation.in_batches(count, f"ppl_{space}{sampling}"):
            label, noise = sampler.label(numbers), sampler.noise(numbers) if config.noise == "random" else "const"
            if not isinstance(noise, str):
                noise = [torch.cat([plane, plane]) for plane in noise]  # the same for both ends
            t = torch.zeros(len(numbers), device=evaluation.device)
            if sampling == "full":
                t = sampler.uniform(numbers, "t")
            found = path_length(
                lambda z, label=label: sampler.generator.mapping(z, label),
                lambda w, noise=noise: stream.to_rgb(sampler.synthesize(w, noise)),
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
    evaluation.separability = distributed.on_first(
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
    config, channels = sampler.generator.config, classifiers.networks[0].config.channels
    widths = [config.z_dim, config.w_dim, len(classifiers.names)]

    def parts() -> Iterator[tuple[np.ndarray, Tensor]]:
        for numbers in batches:
            z = sampler.z(numbers)
            w = sampler.generator.mapping(z, sampler.label(numbers))
            images = sampler.synthesize(w, sampler.noise(numbers))
            yield numbers, torch.cat([z, w[:, -1], classifiers(stream.to_channels(images, channels))], dim=1)

    z, w, logits = stream.gather((count, sum(widths)), parts(), sampler.device).split(widths, dim=1)
    return z, w, logits


def _ppl(space: Literal["z", "w"], sampling: Literal["full", "end"]) -> Callable:
    return lambda evaluation, count: perceptual_path_length(evaluation, count, space=space, sampling=sampling)


@dataclass(frozen=True)
class Metric:
    """A metric, how many samples it takes, what it looks at the images with, and which way is better."""

    measure: Callable[[Evaluation, int], dict[str, float]]
    count: int
    looks_with: Literal["extractor", "distance", "classifiers"]
    better: Literal["lower", "higher"] = "lower"


METRICS = {
    "fid50k": Metric(fid, 50_000, "extractor"),
    "kid50k": Metric(kid, 50_000, "extractor"),
    "pr50k": Metric(precision_recall, 50_000, "extractor", "higher"),
    "is50k": Metric(inception_score, 50_000, "extractor", "higher"),
    "ppl_zfull": Metric(_ppl("z", "full"), 100_000, "distance"),
    "ppl_zend": Metric(_ppl("z", "end"), 100_000, "distance"),
    "ppl_wfull": Metric(_ppl("w", "full"), 100_000, "distance"),
    "ppl_wend": Metric(_ppl("w", "end"), 100_000, "distance"),
    "ls": Metric(linear_separability, 200_000, "classifiers"),
}


# --- all of them, with a record


def evaluate(evaluation: Evaluation, record: Path, provenance: dict[str, Any]) -> list[dict[str, Any]]:
    """Measure what the configuration names and add a line for each to the file `record`, as soon as it is done.

    provenance: what else the lines say (the model's name, images_seen, ...). A metric whose line is there already, with
    all the same settings, is not measured again. Returns the lines, old and new. Raises InputError, before anything is
    measured, where something is missing or does not fit.
    """
    check(evaluation)
    known = distributed.on_first(lambda: read_record(record))
    lines = []
    with distributed.in_precision("float32"):  # a path length's epsilon drowns in anything less
        for name in _names(evaluation):
            settings = provenance | _settings(evaluation, name)
            line = next((k for k in known if {key: k.get(key) for key in settings} == settings), None)
            if line is None or (name == "ls" and evaluation.wants_directions):
                start = time.perf_counter()
                values = METRICS[name].measure(evaluation, evaluation.config.count or METRICS[name].count)
                line = settings | {"values": values, "seconds": round(time.perf_counter() - start, 1)}
                if distributed.rank() == 0:
                    add_to_record(record, line)
            lines.append(line)
    return lines


def read_record(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without what was cut short or is something else."""
    lines = []
    for text in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("values"), dict) and line.get("metric") in METRICS:
            lines.append(line)
    return lines


def add_to_record(path: Path, line: dict[str, Any]) -> None:
    """Add a line to a metrics.jsonl."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_short = path.exists() and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write("\n" * cut_short + json.dumps(line) + "\n")


def is_best(line: dict[str, Any], record: list[dict[str, Any]]) -> bool:
    """Whether the first value of a line is the best in a record among those measured in the same way."""

    def way(of: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in of.items() if k not in ("images_seen", "model", "model_checksum", "values", "seconds")}

    name = next(iter(line["values"]))
    rivals = [k["values"][name] for k in record if way(k) == way(line)]
    rivals = [value for value in rivals if math.isfinite(value)]
    best = (max if METRICS[line["metric"]].better == "higher" else min)(rivals, default=None)
    return line["values"][name] == best


def checksum(generator: Generator) -> str:
    """SHA-256 (hex) of a generator's weights and buffers as float32."""
    digest = hashlib.sha256()
    for name, tensor in generator.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _names(evaluation: Evaluation) -> list[str]:
    """The metrics asked for; of all those that what is measured, and the extractor, allow."""
    if "all" not in evaluation.config.metrics:
        return list(dict.fromkeys(evaluation.config.metrics))
    generator = evaluation.generator
    names = [name for name in METRICS if generator is not None or METRICS[name].looks_with == "extractor"]
    if generator is not None and not generator.has_w:
        names = [name for name in names if not name.startswith("ppl_w")]
    return [name for name in names if name != "is50k" or evaluation.extractor.logit_count]


def _settings(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Everything that a figure depends on."""
    config, metric = evaluation.config, METRICS[name]
    tool = getattr(evaluation, metric.looks_with)
    count = config.count or metric.count
    settings = {
        "metric": name,
        "count": evaluation.count("fakes", count),
        "seed": config.seed,
        "truncation": 1.0,
        metric.looks_with: tool.name,
        "checksum": tool.checksum,
    }
    if evaluation.generator is not None:
        settings |= {"model_checksum": checksum(evaluation.generator)}
        if evaluation.generator.config.label_count:
            settings |= {"labels": config.labels}
    if metric.looks_with == "extractor":
        settings |= {"resize": tool.resize, "latents": config.mix}
    if metric.looks_with == "classifiers":
        settings |= {"svm": config.svm}
    if metric.looks_with == "distance":
        settings |= {"crop": config.crop, "noise": config.noise, "epsilon": EPSILON}
    if (metric.looks_with == "extractor" and name != "is50k") or settings.get("labels") == "data":
        reals = evaluation.reals
        settings |= {"reals": reals.name, "reals_identity": reals.identity, "mirror": bool(config.mirror)}
        settings |= {"reals_count": evaluation.count("reals", count)}
    return settings


def check(evaluation: Evaluation) -> None:
    """Load what the metrics will need and see whether they fit, so that it is said before hours of work, not after.

    Raises InputError.
    """
    names = _names(evaluation)
    if evaluation.wants_directions and "ls" not in names:
        raise InputError("directions come from ls: add it to --metrics")
    for name in names:
        _settings(evaluation, name)
        if METRICS[name].looks_with != "extractor":
            generator = evaluation.sampler.generator
            if name.startswith("ppl_w") and not generator.has_w:
                raise InputError("a traditional generator without mapping layers has no W; use ppl_zfull and ppl_zend")
        if name == "is50k" and not evaluation.extractor.logit_count:
            raise InputError(f"the extractor {evaluation.config.extractor} has no logits for is50k; use inception")
        if name == "ls":
            evaluation.classifiers.check(evaluation.sampler.generator.config)
