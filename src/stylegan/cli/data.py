"""The command for data: prepare."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from stylegan.cli.arguments import Flat, command, say_next
from stylegan.data.prepare import PrepareConfig, prepare_portraits
from stylegan.data.prepare import prepare as prepare_images
from stylegan.errors import InputError


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
        report = prepare_portraits(store, count=5000 if count is None else count, **of_portraits)
    elif count is not None:
        raise InputError("--count is for portraits; use --limit to take fewer images than there are")
    else:
        report = prepare_images(source, store, config)
    *skipped, last = report.lines(config.resolution)
    print("".join(f"{line}\n" for line in skipped), end="")
    labels = ["--labels"] if report.has_labels else []
    print(f"{last} Next: {say_next('train', store, 'RUN', '--preset', 'small', *labels)}")
