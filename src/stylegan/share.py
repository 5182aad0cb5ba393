"""A model's page on the Hugging Face Hub: samples and a model card, beside the model itself."""

import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from stylegan import weights
from stylegan.images import crop_padding, enlarge, grid, save_image, to_uint8
from stylegan.interop import hub
from stylegan.interop.hub import CARD_FILE, CONFIG_FILE, MODEL_FILE, repo_of
from stylegan.metrics.record import read_record
from stylegan.metrics.subject import checksum
from stylegan.networks import ops
from stylegan.recipe import Recipe, batches

SAMPLES_FILE = "samples.png"
SEEDS = range(16)
LARGEST_SAMPLE, SMALLEST_SAMPLE = 256, 96  # pixels

# identifiers of licenses that the hub knows
LICENSES = (
    "apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "mpl-2.0", "unlicense",
    "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0",
    "openrail", "creativeml-openrail-m", "odbl", "pddl",
)  # fmt: skip


def write_folder(folder: Path, model: weights.Model, name: str, record: Path | None, *, half: bool = False) -> None:
    """Write what the hub gets of a model into an empty folder: model.safetensors, config.json, samples.png, README.md.

    name: the repository, user/model. record: a metrics.jsonl, whose scores of this very generator go into the card.
    half: store float16.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights.save(folder / MODEL_FILE, model, half=half)
    (folder / CONFIG_FILE).write_text(json.dumps(weights.header_of(model), indent=2) + "\n", encoding="utf-8")
    save_image(samples(model), folder / SAMPLES_FILE, sheet=True)
    own = checksum(model.generator)
    scores = [line for line in (read_record(record) if record else []) if line.get("model_checksum") == own]
    (folder / CARD_FILE).write_text(card(model, name, scores), encoding="utf-8", errors="backslashreplace")


def publish(model: weights.Model, name: str, record: Path | None, *, half: bool = False, private: bool = False) -> str:
    """Send the same to the hub, and return the address of its page. private: only its owner can see it."""
    with TemporaryDirectory() as folder:
        write_folder(Path(folder), model, name, record, half=half)
        return hub.upload(Path(folder), name, private=private)


def samples(model: weights.Model) -> Tensor:
    """The images of the first sixteen seeds as one, uint8 [C, H, W]: none chosen, classes in turn."""
    generator, drawn = model.generator, []
    for batch in batches(generator, Recipe(SEEDS), batch=4):
        while batch.shape[3] > LARGEST_SAMPLE:
            batch = ops.downsample(batch)
        drawn.append(to_uint8(crop_padding(batch, generator.config.aspect)))
    images = torch.cat(drawn)
    return enlarge(grid(images, columns=8), max(1, SMALLEST_SAMPLE // images.shape[3]))


def card(model: weights.Model, name: str, scores: list[dict[str, Any]]) -> str:
    """The model card: front matter for the hub's search, then what a user wants to know, in Markdown."""
    config, provenance, repo = model.generator.config, model.provenance, repo_of(name).id
    resolution, fade = model.generator.synthesis.grown
    kind = "A style-based generator" if config.use_styles else "A traditional (progressively grown) generator"
    colors = {1: "gray", 3: "RGB", 4: "RGBA"}[config.channels]
    training = {
        "data set": provenance.data,
        "images seen": f"{provenance.images_seen:,}" if provenance.images_seen else "",
        "configuration": provenance.preset,
        "classes": str(config.label_count or ""),
        "growth": f"the {resolution} x {resolution} images are still being faded in, {1 - fade:.0%}" if fade else "",
        "parameters": f"{sum(p.numel() for p in model.generator.parameters()):,}",
    }
    parts = [
        _front_matter(provenance),
        f"# {repo.split('/')[1]}",
        f"{kind} of {resolution} x {resolution} {colors} images "
        "(Karras, Laine, Aila: *A Style-Based Generator Architecture for Generative Adversarial Networks*, 2018).",
        f"![Samples]({SAMPLES_FILE})",
        f"*Seeds {SEEDS[0]} to {SEEDS[-1]}, truncation psi {_psi(model):g}; none chosen.*",
        "## Use",
        f"```sh\npip install 'stylegan[hub]'\nstylegan generate hf://{repo} --seeds 0-31 --out pictures\n```",
        _python_use(model, repo),
        f"`{MODEL_FILE}` is the network with its configuration in the header; `{CONFIG_FILE}` repeats that.",
        "## Training",
        _table([("", ""), *((key, value) for key, value in training.items() if value)]),
    ]
    if scores:
        header = ("metric", "value", "samples", "compared with", "looked at with")
        parts += ["## Scores", _table([header, *map(_row_of_score, scores)])]
    license = f"The weights: {provenance.licence}." if provenance.licence else "Whoever published this states none."
    parts += ["## License", license]
    if provenance.notes:
        parts += ["## Notes", provenance.notes]
    return "\n\n".join(parts) + "\n"


def _python_use(model: weights.Model, repo: str) -> str:
    channels, resolution = model.generator.config.channels, model.generator.synthesis.grown.resolution
    return "\n".join(
        [
            "```python",
            "import stylegan",
            "",
            f'images = stylegan.draw("hf://{repo}", range(8))',
            f"# uint8 [8, {channels}, {resolution}, {resolution}]",
            "```",
        ]
    )


def _psi(model: weights.Model) -> float:
    return model.generator.truncation.psi


def _front_matter(provenance: weights.Provenance) -> str:
    """Metadata for the hub's pages and search: YAML, of which JSON's values are a part."""
    fields: dict[str, Any] = {}
    if provenance.licence.lower() in LICENSES:
        fields["license"] = provenance.licence.lower()
    elif provenance.licence:
        fields |= {"license": "other", "license_name": re.sub(r"[^a-z0-9.]+", "-", provenance.licence.lower())}
    fields |= {
        "library_name": "stylegan",
        "pipeline_tag": "unconditional-image-generation",
        "tags": ["stylegan", "gan", "image-generation"],
    }
    if re.fullmatch(r"[\w.-]+/[\w.-]+", provenance.data, re.ASCII):  # a data set of the hub
        fields["datasets"] = [provenance.data]
    lines = [f"{key}: {json.dumps(value)}" for key, value in fields.items()]
    return "\n".join(["---", *lines, "---"])


def _row_of_score(line: dict[str, Any]) -> tuple[str, ...]:
    """One line of a metrics.jsonl as a row."""
    values = ", ".join(f"{name} {value:.4g}" for name, value in line["values"].items())
    tool = next((str(line[key]) for key in ("extractor", "distance", "classifiers") if key in line), "")
    return str(line["metric"]), values, f"{line.get('count', 0):,}", str(line.get("reals", "")), tool


def _table(rows: list[tuple[str, ...]]) -> str:
    """Rows, the first of them the header, as a Markdown table."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
