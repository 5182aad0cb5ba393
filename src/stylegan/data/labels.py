"""Class labels and attributes of a source: from its folders, or from files that lie beside the images."""

import csv
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO

import numpy as np

from stylegan.data.items import MAX_DOCUMENT_BYTES, Source
from stylegan.errors import InputError
from stylegan.files import printable

MAX_CLASS_NUMBER = 65_535

ATTRIBUTE_LISTS = ("list_attr_celeba.txt", "list_attr_celeba.csv", "CelebAMask-HQ-attribute-anno.txt")
ATTRIBUTE_TABLE = "attributes.csv"  # a column of file names, and columns of 0 and 1, or of words
TRUTH_VALUES = {"0": False, "-1": False, "no": False, "false": False, "1": True, "yes": True, "true": True}
NUMBER = r"[-+]?[0-9]*[.,]?[0-9]+"
MAX_TABLE_CLASSES = 1000  # of a column that becomes classes
MOST_WORDS = 64  # of one column of attributes: more are names or sentences
INDEX_LISTS = ("image_list.txt", "CelebA-HQ-to-CelebA-mapping.txt")
# Files that describe images. Those of Hugging Face's imagefolder may lie in any folder, and CelebA's too.
DOCUMENTS = frozenset(
    ("dataset.json", "metadata.jsonl", "metadata.csv", ATTRIBUTE_TABLE, *ATTRIBUTE_LISTS, *INDEX_LISTS)
)
IMAGE_COLUMNS = ("file_name", "filename", "file", "image", "image_id", "image_name", "path", "name", "id")
LABEL_COLUMNS = ("label", "labels", "class", "class_id", "class_name", "category", "target")


def with_labels(
    source: Source, labels: Sequence[object], where: str, missing: str, others: Iterable[object] = ()
) -> Source:
    """The source with these labels, one for each item: all class numbers (int), or all names of classes (str).

    `where` says in messages where they come from. Items whose label is None are rejected, for the reason `missing`.
    `others` are labels of images that are not there; theirs are classes too. Raises InputError for labels that are no
    classes.
    """
    of_numbers, of_names = set(), set()
    for label in (*labels, *others):
        if isinstance(label, int) and not isinstance(label, bool):
            of_numbers.add(label)
        elif isinstance(label, str):
            of_names.add(label)
        elif label is not None:
            raise InputError(f"{where} gives an image the label {label!r:.100}; labels are class numbers or names")
    if of_numbers and of_names:
        raise InputError(f"{where} mixes class numbers and class names; use one of the two")
    numbers: dict[object, int]
    if of_names:
        names = tuple(sorted(of_names, key=_in_order))
        numbers = {name: number for number, name in enumerate(names)}
    else:
        lowest, highest = min(of_numbers, default=0), max(of_numbers, default=0)
        if not 0 <= lowest <= highest <= MAX_CLASS_NUMBER:
            worst = lowest if lowest < 0 else highest
            raise InputError(f"{where} has the class number {worst}; they go from 0 to {MAX_CLASS_NUMBER}")
        first = 1 if lowest == 1 else 0  # counted from 1: there is no class 0
        names = tuple(str(number) for number in range(first, highest + 1))
        numbers = {number: number - first for number in of_numbers}
    pairs = list(zip(source.items, labels, strict=True))
    return replace(
        source,
        items=[item for item, label in pairs if label is not None],
        labels=[numbers[label] for _, label in pairs if label is not None],
        label_names=tuple(map(printable, names)),
        about_labels=f"{len(names)} classes from {where}",
        rejected=source.rejected + [(item.name, missing) for item, label in pairs if label is None],
    )


def _in_order(name: str) -> tuple[bool, int, str]:
    """Sorts names, those that are numbers as numbers: 0, 1, ..., 10, 11."""
    is_number = re.fullmatch(r"[0-9]{1,18}", name) is not None
    return not is_number, int(name) if is_number else 0, name


def described(source: Source) -> Source:
    """The source with `about_labels` filled in."""
    if source.about_labels:
        return source
    if source.labels is not None:
        return replace(source, about_labels=f"{len(source.label_names)} classes from {source.name}")
    several = len({PurePosixPath(item.name).parent for item in source.items}) > 1
    hint = " (its folders become classes with --classes folders)" if several else ""
    return replace(source, about_labels=f"no labels{hint}")


def from_folders(source: Source) -> Source:
    """One class for each folder at the first level at which the images' paths differ."""
    folders = [  # of a shard's images the first part is the shard
        tuple(part for part in PurePosixPath(item.name).parent.parts if not part.endswith(".tar"))
        for item in source.items
    ]
    inside = [parts for parts in folders if parts]
    depth = 0  # of the folders that hold all the others
    while inside and len(inside[0]) > depth and len({parts[: depth + 1] for parts in inside}) == 1:
        depth += 1
    labels = [parts[depth] if len(parts) > depth else None for parts in folders]
    if len(set(labels) - {None}) < 2:
        raise InputError(
            f"{source.name} has fewer than two sub-folders to make classes of; put the images of each class into a "
            "folder"
        )
    return with_labels(source, labels, source.name, "in no class folder")


def from_documents(source: Source) -> Source:
    """The labels of a dataset.json at the top, in the form {"labels": [[name, class], ...]}; else of imagefolder's
    metadata.jsonl or metadata.csv files with columns `file_name` and `label` (or one of IMAGE_COLUMNS and one of
    LABEL_COLUMNS; CSV with commas, semicolons or tabs); the source as it is without them.
    """
    columns: set[str] = set()
    if "dataset.json" in source.documents:
        name, where = "dataset.json", f"the dataset.json in {source.name}"
        by_name = dict(_pairs_of_dataset_json(source.documents[name], where))
    else:
        name = "metadata.jsonl" if any(path.endswith("metadata.jsonl") for path in source.documents) else "metadata.csv"
        where, by_name = f"the {name} in {source.name}", {}
        for path, content in source.documents.items():
            if PurePosixPath(path).name == name:
                rows = _rows_of_json_lines if name.endswith("jsonl") else _rows_of_csv
                for row in rows(content, where):
                    if not isinstance(row, dict):
                        continue
                    columns.update(str(column) for column in row)
                    image, label = _value(row, IMAGE_COLUMNS), _value(row, LABEL_COLUMNS)
                    if isinstance(image, str) and label not in (None, ""):
                        by_name[(PurePosixPath(path).parent / image.replace("\\", "/")).as_posix()] = label
    if not by_name and columns:
        about = f"no labels: {where} has no columns named file_name and label, but {', '.join(sorted(columns))[:200]}"
        return replace(source, about_labels=about)
    if not by_name:
        return source
    known = {item.name for item in source.items} | {name for name, _ in source.rejected}
    absent = [(image, f"named in {name} but not there") for image in by_name if image not in known]
    labels = [by_name.get(item.name) for item in source.items]
    labeled = with_labels(source, labels, where, f"no label in {name}", others=by_name.values())
    return replace(labeled, rejected=labeled.rejected + absent)


def _whole(file: IO[bytes], name: str) -> bytes:
    content = file.read(MAX_DOCUMENT_BYTES + 1)
    if len(content) > MAX_DOCUMENT_BYTES:
        raise InputError(f"the table {name} is larger than {MAX_DOCUMENT_BYTES >> 20} MiB; leave out columns or rows")
    return content


def read_table(place: Path | str, source: Source, name: str) -> tuple[bytes, str]:
    """A table about the images of the source opened at `place`, in it or any other file; and its path in the source.

    Raises InputError where there is none.
    """
    for inside, content in source.documents.items():
        if name in (inside, PurePosixPath(inside).name):
            return content, inside
    root = Path(place)
    try:
        for file, inside in ((root / name, name), (Path(name), Path(name).name)):
            if file.is_file() and not Path(inside).is_absolute():
                with file.open("rb") as opened:
                    return _whole(opened, name), PurePosixPath(inside.replace("\\", "/")).as_posix()
        if root.is_file() and zipfile.is_zipfile(root):
            with zipfile.ZipFile(root) as archive:
                for member in archive.infolist():
                    if name in (member.filename, PurePosixPath(member.filename).name):
                        with archive.open(member) as opened:
                            return _whole(opened, name), name
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise InputError(f"the table {name} cannot be read ({error}); mend or remove it") from error
    raise InputError(f"there is no table {name}, neither in {place} nor beside it; give the path of a CSV file")


def from_table(source: Source, content: bytes, path: str, column: str | None) -> Source:
    """The labels in a column of a CSV file, at `path` inside the source or beside it; it has a column of file names.

    Where no column is named there must be only one, or one of LABEL_COLUMNS. Images are found by their paths from the
    file's folder, else by file name, else by file name without suffix. Raises InputError for a table or a column that
    gives no classes.
    """
    where, rows = f"the {path} in {source.name}", list(_rows_of_csv(content, path))
    names = next((name for name in IMAGE_COLUMNS if rows and name in rows[0]), None)
    others = [name for name in (rows[0] if rows else ()) if name not in (names, "None")]
    if names is None or not others:
        raise InputError(f"{where} has no column file_name beside others; mend it or leave --labels-from out")
    wanted = column.strip().lower() if column is not None else _only(others)
    if wanted not in others:
        what = f"has no column {column!r:.100}" if column is not None else "has several columns"
        raise InputError(f"{where} {what}; give --label-column one of: {', '.join(others)[:200]}")
    values = [(str(row[names]).replace("\\", "/"), str(row[wanted])) for row in rows if row[wanted] not in (None, "")]
    kinds = {value for _, value in values}
    if len(kinds) > MAX_TABLE_CLASSES or (len(kinds) > MOST_WORDS and 2 * len(kinds) > len(values)):
        raise InputError(f"{where} has {len(kinds)} different values of {wanted!r:.100}, too many for classes")
    folder = PurePosixPath(path).parent
    keys = (
        (lambda name: (folder / name).as_posix(), lambda item: item),
        (lambda name: PurePosixPath(name).name, lambda item: PurePosixPath(item).name),
        (lambda name: PurePosixPath(name).stem, lambda item: PurePosixPath(item).stem),
    )
    for of_row, of_item in keys:
        by_name = {of_row(name): value for name, value in values}
        labels = [by_name.get(of_item(item.name)) for item in source.items]
        if any(label is not None for label in labels):
            return with_labels(source, labels, f"{wanted} in {path}", f"no label in {path}", by_name.values())
    raise InputError(
        f"{where} names none of the images of {source.name}, but such as {values[0][0] if values else ''!r}"
    )


def _only(columns: Sequence[str]) -> str | None:
    """The column that can only be meant: the one there is, or that is named as labels are."""
    return columns[0] if len(columns) == 1 else next((name for name in LABEL_COLUMNS if name in columns), None)


def _value(row: dict[str, object], columns: Sequence[str]) -> object:
    """Value of a row in the first of these columns that it has; None where it has none."""
    return next((row[column] for column in columns if column in row), None)


def _pairs_of_dataset_json(content: bytes, where: str) -> Iterator[tuple[str, object]]:
    """Names and labels, as NVIDIA's data set tool writes them."""
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({error}); mend it or leave the labels out") from error
    if isinstance(fields, dict) and fields.get("kind") == "stylegan-store":
        raise InputError(f"{where} says that it is a prepared store already; give it to `stylegan train`")
    pairs = fields.get("labels") if isinstance(fields, dict) else None
    if not pairs:
        return
    if not isinstance(pairs, list):
        raise InputError(f'{where} has "labels" in another form than [["name", class], ...]')
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise InputError(f'{where} has "labels" in another form than [["name", class], ...]')
        yield pair[0].replace("\\", "/"), pair[1]


def _rows_of_json_lines(content: bytes, where: str) -> Iterator[object]:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where} is not valid JSON in line {number} ({error}); mend or remove it") from error
        yield {column.strip().lower(): value for column, value in row.items()} if isinstance(row, dict) else row


def _rows_of_csv(content: bytes, where: str) -> Iterator[dict[str, object]]:
    """The rows by the columns' names, in lower case; numbers become int."""
    try:
        text = content.decode("utf-8-sig")
        first = text.partition("\n")[0]
        rows = csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=first.count))
        for row in rows:
            cells = {str(column).strip().lower(): _stripped(value) for column, value in row.items()}
            number = {c: int(m[1]) for c, v in cells.items() if (m := re.fullmatch(r"([0-9]{1,9})(\.0*)?", str(v)))}
            yield cells | {column: value for column, value in number.items() if column in LABEL_COLUMNS}
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{where} is not valid CSV ({error}); mend or remove it") from error


def _stripped(value: object) -> object:
    return value.strip() if isinstance(value, str) else value


# --- CelebA and CelebA-HQ ----------------------------------------------------------------------


def with_attributes(source: Source, *, every_column: bool = True) -> Source:
    """The source with the attributes of CelebA's list where there is one, found by the images' numbers.

    With an index list beside it (image_list.txt of the CelebA-HQ files, or CelebAMask-HQ's mapping) the images are
    those of CelebA-HQ, and their numbers are looked up there first. Images without attributes are rejected. Where
    CelebA lies complete, only its aligned images are taken. Raises InputError for lists that cannot be understood.
    every_column: false passes over columns of an attributes.csv that are none, of numbers, say.
    """
    path, content = _first_document(source, ATTRIBUTE_LISTS)
    if content is None:
        return _with_attribute_table(source, every_column)
    names, rows, values = _attribute_table(content, f"{path} in {source.name}")
    index_path, index = _first_document(source, INDEX_LISTS)
    if index is None or PurePosixPath(path).name == "CelebAMask-HQ-attribute-anno.txt":  # which has HQ's own numbers
        keys = {PurePosixPath(item.name): PurePosixPath(item.name).stem for item in source.items}
    else:
        originals = _index_table(index, f"{index_path} in {source.name}")
        keys = {PurePosixPath(item.name): originals.get(_number(item.name), "") for item in source.items}

    aligned = {name for name in keys if any(part.startswith("img_align_celeba") for part in name.parts)}
    kept, found, rejected = [], [], []
    seen: dict[int, str] = {}
    for i, item in enumerate(source.items):
        name = PurePosixPath(item.name)
        if aligned and name not in aligned:
            continue
        row = rows.get(keys[name])
        if row is None:
            rejected.append((item.name, f"no attributes in {PurePosixPath(path).name}"))
        elif seen.setdefault(row, item.name) != item.name:
            raise InputError(
                f"{source.name} holds {seen[row]} and {item.name}, which are the same image of {path}; keep one folder "
                "of images beside the list"
            )
        else:
            kept.append(i)
            found.append(row)
    return replace(
        source,
        items=[source.items[i] for i in kept],
        labels=None if source.labels is None else [source.labels[i] for i in kept],
        attributes=values[found],
        attribute_names=names,
        rejected=source.rejected + rejected,
    )


def _with_attribute_table(source: Source, every_column: bool) -> Source:
    """The source with the attributes of an attributes.csv: a column of file names, and columns of attributes."""
    path, content = _first_document(source, (ATTRIBUTE_TABLE,))
    if content is None:
        return source
    where = f"the {path} in {source.name}"
    images: list[str] = []
    columns: dict[str, list[str]] = {}
    for row in _rows_of_csv(content, where):
        column = next((column for column in IMAGE_COLUMNS if column in row), None)
        if column is None or len(row) < 2:
            raise InputError(f"{where} has no column file_name beside those of attributes; mend or remove it")
        images.append((PurePosixPath(path).parent / str(row[column])).as_posix())
        for name, value in row.items():
            if name != column:
                columns.setdefault(name, []).append("" if value is None else str(value))
    if not images:
        raise InputError(f"{where} holds no attributes; mend or remove it")
    if any(len(values) != len(images) for values in columns.values()):
        raise InputError(f"{where} has rows of different lengths; mend or remove it")

    attributes: dict[str, list[bool]] = {}
    for name, values in columns.items():
        try:
            attributes |= _attributes_of_column(name, values, images, where)
        except InputError:
            if every_column:
                raise
    if not attributes:
        return source
    rows = {image: number for number, image in enumerate(images)}
    kept = [number for number, item in enumerate(source.items) if item.name in rows]
    missing = [(item.name, f"no attributes in {path}") for item in source.items if item.name not in rows]
    table = np.array(list(attributes.values()), bool).T[[rows[source.items[number].name] for number in kept]]
    return replace(source.chosen(kept, missing), attributes=table, attribute_names=tuple(attributes))


def _attributes_of_column(name: str, values: list[str], images: list[str], where: str) -> dict[str, list[bool]]:
    """The binary attributes that a column holds: itself, where it has 0 and 1 (-1 and 1, no and yes); else one for each
    of the words it has, "name: word", of two words the second alone. Raises InputError for other numbers."""
    found = [TRUTH_VALUES.get(value.lower()) for value in values]
    if None not in found:
        return {name: found}  # type: ignore[dict-item]  # there is no None
    kinds = sorted(set(values))
    are_words = not any(kind == "" or kind.lower() in TRUTH_VALUES or re.fullmatch(NUMBER, kind) for kind in kinds)
    if not are_words or len(kinds) < 2:
        image = images[found.index(None)]
        raise InputError(f"{where} has for {image!r:.100} something else than 0 and 1; mend or remove it")
    if len(kinds) > MOST_WORDS:
        raise InputError(f"{where} has {len(kinds)} different words for {name!r:.100}; remove that column")
    return {f"{name}: {kind}": [value == kind for value in values] for kind in (kinds if len(kinds) > 2 else kinds[1:])}


def _first_document(source: Source, names: Iterable[str]) -> tuple[str, bytes | None]:
    for name in names:
        for path, content in source.documents.items():
            if PurePosixPath(path).name == name:
                return path, content
    return "", None


def _attribute_table(content: bytes, where: str) -> tuple[tuple[str, ...], dict[str, int], np.ndarray]:
    """The attributes' names, the row of each image by its file name without suffix, and the values, bool [N, A].

    The list: how many images, a line of names, then a line for each image with 1 or -1 for each attribute. (As CSV:
    without the first line, and the first name is that of the column of file names.)
    """
    lines = content.decode("utf-8", "replace").replace(",", " ").splitlines()
    if lines and lines[0].strip().isdigit():
        del lines[0]
    names = tuple(name for name in lines[0].split() if name != "image_id") if lines else ()
    rows: dict[str, int] = {}
    values: list[np.ndarray] = []
    for line in filter(str.strip, lines[1:]):
        image, *signs = line.split()
        if len(signs) != len(names) or not {"1", "-1", "0"}.issuperset(signs):
            raise InputError(
                f"{where} has for {image!r:.100} something else than {len(names)} times 1 or -1; fetch it again"
            )
        rows[PurePosixPath(image).stem] = len(values)
        values.append(np.array(signs) == "1")
    if not names or not values:
        raise InputError(f"{where} holds no attributes; fetch it again")
    return names, rows, np.stack(values)


def _index_table(content: bytes, where: str) -> dict[int, str]:
    """From an image's number in CelebA-HQ to its name in CelebA without suffix, by the columns idx and orig_file."""
    lines = [line.split() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    try:
        number, original = lines[0].index("idx"), lines[0].index("orig_file")
        return {int(line[number]): PurePosixPath(line[original]).stem for line in lines[1:]}
    except (IndexError, ValueError) as error:
        raise InputError(f"{where} is no table with the columns idx and orig_file; fetch it again") from error


def _number(name: str) -> int:
    """The number at the end of a file's name: 7 of images/imgHQ00007.png; -1 where there is none."""
    digits = re.search(r"[0-9]{1,9}$", PurePosixPath(name).stem)
    return int(digits[0]) if digits else -1
