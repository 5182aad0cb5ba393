"""Measure a generator, or a set of images, against a set of reals, with a record: `evaluate`."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from stylegan import processes
from stylegan.device import in_precision, pick_device
from stylegan.errors import InputError, InputWarning
from stylegan.images import save_image
from stylegan.metrics.metric import CLASSIFIERS, METRICS, REALS, TRAINING, EvaluateConfig, Evaluation, reals_settings
from stylegan.metrics.record import add_to_record, find_line, named_values, read_record
from stylegan.metrics.subject import Pictures, checksum, open_subject
from stylegan.networks.generator import Generator
from stylegan.resolutions import is_resolution


def evaluate(
    subject: Generator | Pictures,
    data: Pictures | None = None,
    metrics: Sequence[str] | str | None = None,
    config: EvaluateConfig | None = None,
    *,
    device: str = "auto",
    record: Path | str | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Measure a generator or images in one call: {"fid": 4.4, ...}, or {"fid_mobilenet-v2": 4.4, ...} where another
    network than Inception looks at the images (or another than LPIPS, for path lengths).

        stylegan.evaluate("run", "store", ["fid50k", "ppl_wend"])

    subject: a `Generator`; the name of a model, as for `stylegan.load`; a store, folder or zip file of images; or
    images, a tensor [N, C, H, W] or an array [N, H, W, C], uint8 or floats in [-1, 1]. data: the reals, of the same
    kinds but a model; needed by fid50k, kid50k and pr50k. Of a store that holds images out from training, the reals
    are these (`EvaluateConfig.reals`). metrics: names of `METRICS`; those of `config` by default. config: everything
    else. device: where a model that is read goes to; a `Generator` stays where it is. record: a metrics.jsonl, in
    which scores are looked up before they are measured, and to which they are added.

    Raises InputError where something is missing or does not fit.
    """
    config = config or EvaluateConfig()
    if metrics is not None:
        config = replace(config, metrics=(metrics,) if isinstance(metrics, str) else tuple(metrics))
    chosen = subject.w_avg.device if isinstance(subject, Generator) else pick_device(device)
    evaluation, provenance = open_evaluation(subject, data, config, chosen, progress=progress)[:2]
    lines = measure(evaluation, None if record is None else Path(record), provenance)
    return {name: value for line in lines for name, value in named_values(line).items()}


def open_evaluation(
    subject: Generator | Pictures,
    data: Pictures | None,
    config: EvaluateConfig,
    device: torch.device,
    *,
    progress: bool = True,
) -> tuple[Evaluation, dict[str, Any], Path]:
    """An evaluation of `subject` (see `evaluate`), what the record says of that, and the folder for the record.

    The reals are mirrored as the model's training did, unless `config` says something else. Raises InputError.
    """
    opened = open_subject(subject, device)
    if config.mirror is None:
        config = replace(config, mirror=opened.was_mirrored())
    of = {"generator": opened.generator, "images": opened.images}
    return Evaluation(config, device, **of, data=data, progress=progress), opened.provenance, opened.home


def _add_or_warn(record: Path, line: dict[str, Any]) -> None:
    """Add a line to the record; where that cannot be, nothing that was measured is lost by it."""
    try:
        add_to_record(record, line)
    except OSError as error:
        reason = error.strerror or error
        warnings.warn(f"the scores are not recorded: {record} cannot be written ({reason})", InputWarning, stacklevel=2)


def measure(
    evaluation: Evaluation,
    record: Path | None,
    provenance: dict[str, Any],
    *,
    add: Callable[[Path, dict[str, Any]], None] = _add_or_warn,
) -> list[dict[str, Any]]:
    """Measure what the configuration names: a line for each metric, added to the file `record` as soon as it is done.

    provenance: what else the lines say (the model's name, images_seen, ...). A metric whose line is there already, with
    all the same settings, is not measured again. Returns the lines, old and new. Raises InputError, before anything is
    measured, where something is missing or does not fit.
    """
    names = check(evaluation)
    known = processes.on_first(lambda: read_record(record)) if record else []
    lines = []
    with in_precision("float32"):  # a path length's epsilon drowns in anything less
        for name in names:
            metric = METRICS[name]
            settings = provenance | _settings(evaluation, name)
            line = find_line(known, settings)
            if line is None or (evaluation.wants_hyperplanes and CLASSIFIERS in metric.needs):
                start = time.perf_counter()
                values = metric.measure(evaluation, evaluation.config.count or metric.count)
                line = settings | {"values": values, "seconds": round(time.perf_counter() - start, 1)}
                if record:
                    processes.in_first(partial(add, record, line))
                    processes.in_first(partial(_keep_pictures, evaluation, record.parent))
            lines.append(line)
    return lines


def check(evaluation: Evaluation) -> list[str]:
    """Load what the metrics will need, so that what is missing is said before hours of work; their names.

    Of all those that what is measured, and the extractor, allow. Warns where sizes differ. Raises InputError.
    """
    names = list(dict.fromkeys(evaluation.config.metrics))
    if "all" in names:
        names = [name for name in METRICS if not METRICS[name].lacking(evaluation)]
    if evaluation.wants_hyperplanes and not any(CLASSIFIERS in METRICS[name].needs for name in names):
        of = ", ".join(name for name, metric in METRICS.items() if CLASSIFIERS in metric.needs)
        raise InputError(f"directions come from {of}: add it to --metrics")
    for name in names:
        if sentence := METRICS[name].lacking(evaluation):
            raise InputError(sentence)
        _settings(evaluation, name)
    needs = {need for name in names for need in METRICS[name].needs}
    reals = evaluation.reals if REALS in needs else evaluation.training if TRAINING in needs else None
    if reals is not None and reals.size != evaluation.size:
        (h, w), (other_h, other_w) = evaluation.size, reals.size
        one_size = f"prepare the reals again with --resolution {h}"
        if h != w or not is_resolution(h):
            one_size = "bring both to one size with: stylegan prepare"
        warnings.warn(
            f"images of {w} x {h} are compared with reals of {other_w} x {other_h}, whose sharpness differs; "
            f"{one_size}",
            InputWarning,
            stacklevel=2,
        )
    return names


def _keep_pictures(evaluation: Evaluation, folder: Path) -> None:
    """Write what a metric has drawn beside the record; where that cannot be, it costs no score."""
    for name, picture in evaluation.pictures.items():
        try:
            save_image(picture, folder / f"{name}.png", sheet=True)
        except OSError as error:
            warnings.warn(f"{name}.png cannot be written ({error.strerror or error})", InputWarning, stacklevel=3)
    evaluation.pictures.clear()


def _settings(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """Everything that a score depends on."""
    config, metric = evaluation.config, METRICS[name]
    count = config.count or metric.count
    settings = {
        "metric": name,
        "count": evaluation.count("fakes", count),
        "seed": config.seed,
        "truncation": 1.0,
    }
    if evaluation.generator is not None:
        settings |= {"model_checksum": checksum(evaluation.generator)}
        if evaluation.generator.config.label_count:
            settings |= {"labels": config.labels}
    for need in metric.needs:
        settings |= need.settings(evaluation, count)
    if evaluation.draws_labels_of_data:
        settings |= reals_settings(evaluation, count)
    return settings
