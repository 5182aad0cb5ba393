"""Reads stores, models and training states by docs/file-formats.md alone: no torch, nothing of this program.

It is what somebody else would write. Where it and the page disagree, the page is wrong.
"""

import hashlib
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from math import floor, log2, sqrt
from pathlib import Path

import numpy as np

# --- the store


def read_store(folder: Path) -> dict:
    """Its description with the arrays, the names and the content hash computed anew."""
    store = json.loads((folder / "dataset.json").read_text("utf-8"))
    assert store["kind"] == "stylegan-store" and store["format_version"] == 1
    resolutions = [2**k for k in range(2, int(log2(store["resolution"])) + 1)]
    store["images"] = {r: np.load(folder / f"images-{r:04d}.npy", mmap_mode="r") for r in resolutions}
    for r, images in store["images"].items():
        assert images.shape == (store["count"], r, r, store["channels"]) and images.dtype == np.uint8
    digest = hashlib.sha256(store["images"][store["resolution"]].tobytes())
    for name, kind in (("labels", "<i8"), ("attributes", "|b1")):
        if store[f"{name.removesuffix('s')}_names"]:
            store[name] = np.load(folder / f"{name}.npy")
            digest.update(store[name].astype(kind).tobytes())
    store["computed_hash"] = digest.hexdigest()
    store["names"] = (folder / "names.txt").read_bytes().decode("utf-8").split("\n")[:-1]
    return store


# --- the model


def read_safetensors(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    """What the header says under `stylegan`, and the tensors as float32."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    about, tensors = json.loads(header.pop("__metadata__")["stylegan"]), {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        values = np.frombuffer(body[first:last], {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        tensors[name] = values.reshape(entry["shape"]).astype(np.float32)
    return about, tensors


class Generator:
    """The generator of a model file, in float64."""

    def __init__(self, about: dict, tensors: dict[str, np.ndarray]) -> None:
        assert about["kind"] == "stylegan-model" and about["format_version"] == 1
        self.config, self.grown = about["generator"], about["grown"]
        self.tensors = {n.removeprefix("g_ema."): t.astype(float) for n, t in tensors.items() if n.startswith("g_ema.")}

    def fingerprint(self) -> str:
        digest = hashlib.sha256()
        for name in sorted(self.tensors):
            if name != "w_avg" and not name.startswith("synthesis.noise"):
                values = self.tensors[name].astype("<f2")
                values[values == 0] = 0
                digest.update(f"{name} {list(values.shape)}\n".encode() + values.tobytes())
        return digest.hexdigest()[:16]

    def maps(self, r: int) -> int:
        f = self.config["feature_maps"]
        return max(1, min(floor(f["base"] / 2 ** (f["decay"] * (log2(r) - 1))), f["maximum"]))

    def weight(self, name: str, gain: float = sqrt(2), multiplier: float = 1.0) -> np.ndarray:
        stored = self.tensors[f"{name}.weight"]
        he = gain / sqrt(stored[0].size) if self.config["equalized"] else 1.0
        return stored * he * multiplier

    def mapping(self, z: np.ndarray, label: int | None = None) -> np.ndarray:
        """z [N, z_dim] -> w [N, w_dim]"""
        config, x = self.config, z
        if config["label_count"]:
            one_hot = np.zeros((len(z), config["label_count"]))
            if label is not None:
                one_hot[:, label] = 1
            x = np.hstack([x, one_hot @ self.tensors["mapping.label_embedding"] if config["embed_labels"] else one_hot])
        if config["normalize_z"]:
            x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
        multiplier = config["mapping_lr_multiplier"]
        for i in range(config["mapping_layers"]):
            weight = self.weight(f"mapping.layers.{i}", multiplier=multiplier)
            x = activate(
                x @ weight.T + self.tensors[f"mapping.layers.{i}.bias"] * multiplier, config["mapping_activation"]
            )
        return x

    def synthesis(self, w: np.ndarray, noise: list[np.ndarray] | None) -> np.ndarray:
        """w [N, layers, w_dim] (one layer for a traditional generator) -> images [N, channels, R, R]"""
        config, tensors = self.config, self.tensors
        scale = None
        x, images, layers = None, [], 2 * int(log2(self.grown["resolution"])) - 2
        styles = w if config["use_styles"] else np.repeat(w, layers, axis=1)
        for i in range(layers // 2):
            r, block = 4 * 2**i, f"synthesis.blocks.{4 * 2**i}"
            if i:
                x = self.convolve(x.repeat(2, axis=2).repeat(2, axis=3), f"{block}.conv0", scale)
                if config.get("activate_before_blur"):
                    x = activate(x + tensors[f"{block}.conv0.bias"][:, None, None], config["activation"])
                if config["use_blur"]:
                    x = blur(x)
            elif config["const_input"]:
                x = np.repeat(tensors[f"{block}.const"][None], len(w), axis=0)
            else:
                x = (styles[:, 0] @ self.weight(f"{block}.dense", gain=sqrt(2) / 4).T).reshape(
                    len(w), self.maps(4), 4, 4
                )
            for k in (0, 1):
                if k:
                    x = self.convolve(x, f"{block}.conv1", scale)
                plane = noise[2 * i + k] if noise else None
                x, scale = self.layer(x, styles[:, 2 * i + k], plane, f"{block}.layer{k}")
            assert x.shape == (len(w), self.maps(r), r, r)
            image = (
                convolve(x, self.weight(f"{block}.to_rgb", gain=1.0)) + tensors[f"{block}.to_rgb.bias"][:, None, None]
            )
            if config.get("sum_rgb") and images:
                enlarged = images[-1].repeat(2, axis=2).repeat(2, axis=3)
                image = image + (blur(enlarged) if config["use_blur"] else enlarged)
            images.append(image)
        fade = self.grown["fade"]
        if not fade:
            return images[-1]
        return (1 - fade) * images[-1] + fade * images[-2].repeat(2, axis=2).repeat(2, axis=3)

    def convolve(self, x: np.ndarray, name: str, scale: np.ndarray | None) -> np.ndarray:
        weight = self.weight(name)
        y = convolve(x, weight)
        if self.config.get("use_demodulation"):
            y = y / np.sqrt((scale**2 @ (weight**2).sum(axis=(2, 3)).T + 1e-8) / 2)[:, :, None, None]
        return y

    def layer(
        self, x: np.ndarray, w: np.ndarray, plane: np.ndarray | None, name: str
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The layer, and what it has scaled its maps by."""
        scale = None
        config, tensors = self.config, self.tensors
        if config["use_noise"] and plane is not None:
            x = x + tensors[f"{name}.noise.strength"][:, None, None] * plane
        x = activate(x + tensors[f"{name}.bias"][:, None, None], config["activation"])
        if config["use_pixel_norm"]:
            x = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + 1e-8)
        if config["use_instance_norm"]:
            x = x - x.mean(axis=(2, 3), keepdims=True)
            x = x / np.sqrt((x**2).mean(axis=(2, 3), keepdims=True) + config.get("norm_epsilon", 1e-8))
        if config["use_styles"]:
            affine = w @ self.weight(f"{name}.style.affine", gain=1.0).T + tensors[f"{name}.style.affine.bias"]
            s, b = np.split(affine[:, :, None, None], 2, axis=1)
            x, scale = (s + 1) * x + b, s[:, :, 0, 0] + 1
        return x, scale


def activate(x: np.ndarray, kind: str) -> np.ndarray:
    return np.maximum(x, 0.2 * x) if kind == "lrelu" else np.maximum(x, 0)


def convolve(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """x [N, inputs, H, W], weight [outputs, inputs, k, k], zeros around -> [N, outputs, H, W]"""
    k, (height, width) = weight.shape[2], x.shape[2:]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    taps = [(i, j) for i in range(k) for j in range(k)]
    return sum(
        np.einsum("oc,nchw->nohw", weight[:, :, i, j], padded[:, :, i : i + height, j : j + width]) for i, j in taps
    )


def blur(x: np.ndarray) -> np.ndarray:
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    channels = x.shape[1]
    return convolve(x, np.eye(channels)[:, :, None, None] * taps)


# --- the training state


class _Unpickler(pickle.Unpickler):
    """Knows the three names that a state uses, and no other."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder
        self.order = {b"little": "<", b"big": ">"}[archive.read(f"{folder}/byteorder")]

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return self.tensor
        if (module, name) == ("torch", "FloatStorage"):
            return "f4"
        raise pickle.UnpicklingError(f"{module}.{name} has no place in a training state")

    def persistent_load(self, pid: tuple) -> np.ndarray:
        what, kind, key, _, count = pid
        assert what == "storage"
        return np.frombuffer(self.archive.read(f"{self.folder}/data/{key}"), self.order + kind, count)

    @staticmethod
    def tensor(storage: np.ndarray, first: int, shape: tuple, strides: tuple, *_) -> np.ndarray:
        size = storage.itemsize
        return np.lib.stride_tricks.as_strided(storage[first:], shape, [size * stride for stride in strides])


def read_state(path: Path) -> dict:
    """Everything in it, tensors as numpy arrays."""
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        (pickled,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        state = _Unpickler(archive, pickled.removesuffix("/data.pkl")).load()
    assert state["kind"] == "stylegan-state" and state["format_version"] == 1
    return state
