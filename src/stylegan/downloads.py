"""Weights that others have published, and that are not ours to ship: where they are from, checked, in a cache."""

import hashlib
import os
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from tqdm import tqdm

from stylegan.errors import InputError


@dataclass(frozen=True)
class Download:
    """A file of weights: where it is from, and what it must be."""

    url: str
    sha256: str
    license: str
    kept_as: str = ""
    """Its name in the cache, where that in the address says too little."""

    @property
    def name(self) -> str:
        return self.kept_as or self.url.rsplit("/", 1)[-1]


FIDELITY = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
CLIP = "https://huggingface.co/openai/clip-vit-base-patch32/resolve/3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268/"
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
    "faces": [
        Download(
            "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
            "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
            "Apache-2.0",
        )
    ],
    "clip": [
        Download(
            CLIP + "pytorch_model.bin",
            "a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
            "MIT",
            "clip-vit-base-patch32.bin",
        ),
        Download(
            CLIP + "tokenizer.json",
            "b556ac8c99757ffb677208af34bc8c6721572114111a6e0aaf5fa69ff0b8d842",
            "MIT",
            "clip-vit-base-patch32-tokenizer.json",
        ),
    ],
}


def cache_folder() -> Path:
    """The folder of weights and of features of reals: $STYLEGAN_CACHE, else ~/.cache/stylegan."""
    try:
        return Path(os.environ.get("STYLEGAN_CACHE") or "~/.cache/stylegan").expanduser()
    except RuntimeError:  # a user without a home, as in containers
        return Path(tempfile.gettempdir()) / "stylegan-cache"


def fetch(name: str, source: Path | None = None, *, progress: bool = True) -> list[Path]:
    """Put the files of one entry of DOWNLOADS into the cache, from the network or from the folder `source`.

    A file that is there and right is left alone. Raises InputError where one cannot be had or is not what it should
    be; a wrong file is not kept. What breaks off is continued by the next call.
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
            _download(url, path, item.sha256, progress=progress)
        except (OSError, HTTPException) as error:  # URLError among the first
            raise InputError(
                f"{url} cannot be read ({error}); on a machine without network put {item.name} into a folder and "
                f"call: stylegan fetch {name} --source FOLDER"
            ) from error
    return paths


def _download(url: str, path: Path, sha256: str, *, progress: bool) -> None:
    """A file from `url` to `path`, by way of `.<name>.part`, which the next call continues where this one breaks off.

    Raises OSError or HTTPException where it breaks off, and InputError where the checksum is another.
    """
    part = path.with_name(f".{path.name}.part")
    held = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={held}-"} if held else {})
    try:
        answer = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not held:  # 416: there is nothing after what is held
            raise
        part.unlink()
        answer = urllib.request.urlopen(url, timeout=60)
        held = 0
    with answer, part.open("ab") as file:
        if getattr(answer, "status", None) != 206:  # the whole: this server, or a file, knows no ranges
            file.truncate(0)
            held = 0
        total = held + int(answer.headers.get("Content-Length") or 0)
        with tqdm(total=total, initial=held, unit="B", unit_scale=True, desc=path.name, disable=not progress) as bar:
            while block := answer.read(2**20):
                file.write(block)
                held += len(block)
                bar.update(len(block))
        file.flush()
        os.fsync(file.fileno())
    if held < total:
        raise OSError(f"it broke off after {held:,} of {total:,} bytes; call again to continue")
    if (found := checksum_of([part])) != sha256:
        part.unlink()
        raise InputError(f"{url} is not the file that is wanted (its SHA-256 is {found})")
    part.replace(path)


def fetched(name: str) -> list[Path]:
    """The files, which must be in the cache already; raises InputError where they are not."""
    paths = [cache_folder() / item.name for item in DOWNLOADS[name]]
    for path, item in zip(paths, DOWNLOADS[name], strict=True):
        if not path.exists() or checksum_of([path]) != item.sha256:
            raise InputError(f"{path} is missing or damaged; call once: stylegan fetch {name}")
    return paths


def is_fetched(name: str) -> bool:
    """Whether the files of an entry of DOWNLOADS are in the cache; `fetched` also checks their contents."""
    return all((cache_folder() / item.name).exists() for item in DOWNLOADS[name])


def checksum_of(paths: list[Path]) -> str:
    """SHA-256 (hex) of the files' contents, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()
