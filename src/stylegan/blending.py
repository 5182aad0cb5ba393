"""Two models of one family blended into a third: layers of the one below a resolution, of the other above, or averages.

Models that were trained on from the same one keep their layers exchangeable: coarse layers of the one bring shape and
pose, fine ones of the other texture and color (Pinkney and Adler, 2020, https://arxiv.org/abs/2010.05334).
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Annotated, Literal

from torch import Tensor

from stylegan.config import between, check
from stylegan.errors import InputError
from stylegan.networks.generator import Generator
from stylegan.weights import Model, Provenance, fingerprint


@dataclass(frozen=True)
class BlendConfig:
    """How two models, A and B, are blended."""

    from_: int | None = None
    """Resolution from which on the layers are those of B; below they are A's. Default: all layers are averaged."""
    weight: Annotated[float | None, between(0, 1)] = None
    """Share of B in the layers that are blended. Default: 1 from a resolution on, 0.5 of an average."""
    mapping: Literal["a", "b", "average"] | None = None
    """Mapping network, with its average w: A's, B's, or the average by `weight`. Default: a with a resolution, else
    average."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def share(self) -> float:
        """Share of B in the blended layers."""
        return self.weight if self.weight is not None else 0.5 if self.from_ is None else 1.0

    @property
    def share_of_mapping(self) -> float:
        """Share of B in the mapping network."""
        source = self.mapping or ("average" if self.from_ is None else "a")
        return {"a": 0.0, "b": 1.0, "average": self.share}[source]


def blend(a: Model, b: Model, config: BlendConfig | None = None, names: Sequence[str] = ("A", "B")) -> Model:
    """The blended model: a generator for drawing. Its truncation is A's.

    names: of the two, for its provenance. Raises InputError where their networks differ in anything.
    """
    config = config or BlendConfig()
    _check_alike(a, b)
    generator = deepcopy(a.generator)
    lowest = 4 if config.from_ is None else config.from_
    if str(lowest) not in generator.synthesis.blocks or lowest > generator.synthesis.grown.resolution:
        grown = generator.synthesis.grown.resolution
        raise InputError(f"there is no block of {lowest} x {lowest}; use a power of two from 4 to {grown}")

    theirs = b.generator.state_dict()
    sizes = generator.synthesis.layer_resolutions()
    blended: dict[str, Tensor] = {}
    for name, tensor in generator.state_dict().items():
        part = name.split(".")
        if part[0] != "synthesis":  # the mapping network and the average of w
            blended[name] = _mixed(tensor, theirs[name], config.share_of_mapping)
        elif part[1] == "blocks":
            blended[name] = _mixed(tensor, theirs[name], config.share if int(part[2]) >= lowest else 0.0)
        else:  # planes of noise: an average of two would be weaker than either
            share = config.share if sizes[int(part[1].removeprefix("noise"))] >= lowest else 0.0
            blended[name] = theirs[name] if share > 0.5 else tensor
    generator.load_state_dict(blended)

    label_names = a.label_names if a.label_names == b.label_names else ()
    return Model(generator, _provenance(a, b, config, names), label_names=label_names)


def _mixed(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Weights of both; those of one alone to the bit."""
    return a if share == 0 else b if share == 1 else a.lerp(b, share)


def _check_alike(a: Model, b: Model) -> None:
    first, second = a.generator.config, b.generator.config
    differing = [f.name for f in fields(first) if getattr(first, f.name) != getattr(second, f.name)]
    if differing:
        told = "; ".join(f"{name} {getattr(first, name)} and {getattr(second, name)}" for name in differing[:3])
        raise InputError(f"the two generators have different shapes ({told}); blend models that come from the same one")
    grown = a.generator.synthesis.grown, b.generator.synthesis.grown
    if grown[0] != grown[1]:
        sizes = " and ".join(f"{g.resolution} x {g.resolution} (fade {g.fade:g})" for g in grown)
        raise InputError(f"the two generators have grown to {sizes}; blend models that draw at the same resolution")


def _provenance(a: Model, b: Model, config: BlendConfig, names: Sequence[str]) -> Provenance:
    """Where both come from, and how they were blended. A blend has not been trained: it has seen no images."""
    told = [_origin(name, model.generator, model.provenance) for name, model in zip(names, (a, b), strict=True)]
    layers = "all layers" if config.from_ is None else f"layers from {config.from_} x {config.from_} on"
    notes = (
        f"blend of {told[0]} and {told[1]}: {config.share:g} of the second in {layers}, "
        f"{config.share_of_mapping:g} in the mapping network"
    )
    return Provenance(
        data=_of_both(a.provenance.data, b.provenance.data),
        licence=_of_both(a.provenance.licence, b.provenance.licence),
        notes=notes,
        fit=a.provenance.fit if a.provenance.fit == b.provenance.fit else "",
    )


def _origin(name: str, generator: Generator, provenance: Provenance) -> str:
    images = f", {provenance.images_seen} images" if provenance.images_seen else ""
    notes = f", {provenance.notes}" if provenance.notes else ""
    return f"{name} (fingerprint {fingerprint(generator)}{images}{notes})"


def _of_both(a: str, b: str) -> str:
    return a if a == b else " + ".join(part or "unknown" for part in (a, b))
