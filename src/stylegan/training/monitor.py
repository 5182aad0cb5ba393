"""What a run tells about itself: stats.jsonl, a progress bar, TensorBoard, grids of samples."""

import errno
import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from stylegan import processes, run_files
from stylegan.errors import InputWarning
from stylegan.files import append, atomic_file
from stylegan.images import save_image
from stylegan.system import peak_memory_bytes
from stylegan.threads import Crowd

Sums = dict[str, Tensor]  # what `Means` has counted: of names, with spaces between, [2, names]


class Means:
    """Averages of named quantities since the last reading, summed on the device: adding never waits for it.

    A step whose numbers are not finite is left out.
    """

    def __init__(self, sums: Sums | None = None) -> None:
        """sums: of an earlier one, to go on with."""
        self._sums: dict[tuple[str, ...], Tensor] = {  # of the values, and how many they are: [2, names]
            tuple(names.split()): total for names, total in (sums or {}).items()
        }

    def add(self, **quantities: Tensor) -> None:
        """Count in all elements of quantities that have one shape, each under its name."""
        values = torch.stack([values.detach().flatten() for values in quantities.values()])
        values = values if values.device.type == "mps" else values.double()  # which has no float64
        finite = values.isfinite()
        total = torch.stack([values.where(finite, 0).sum(dim=1), finite.sum(dim=1)])
        names = tuple(quantities)
        self._sums[names] = self._sums[names].to(total) + total if names in self._sums else total

    @classmethod
    def going_on(cls, shares: list[Sums]) -> "Means":
        """With what the processes had counted, each with its own; where they were more or fewer, the first with all."""
        if len(shares) == processes.world_size():
            return cls(shares[processes.rank()])
        first = processes.rank() == 0
        names = shares[0] if shares else {}
        return cls({name: torch.stack([share[name] for share in shares]).sum(dim=0) * first for name in names})

    def sums(self) -> Sums:
        """What this process has counted since the last reading."""
        return {" ".join(names): total.cpu() for names, total in self._sums.items()}

    def read(self) -> dict[str, float]:
        """The averages over all processes; counting begins anew."""
        processes.all_reduce_sum(self._sums[names] for names in sorted(self._sums))
        sums = {
            name: sums
            for names, total in self._sums.items()
            for name, sums in zip(names, total.T.tolist(), strict=True)
        }
        self._sums.clear()
        return {name: total / count for name, (total, count) in sums.items() if count}


def are_sums(shares: list[Any]) -> bool:
    """Whether something from a file is a list of `Sums` of the same names."""
    for share in shares:
        if not (isinstance(share, dict) and all(isinstance(names, str) for names in share)):
            return False
        for names, total in share.items():
            if not (isinstance(total, Tensor) and total.is_floating_point()):
                return False
            if total.shape != (2, len(names.split())) or names not in shares[0]:
                return False
    return all(len(share) == len(shares[0]) for share in shares)


class Monitor:
    """Writes a run's reports into its folder. With `active` False (all ranks but the first) it does nothing.

    Training needs none of what is written here: what cannot be written is warned of once, and training goes on.
    """

    def __init__(
        self,
        run_dir: Path,
        total_images: int,
        images_seen: int,
        *,
        images: int = 0,
        active: bool = True,
        progress: bool = True,
    ) -> None:
        """images: how many the data hold, for the passes over them; 0 says nothing of those."""
        self._total_images, self._images = total_images, images
        self.run_dir, self.active, self._progress, self._status = run_dir, active, progress, ""
        self._bar = tqdm(
            total=total_images / 1000,
            initial=images_seen / 1000,
            unit="kimg",
            disable=None if active and progress else True,  # None: only where someone watches
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar}| {n:.1f}/{total:.0f} kimg [{elapsed}{postfix}]",
        )
        self._crowd = Crowd() if active and processes.world_size() == 1 else None  # else they would count each other
        self._board, self._unwritten = None, b""
        if active:
            for name in ("stats.jsonl", "metrics.jsonl"):
                with _dispensable(name):
                    _truncate(run_dir / name, images_seen)
            self._board = _tensorboard(run_dir, images_seen)

    def progress(
        self,
        images_seen: int,
        images_per_second: float,
        seconds_left: float,
        resolution: int,
        fade: float,
        augment_strength: float | None = None,
    ) -> None:
        """Move the bar. Where other programs keep cores busy it says so, and the threads wait without spinning."""
        self._bar.n = min(images_seen / 1000, self._bar.total)
        growing = f" fading in ({1 - fade:.0%})" if fade > 0 else ""
        if self._images:
            each = tqdm.format_interval(self._images / max(images_per_second, 1e-9))
            growing += f", {passes(images_seen, self._total_images, self._images)} ({each} each)"
        augmented = "" if augment_strength is None else f", augmented {augment_strength:.2f}"
        left = tqdm.format_interval(seconds_left)
        self._status = (
            f"{resolution}x{resolution}{growing}{augmented}, {images_per_second:.1f} img/s, about {left} left"
        )
        if self._crowd is not None:
            self._crowd.look(torch.get_num_threads())
            self._status += self._crowd.notice and f", {self._crowd.notice}"
        self._bar.set_postfix_str(self._status)

    def say(self, message: str) -> None:
        """Print a line without disturbing the bar."""
        if self.active:
            try:
                tqdm.write(message, file=sys.stderr)
            except OSError as error:
                if error.errno != errno.EIO:  # the terminal is gone, which is no reason to lose a training
                    raise

    def report(self, record: dict[str, Any]) -> None:
        """Append one line to stats.jsonl, and its numbers to TensorBoard; say it where there is no bar to see."""
        if not self.active:
            return
        if self._bar.disable and self._progress:
            self.say(f"{record['images_seen'] / 1000:.1f} kimg, {self._status}")
        self._unwritten += json.dumps(record, allow_nan=False).encode() + b"\n"
        with _dispensable("stats.jsonl"):
            append(self.run_dir / "stats.jsonl", self._unwritten)
            self._unwritten = b""  # else with the next
        if self._board is not None:
            board, self._board = self._board, None
            with _dispensable("tensorboard"):
                for name, value in record.items():
                    board.add_scalar(name, value, record["images_seen"])
                board.flush()
                self._board = board  # where that went well

    def save_image(self, image: Tensor, name: str) -> None:
        """Save an image, [C, H, W] in about [-1, 1] or uint8, in the run's folder."""
        if self.active:
            with _dispensable("sample grids"):
                path = self.run_dir / name
                save_image(image, path if run_files.images_seen_of(path) < 0 else run_files.claim(path), sheet=True)

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.close()
        if self._crowd is not None:
            self._crowd.close()
        if self._board is not None:
            with _dispensable("tensorboard"):
                self._board.close()


@contextmanager
def _dispensable(what: str) -> Iterator[None]:
    """Inside, what cannot be written is warned of."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        warnings.warn(f"{what} cannot be written ({reason}); training goes on without", InputWarning, stacklevel=3)


def passes(images_seen: int, total_images: float, images: int) -> str:
    """Which pass over the training images is going on: "pass 37 of 250"."""
    now, total = -(-images_seen // images), ceil(total_images / images)
    return f"pass {max(1, min(now, total))} of {max(1, total)}"  # the last batch may go beyond the end


def peak_memory_mb(device: torch.device) -> float:
    """The most memory used so far, in MiB: on the GPU if there is one, else by the process; 0 where nothing says."""
    if device.type in ("cuda", "xpu"):
        return getattr(torch, device.type).max_memory_allocated(device) / 2**20
    return peak_memory_bytes() / 2**20


def _truncate(path: Path, images_seen: int) -> None:
    """Drop what a killed run reported or measured after the state that it is resumed from."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            if json.loads(line)["images_seen"] <= images_seen:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError, RecursionError):
            continue  # a line cut short by the kill
    with atomic_file(path) as file:
        file.write("".join(kept).encode())


def _tensorboard(run_dir: Path, images_seen: int):
    """A TensorBoard writer, or None where the package is not installed, or fails."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    except Exception as error:  # it raises nearly anything where its own dependencies do not fit
        reason = " ".join(str(error).split())[:200]
        warnings.warn(f"tensorboard cannot be used ({reason}); training goes on without", InputWarning, stacklevel=2)
        return None
    with _dispensable("tensorboard"):
        return SummaryWriter(str(run_dir / "tensorboard"), purge_step=images_seen)
    return None
