"""The state of the page as it stands in its address, seed=5&psi=0.7&edit.hat=2, and what it means: a `Recipe`."""

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from stylegan import sampling
from stylegan.errors import InputError
from stylegan.explorer.picture import RANGES, Explorer, Recipe
from stylegan.networks.generator import NoiseInput

NOISES = {"own": "random", "seed": "random", "const": "const", "none": "none"}
MOST_FOUND, MOST_BYTES = 200, 512 * 2**20
LARGEST_STRENGTH = 100.0


class Found:
    """What users have found, by names that nobody can guess: the newest, in memory, MOST_FOUND and MOST_BYTES at most.

    The name is a checksum, so that the same w has it again after it has been read from a file.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, Tensor, NoiseInput | int]] = OrderedDict()

    def keep(self, explorer: Explorer, w: Tensor, noise: NoiseInput | int) -> str:
        """Keep w [1, num_layers, w_dim] and its noise, or the seed of that; the name."""
        digest, planes = hashlib.sha256(explorer.fingerprint.encode()), _planes(explorer, noise)
        for tensor in (w, *(() if isinstance(planes, str) else planes)):
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        name = digest.hexdigest()[:24]
        with self._lock:
            self._kept.pop(name, None)
            self._kept[name] = (explorer.fingerprint, w.detach().cpu(), noise)
            while len(self._kept) > 1 and (len(self._kept) > MOST_FOUND or self.size > MOST_BYTES):
                self._kept.popitem(last=False)
        return name

    @property
    def size(self) -> int:
        """Bytes; what several share, as the noise of one photograph, counts once."""
        several = {
            id(tensor): tensor.numel() * tensor.element_size()
            for _, w, noise in self._kept.values()
            for tensor in (w, *(() if isinstance(noise, str | int) else noise))
        }
        return sum(several.values())

    def noise(self, name: str) -> NoiseInput | int:
        """The noise as it was given to `keep`. Raises InputError for a name that is not there (any more)."""
        return self._entry(name)[2]

    def _entry(self, name: str) -> tuple[str, Tensor, NoiseInput | int]:
        entry = self._kept.get(name)
        if entry is None:
            raise InputError(
                "what was found or dragged is not here any more; project or drag again, or load its latents"
            )
        return entry

    def get(self, explorer: Explorer, name: str) -> tuple[Tensor, NoiseInput]:
        """Raises InputError for a name that is not there (any more), and for what another model's is."""
        fingerprint, w, noise = self._entry(name)
        if fingerprint != explorer.fingerprint:
            raise InputError("what was found belongs to another model; go back to that, or begin with a seed")
        return w, _planes(explorer, noise)


def _planes(explorer: Explorer, noise: NoiseInput | int) -> NoiseInput:
    return sampling.noise_of_seeds([noise], explorer.generator) if isinstance(noise, int) else noise


def read(pairs: Iterable[tuple[str, str]], explorer: Explorer, found: Found) -> Recipe:
    """The picture of an address. pairs: names and values, in which others may stand too. Raises InputError."""
    pairs = list(pairs)
    said = dict(pairs)
    noise = said.get("noise", "own")
    if noise not in NOISES:
        raise InputError(f"noise is {noise[:40]!r}; it can be {', '.join(NOISES)}")
    values: dict[str, Any] = {
        "seed": _whole(said, "seed", 0),
        "label": _whole(said, "class", 0 if explorer.generator.config.label_count else None),
        "psi": _number(said, "psi", 1.0) if "psi" in said else None,
        "cutoff": _whole(said, "cutoff", None),
        "noise": NOISES[noise],
        "noise_seed": _whole(said, "nseed", 0) if noise == "seed" else None,
        "noise_strengths": _numbers(said, "noises"),
        "along": _number(said, "along", 0.0),
        "other_seed": _whole(said, "b", 1),
        "mixed": _numbers(said, "mix") or (0.0, 0.0, 0.0),
        "mixed_layers": _numbers(said, "layers"),
        "strengths": _strengths(said, explorer),
        "edited": tuple(name for name in RANGES if name in said["on"].split(",")) if "on" in said else RANGES,
        "held": tuple(value for name, value in pairs if name == "hold"),
    }
    layers = len(explorer.layer_resolutions)
    most = max(len(values["mixed_layers"]), len(values["noise_strengths"]))
    if len(values["mixed"]) != len(RANGES) or most > layers:
        raise InputError(f"mix has three numbers, layers and noises up to {layers}; set them again")
    if said.get("found"):
        values["found"], values["found_noise"] = found.get(explorer, said["found"])
    return Recipe(**values)


def _strengths(said: Mapping[str, str], explorer: Explorer) -> tuple[float, ...]:
    """Of all directions; those of another model are nothing here."""
    strengths = [_number(said, f"edit.{name}", 0.0) for name in explorer.directions.names]
    return tuple(max(-LARGEST_STRENGTH, min(LARGEST_STRENGTH, strength)) for strength in strengths)


def _number(said: Mapping[str, str], name: str, default: float) -> float:
    if name not in said:
        return default
    try:
        number = float(said[name])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name} is {said[name][:40]!r}, which is no number; set it again")
    return number


def _whole(said: Mapping[str, str], name: str, default: int | None) -> int | None:
    if name not in said:
        return default
    text = said[name]
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise InputError(f"{name} is {text[:40]!r}; give a whole number from 0 to 4294967295")
    return int(text)


def _numbers(said: Mapping[str, str], name: str) -> tuple[float, ...]:
    """Of 1,0.5,0; () where there are none."""
    if not said.get(name):
        return ()
    return tuple(_number({name: part}, name, 0.0) for part in said[name].split(",")[:100])
