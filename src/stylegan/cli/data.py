"""The commands for data: look, prepare."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from stylegan.cli.arguments import Flat, command, say_next
from stylegan.data.look import LookConfig
from stylegan.data.prepare import PrepareConfig, prepare_portraits
from stylegan.data.prepare import prepare as prepare_images
from stylegan.errors import InputError


@command
def look(
    source: Annotated[str, Positional, arg(metavar="SOURCE")],
    out: Annotated[Path, Positional, arg(metavar="OUT.html")] = Path("look.html"),
    config: Annotated[LookConfig, Flat] = LookConfig(),  # noqa: B008
) -> None:
    """Write a page that shows a set of pictures: sizes, duplicates, what is blurred, has bars, is odd.

    Beside it a list of what to leave out is written, for `stylegan prepare --exclude`; one that is there stays.

    Args:
        source: Folder, zip file or other source of images that `stylegan prepare` takes, or a store.
        out: Page to write, one file that needs no network.
    """
    from stylegan import looking  # imports torch, which prepare does without

    report = looking.look(source, out, config)
    for line in report.lines():
        print(line)
    print(f"Next: {say_next(*report.next)}")


@command
def prepare(
    source: Annotated[str, Positional, arg(metavar="SOURCE")],
    store: Annotated[Path, Positional, arg(metavar="STORE")],
    config: Annotated[PrepareConfig, Flat],
    count: int | None = None,
) -> None:
    """Decode images once, bring them to one size and write them as a training store.

    Args:
        source: Folder of images (any depth), zip or tar file, webdataset shards (x-{000..009}.tar), the official tool's
            TFRecords, LMDB folder, Hugging Face data set (parquet, save_to_disk, or hf://datasets/USER/NAME), or the
            word portraits for the built-in procedural data set.
        store: Folder to make.
        count: Number of portraits to draw (only for portraits). Default: 5000.
    """
    if source == "portraits":
        of_portraits = {name: getattr(config, name) for name in ("hold_out", "resolution", "seed", "workers")}
        if config != PrepareConfig(**of_portraits):
            raise InputError(
                "portraits take --count, --hold-out, --resolution, --seed and --workers; leave out the rest"
            )
        of_portraits["resolution"] = 256 if config.resolution is None else config.resolution
        report = prepare_portraits(store, count=5000 if count is None else count, **of_portraits)
    elif count is not None:
        raise InputError("--count is for portraits; use --limit to take fewer images than there are")
    else:
        report = prepare_images(source, store, config)
    *lines, last = report.lines()
    print("".join(f"{line}\n" for line in lines), end="")
    labels = ["--labels"] if report.has_labels else []
    print(f"{last} Next: {say_next('train', store, 'RUN', *labels)}")
