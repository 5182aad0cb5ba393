"""Hugging Face data sets: parquet files, what `save_to_disk` wrote, or a name on the hub.

Their rows come one after the other, so they are first copied, undecoded, into one temporary file; from there worker
processes take them in any order. Needs `pip install 'stylegan[data]'`.
"""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, urlsplit

from tqdm import tqdm

from stylegan.data.items import MAX_FILE_BYTES, Item, SliceItem, Source, first_reasons, too_large
from stylegan.errors import InputError
from stylegan.system import system

HUB = "hf://datasets/"
_SUFFIXES = (".parquet", ".arrow")
MOST_UNPACKED = 256 * 2**20  # bytes of images, and 20 times the size of the files
_WINDOW = 256  # rows of a stream among which some are drawn at random, where not all are wanted


def is_dataset(source: Path | str) -> bool:
    """Whether `fetch` can read it: a name on the hub, a .parquet or .arrow file, or a folder that holds some."""
    if is_on_hub(source):
        return True
    return bool(_files(Path(source))) or (Path(source) / "dataset_dict.json").exists()


def is_on_hub(source: Path | str) -> bool:
    """Whether it is fetched from the hub."""
    return str(source).startswith("hf://")


def fetch(
    source: Path | str,
    scratch: Path,
    *,
    with_labels: bool = True,
    limit: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Source:
    """Copy a data set's images, as they are encoded, into a file in the folder `scratch`, and list them.

    The image column is the only one of its kind or called "image"; class numbers come from the only ClassLabel column
    or that called "label". Of the hub at most `limit` rows are fetched, drawn from a window of the stream.

    Raises InputError if a library is missing, if there is no data set of that name, split or form, if it cannot be
    reached, or if it holds no image.
    """
    rejected: list[tuple[str, str]] = []
    try:
        import datasets  # noqa: F401  its absence is reported here, for all that follow
    except ImportError as error:
        raise InputError("Hugging Face data sets need the library: pip install 'stylegan[data]'") from error
    if is_on_hub(source):
        most = math.inf
        name, classes, rows = _open_hub(str(source), with_labels, limit, seed)
    else:
        most = MOST_UNPACKED + 20 * sum(file.stat().st_size for file in _files(Path(source)))
        name, classes, rows = _open_files(Path(source), with_labels, rejected)
    items: list[Item] = []
    labels: list[int] = []
    path = scratch / "images"
    shown = tqdm(rows, unit="image", desc="fetch", disable=None if progress else True)
    with _writable(path), path.open("wb") as file:
        for number, (image, label) in enumerate(shown):
            data = image.get("bytes") if isinstance(image, Mapping) else image
            place = image.get("path") if isinstance(image, Mapping) else None
            row = f"{number:08d}"
            item_name = f"{row}/{PurePosixPath(place).name}" if isinstance(place, str) and place else row
            if not isinstance(data, bytes):
                # A path alone is not followed: it would lead to any file of this machine, or to the network.
                rejected.append((item_name, "its image is not in the data set" if place else "no image"))
            elif len(data) > MAX_FILE_BYTES:
                rejected.append((item_name, too_large(len(data))))
            elif classes and (type(label) is not int or not 0 <= label < len(classes)):
                rejected.append((item_name, f"no label of a class: {label}"))
            else:
                if file.tell() + len(data) > most:
                    raise InputError(
                        f"{source} unpacks to more than {most / 2**20:.0f} MiB, far more than its size: leave it out"
                    )
                items.append(SliceItem(item_name, str(path), file.tell(), len(data)))
                labels.append(label)
                file.write(data)
    if not items:
        raise InputError(f"{source} holds no image{first_reasons(rejected)}")
    return Source(name, items, rejected, labels if classes else None, classes)


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the images cannot be copied to {path} ({error.strerror or error}): free some space, or choose another "
            "place for the store"
        ) from error


def bound_memory(more: int) -> None:
    """Let this process take at most so many bytes more, mapped files apart: 60 KB of parquet can unpack to 8 GB.

    What goes beyond is an error of pyarrow, or the process's end. Only Linux can do it; elsewhere nothing is done.
    """
    status = Path("/proc/self/status")
    if system() == "linux" and status.exists():
        import resource

        used = int(re.findall(r"VmData:\s+(\d+) kB", status.read_text())[0]) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = used + more if hard == resource.RLIM_INFINITY else min(used + more, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _columns(features: Mapping, with_labels: bool, source: Path | str) -> tuple[str, str | None, tuple[str, ...]]:
    """The image column, the label column and the names of its classes; None and () without."""
    from datasets import ClassLabel, Image, Value

    def one_of(kinds: tuple[type, ...], usual: str) -> list[str]:
        names = [name for name, feature in features.items() if isinstance(feature, kinds)]
        return [usual] if usual in names else names

    images = one_of((Image,), "image")
    if not images:  # written by other programs: bytes, or bytes and a path
        images = [
            name
            for name, feature in features.items()
            if feature == Value("binary") or (isinstance(feature, Mapping) and feature.get("bytes") == Value("binary"))
        ]
    if len(images) != 1:
        found = f"several columns of images ({', '.join(images)})" if images else f"no images ({', '.join(features)})"
        raise InputError(f"{source} has {found}; give a data set with one, or with one called image")
    labels = one_of((ClassLabel,), "label") if with_labels else []
    if len(labels) != 1:
        return images[0], None, ()
    return images[0], labels[0], tuple(features[labels[0]].names)


# --- Files -------------------------------------------------------------------------------------


def _files(path: Path) -> list[Path]:
    """The files of a data set: in a folder or, as on the hub, in its folder `data`; or the one that is given."""
    if path.suffix in _SUFFIXES and path.is_file():
        return [path]
    for folder in (path, path / "data"):
        if folder.is_dir():
            found = sorted(file for file in folder.iterdir() if file.suffix in _SUFFIXES and file.is_file())
            if [file.name for file in found] not in ([], ["metadata.parquet"]):  # which describes images beside it
                return found
    return []


def _open_files(
    path: Path, with_labels: bool, rejected: list[tuple[str, str]]
) -> tuple[str, tuple[str, ...], Iterator[tuple]]:
    """Name, names of classes, and (image, label) of every row of parquet or arrow files."""
    from datasets import Features

    files = _files(path)
    if not files:
        splits = sorted(folder.name for folder in path.iterdir() if folder.is_dir())
        raise InputError(
            f"{path} holds the parts {', '.join(splits)}; give one of them: {path / (splits or ['train'])[0]}"
        )
    try:
        features = Features.from_arrow_schema(_schema(files[0]))
    except Exception as error:  # pyarrow and datasets let through whatever a damaged file makes them stumble over
        raise InputError(f"{files[0]} cannot be read ({_reason(error)}); fetch it again") from error
    image, label, classes = _columns(features, with_labels, path)

    rows = (row for file in files for row in _rows(file, image, label, rejected))
    return path.resolve().name, classes, rows


def _schema(path: Path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return pq.read_schema(path)
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).schema


def _rows(path: Path, image: str, label: str | None, rejected: list[tuple[str, str]]) -> Iterator[tuple]:
    """(image, label) of each row of a file. What is damaged is rejected: the rest of a group of parquet rows, an arrow
    batch, or all that follows.

    One row is read at a time: a few bytes can stand for many rows of the same large value.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def values(batch: pa.RecordBatch) -> tuple:
        return batch.column(image)[0].as_py(), batch.column(label)[0].as_py() if label else None

    where = f"{path.name} from batch 0" if path.suffix == ".arrow" else path.name
    try:
        if path.suffix == ".arrow":
            with pa.memory_map(str(path)) as file:
                for number, batch in enumerate(pa.ipc.open_stream(file)):
                    where = f"{path.name} from batch {number + 1}"
                    try:
                        batch.validate(full=True)  # who reads values trusts their offsets
                    except pa.ArrowInvalid as error:
                        rejected.append((f"{path.name} batch {number}", f"damaged ({_reason(error)})"))
                        continue
                    for start in range(batch.num_rows):
                        yield values(batch.slice(start, 1))
            return
        with pq.ParquetFile(path, memory_map=True) as file:
            columns = [image] if label is None else [image, label]
            for group in range(file.metadata.num_row_groups):
                try:
                    for batch in file.iter_batches(1, row_groups=[group], columns=columns, use_threads=False):
                        yield values(batch)
                except Exception as error:  # pyarrow, as at the end: the other row groups may be sound
                    rejected.append((f"{path.name} row group {group}", f"damaged ({_reason(error)})"))
    except Exception as error:  # pyarrow lets through whatever a damaged file makes it stumble over
        rejected.append((where, f"damaged ({_reason(error)})"))


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")[:200]


# --- The hub -----------------------------------------------------------------------------------


def _open_hub(
    address: str, with_labels: bool, limit: int | None, seed: int
) -> tuple[str, tuple[str, ...], Iterator[tuple]]:
    """Name, names of classes, and (image, label) of every row of `hf://datasets/USER/NAME[@REVISION][?config=&split=]`.

    The rows are streamed: nothing is kept in the library's cache.
    """
    import datasets

    parts = urlsplit(address)
    name, _, revision = parts.path.strip("/").partition("@")
    options = dict(parse_qsl(parts.query))
    if (
        parts.netloc != "datasets"
        or not 1 <= name.count("/") + 1 <= 2
        or not name
        or set(options) - {"config", "split"}
    ):
        raise InputError(
            f"{address} is no data set's address; use {HUB}USER/NAME, with ?split=NAME or ?config=NAME if need be"
        )
    try:
        found = datasets.load_dataset(name, options.get("config"), revision=revision or None, streaming=True)
        splits = sorted(found)
        split = options.get("split", "train" if "train" in splits or len(splits) != 1 else splits[0])
        if split not in splits:
            raise InputError(f"{address} has the splits {', '.join(splits)}; choose one: {HUB}{name}?split={splits[0]}")
        stream = found[split]
        features = stream.features or {}
    except InputError:
        raise
    except Exception as error:  # of the library, of the network, of the file formats
        raise InputError(f"{address} cannot be opened ({_reason(error)}); check its name and the connection") from error
    image, label, classes = _columns(features, with_labels, address)
    stream = stream.select_columns([image] if label is None else [image, label])
    if isinstance(features[image], datasets.Image):
        stream = stream.cast_column(image, datasets.Image(decode=False))
    if limit is not None:
        stream = stream.shuffle(seed=seed, buffer_size=_WINDOW).take(limit)

    def rows() -> Iterator[tuple]:
        try:
            for row in stream:
                yield row[image], row[label] if label else None
        except Exception as error:  # of the library, of the network, of the file formats
            raise InputError(f"{address} cannot be fetched ({_reason(error)}); run the command again") from error

    return address.partition("?")[0].removeprefix(HUB), classes, rows()
