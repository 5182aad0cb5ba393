"""FFHQ's folder and its description, `ffhq-dataset-v2.json`: split, checksums, credits, and the faces' landmarks.

Worker processes import this module, so it must not import torch.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stylegan.data.items import FileItem, Item, Source, Unusable
from stylegan.errors import InputError
from stylegan.files import printable

DESCRIPTION = "ffhq-dataset-v2.json"
ALIGNED, WILD = "images1024x1024", "in-the-wild-images"  # folders
PARTS = {ALIGNED: "image", WILD: "in_the_wild"}  # what the description calls their images
MOST_BYTES = 2**30  # of the description, which has 255 MB
LANDMARKS = 68  # of dlib, from 0: the eyes are 36 to 41 and 42 to 47, the mouth's corners 48 and 54
LEFT_EYE, RIGHT_EYE, MOUTH = slice(36, 42), slice(42, 48), [48, 54]

Face = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]
"""The middles, x and y, of the eye on the left of the picture, the eye on the right, and the mouth."""


@dataclass(frozen=True, slots=True)
class FFHQItem:
    """An image file with the checksum that it must have, and where its face is, if that is known."""

    file: FileItem
    md5: str = ""
    face: Face | None = None

    @property
    def name(self) -> str:
        return self.file.name

    def read(self) -> bytes:
        data = self.file.read()
        if self.md5 and hashlib.md5(data, usedforsecurity=False).hexdigest() != self.md5:
            raise Unusable(f"damaged: it has not the checksum of {DESCRIPTION}; fetch it again")
        return data


def folder_of(subfolders: Iterable[str], faces: bool) -> str | None:
    """Which of the folders in FFHQ's has the images to take; None where it is not FFHQ's.

    faces: faces are to be cut out, which the photographs are for; else those that are cut out already are taken.
    """
    there = set(subfolders)
    order = (WILD, ALIGNED) if faces else (ALIGNED, WILD)
    return next((name for name in order if name in there), None) if ALIGNED in there or WILD in there else None


def described(source: Source, root: Path) -> Source:
    """The source with what FFHQ's description says of its images, where it lies beside them.

    Raises InputError for a description that is damaged.
    """
    path = root / DESCRIPTION
    if not path.is_file():
        return source
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is too large for FFHQ's description")
        entries = json.loads(path.read_bytes())
        if not isinstance(entries, dict):
            raise TypeError("it is no table")
        by_name = {f"{int(number):05d}": entry for number, entry in entries.items()}
        items, validation, credits = [], set(), {}
        for item in source.items:
            entry = by_name.get(PurePosixPath(item.name).stem)
            if entry is None:
                items.append(item)
                continue
            items.append(_item(item, entry))
            if entry.get("category") == "validation":
                validation.add(item.name)
            credits[item.name] = _credit(entry.get("metadata", {}))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: it is damaged ({str(error)[:100]}); fetch it again") from error
    return replace(source, items=items, validation=frozenset(validation), credits=credits)


def _item(item: Item, entry: dict[str, Any]) -> Item:
    part = PARTS.get(PurePosixPath(item.name).parts[0], "")
    about = entry.get(part)
    if not isinstance(item, FileItem) or about is None:
        return item
    face = None
    if part == "in_the_wild" and "face_landmarks" in about:
        points = np.array(about["face_landmarks"], dtype=np.float64)
        if points.shape != (LANDMARKS, 2) or not (np.abs(points) < 1e6).all():
            raise ValueError(f"the landmarks of {item.name[:100]} are not {LANDMARKS} points")
        middles = points[LEFT_EYE].mean(axis=0), points[RIGHT_EYE].mean(axis=0), points[MOUTH].mean(axis=0)
        face = tuple(tuple(map(float, middle)) for middle in middles)
    return FFHQItem(item, str(about.get("file_md5", "")), face)


def _credit(metadata: dict[str, Any]) -> tuple[str, ...]:
    """Author, license, its address, title and address of a photograph."""
    keys = ("author", "license", "license_url", "photo_title", "photo_url")
    return tuple(_in_a_line(str(metadata.get(key, ""))) for key in keys)


def _in_a_line(text: str) -> str:
    """Text of others without what would move a terminal, or break a line."""
    return "".join(c if c.isprintable() else "?" for c in printable(" ".join(text.split()))[:300])


def credits_of(source: Source, names: Iterable[str]) -> bytes:
    """The text of CREDITS.txt for some of a source's images: who took them, and what may be done with them."""
    lines: list[str] = []
    licenses: Counter[str] = Counter()
    for name in sorted(names):
        author, license_, license_url, title, url = source.credits.get(name, ("", "", "", "", ""))
        licenses[license_ or "not known"] += 1
        terms = f"{license_ or 'license not known'}" + (f" ({license_url})" if license_url else "")
        lines.append(f'{printable(name)}: "{title}" by {author or "an author not known"}, {terms}, {url}'.rstrip(", "))
    head = [
        "The images of this store are photographs that were cropped, turned upright and resized.",
        "Their authors, the licenses they published them under, and where:",
        "",
        *(f"{count} images: {name}" for name, count in licenses.most_common()),
        "",
        "The data set: Flickr-Faces-HQ (Karras, Laine, Aila: A Style-Based Generator Architecture for Generative",
        "Adversarial Networks, 2018), with its description under CC BY-NC-SA 4.0, by NVIDIA Corporation.",
        "",
    ]
    return "\n".join([*head, *lines, ""]).encode()
