"""What users bring: photographs, which are projected, and files of latents."""

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from torch import Tensor

from stylegan import encoders, projection, sampling
from stylegan import recipe as recipes
from stylegan.data import align
from stylegan.errors import InputError
from stylegan.explorer.picture import Explorer
from stylegan.images import from_uint8, to_uint8
from stylegan.networks.generator import NoiseInput


@contextmanager
def uploaded(folder: str, name: str, content: bytes) -> Iterator[Path]:
    """A file that holds what was sent, inside the block. Its name has the ending of the user's."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        file = Path(temporary, re.sub(r"[^\w.-]+", "_", Path(name).name)[-80:].lstrip(".") or "upload")
        file.write_bytes(content)
        yield file


def finds_faces() -> bool:
    """Whether what that needs is installed and fetched."""
    try:
        align.check()
    except InputError:
        return False
    return True


def read_photograph(explorer: Explorer, file: Path | str, face: bool = False) -> Tensor:
    """An image file as the model could have drawn it: uint8 [1, C, R, R]. Raises InputError for what is no image.

    face: its largest face, aligned as those of FFHQ; else the image becomes square as for a model of no faces.
    """
    fit = "face" if face else explorer.fit if explorer.fit != "face" else None
    with _named(file):
        return to_uint8(projection.read_image(file, explorer.generator, fit))


def find(
    explorer: Explorer, photograph: Tensor, label: int | None, space: Literal["w", "w+"], steps: int
) -> Iterator[tuple[int, Tensor, float]]:
    """Project a photograph, into w+ from the model's bundled encoder where there is one. After each step: its number, w
    [1, num_layers, w_dim], and the PSNR in dB."""
    encoder = encoders.bundled_for(explorer.generator) if space == "w+" else None
    start = f"encoder={encoder}" if encoder else "best"
    config = projection.ProjectConfig(space=space, steps=steps, start=start)
    for at in projection.projecting(explorer.generator, from_uint8(photograph), config, label=label):
        yield at.step, at.w, float(projection.psnr(to_uint8(at.images).cpu(), photograph))


def read_latent(explorer: Explorer, file: Path | str, label: int | None) -> tuple[Tensor, NoiseInput]:
    """The first w [1, num_layers, w_dim] of a file of latents, and its noise; z becomes w. Raises InputError.

    Where the file does not say which noise, that of the network itself.
    """
    with _named(file):
        space, latents = sampling.load_latents(file, explorer.generator.config, model=explorer.generator)
        noise = recipes.noise_of_file(file, explorer.generator)
    if noise is None:
        noise = "const"
    elif not isinstance(noise, str):
        noise = [plane[:1] for plane in noise]
    if space == "w":
        return latents[:1], noise
    labels = sampling.labels_of(explorer.generator, label, 1)
    return sampling.w_of_z(explorer.generator, latents[:1], labels), noise


@contextmanager
def _named(file: Path | str) -> Iterator[None]:
    """Sentences about an upload name the file, not where it lies on the server."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(file), Path(file).name)) from error
