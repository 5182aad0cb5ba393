"""Descriptions of files and folders, as `stylegan info` prints them."""

from pathlib import Path
from typing import Any

from stylegan import dragging, marks, run_files, sampling, weights
from stylegan.config import to_dict
from stylegan.data.store import Store, open_store
from stylegan.data.store_reader import verify
from stylegan.files import kind_of, read_tensors, stored_checksum
from stylegan.metrics.subject import is_store
from stylegan.training import state_file
from stylegan.training.config import TrainingConfig
from stylegan.training.run_folder import options, read_run

_TENSOR_FILES = {
    "stylegan-classifiers": "classifiers",
    "stylegan-directions": "directions",
    "stylegan-encoder": "encoder",
    "stylegan-encoder-state": "encoder's training state",
    "stylegan-latents": "latents",
    "": "tensors",  # features of images, kept for metrics; latents of earlier versions
}
_TOLD = ("attributes", "names", "method", "model", "layers", "noise", "encoder", "images_seen", "fingerprint", "notes")
_NETWORKS = ("classifiers", "encoder", "encoder's training state")  # whose tensors are counted, not listed


def describe(name: Path | str, *, check_pixels: bool = False) -> dict[str, Any]:
    """Facts by name, of a run's folder, a store, a training state, a picture, a model (see `weights.find`), another
    tensor file of this program, or points to drag.

    check_pixels: read all of a store, and hold it against its checksums; all else is checked by being read. Raises
    InputError where it is none of these, or is damaged.
    """
    path = Path(name)
    if (path / "run.json").exists():
        return describe_run(path)
    if path.is_dir() and (is_store(path) or not weights.is_bundled(name)):
        return describe_store(path, check_pixels=check_pixels)
    if path.suffix == ".pt":
        return describe_state(path)
    if path.suffix in (".png", ".mp4", ".gif"):
        return describe_picture(path)
    if path.suffix == ".safetensors" and path.is_file() and kind_of(path) in _TENSOR_FILES:
        return describe_tensors(path)
    if path.suffix == ".npy" and path.is_file():
        return describe_array(path)
    if path.suffix == ".json" and path.is_file():
        return describe_points(path)
    return describe_model(name)


def describe_run(folder: Path) -> dict[str, Any]:
    """Facts of a training run, with the options that differ from the paper's (config f). Raises InputError.

    A report that was cut short is passed over.
    """
    config, defaults = read_run(folder), options(TrainingConfig())
    return {
        "kind": "run",
        "preset": config.preset,
        "data": config.data,
        **({"started from": config.start_from} if config.start_from else {}),
        **({"taken over": list(config.taken_over)} if config.taken_over else {}),
        **({"images before": config.images_before} if config.images_before else {}),
        "total kimg": config.schedule.total_kimg,
        "models": [file.name for file in run_files.own(folder, "model")],
        "states": [file.name for file in run_files.own(folder, "state")],
        "last report": next(reversed(run_files.read_stats(folder)), "none yet"),
        "options": {
            name: value
            for name, value in options(config).items()
            if value != defaults[name] and name not in ("data", "preset", "start_from", "taken_over", "images_before")
        },
    }


def describe_store(path: Path, *, check_pixels: bool = False) -> dict[str, Any]:
    """Facts of a store of training images. check_pixels: after it has been read whole. Raises InputError."""
    store = open_store(path)
    return {
        "kind": "store",
        "images": store.count,
        **({"held out": store.held_out_count} if store.held_out_count else {}),
        "resolution": store.resolution,
        "channels": store.channels,
        "classes": list(store.label_names),
        "attributes": list(store.attribute_names),
        "made": store.made,
        "content hash": store.content_hash,
        "checked": verify(store) if check_pixels else _what_is_checked(store),
    }


def _what_is_checked(store: Store) -> str:
    if store.checksums is None:
        return (
            "sizes only: a store of an earlier version, without checksums; --verify holds it against its content hash"
        )
    return "labels; each image when it is first read; all by --verify"


def describe_state(path: Path) -> dict[str, Any]:
    """Facts of a training state. Raises InputError."""
    state = state_file.load(path)
    shown = ("images_seen", "tick", "seconds", "resolution_and_fade", "skipped", "data")
    return {"kind": "training state", **{key: state[key] for key in shown}}


def describe_picture(path: Path) -> dict[str, Any]:
    """How a picture or a video of this program was made, as its file says. Raises InputError."""
    made = marks.read(path)
    told = {key: value for key, value in made.items() if key not in ("given", "rest")}
    return {"kind": "picture", "file": str(path), **told, **({"w": "kept in the file"} if "w" in made else {})}


def describe_model(name: Path | str) -> dict[str, Any]:
    """Facts of a model: its networks, growth, truncation and provenance. Raises InputError."""
    path = weights.find(name)
    model = weights.load_model(path)
    networks = {
        "generator": model.generator,
        "raw generator": model.raw_generator,
        "discriminator": model.discriminator,
    }
    resolution, fade = model.generator.synthesis.grown
    return {
        "kind": "model",
        "file": str(path),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        **({"checksum": _checksum(path)} if path.suffix == ".safetensors" else {}),
        "draws": f"{resolution} x {resolution}" + (f", fading in ({1 - fade:.0%})" if fade else ""),
        **{key: value for key, value in vars(model.provenance).items() if value},
        "parameters": {k: sum(p.numel() for p in n.parameters()) for k, n in networks.items() if n is not None},
        "truncation": model.generator.truncation._asdict(),
        "generator": to_dict(model.generator.config),
    }


def describe_tensors(path: Path) -> dict[str, Any]:
    """Facts of a file of classifiers, directions, latents, an encoder, or tensors without a kind. Raises InputError."""
    kind = kind_of(path) or ""
    what = f"a file of {_TENSOR_FILES[kind]}"
    header, tensors = read_tensors(path, what, kind=kind or None)
    return {
        "kind": _TENSOR_FILES[kind],
        "file": str(path),
        "megabytes": round(path.stat().st_size / 1e6, 2),
        "checksum": _checksum(path),
        **({name: header[name] for name in _TOLD if header.get(name)} if kind else {}),
        **(
            {"parameters": sum(tensor.numel() for tensor in tensors.values())}
            if _TENSOR_FILES[kind] in _NETWORKS
            else {"tensors": {name: list(tensor.shape) for name, tensor in tensors.items()}}
        ),
    }


def describe_array(path: Path) -> dict[str, Any]:
    """Facts of latents in a .npy file. Raises InputError."""
    name, latents = sampling.read_latents(path)
    space = name or {2: "z, or w for all layers", 3: "w+"}.get(latents.ndim, "of no shape that latents have")
    shape = {"shape": list(latents.shape), "type": str(latents.dtype)}
    return {"kind": "latents", "file": str(path), "space": space, **shape}


def describe_points(path: Path) -> dict[str, Any]:
    """Facts of a file of points to drag. Raises InputError."""
    points, mask = dragging.content_of(path)
    told = f"{len(mask)} rectangles" if isinstance(mask, list) else mask
    return {"kind": "points to drag", "file": str(path), "points": list(map(dragging.text_of, points)), "mask": told}


def _checksum(path: Path) -> str:
    """Of a tensor file that has been read, so that it was held against it."""
    stored = stored_checksum(path)
    return (
        f"{stored}, right" if stored else "none, as in files of earlier versions; nothing tells whether it is damaged"
    )
