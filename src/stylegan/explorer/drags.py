"""Dragging in the page: what is asked for, drags that are under way, and the ways that they went."""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from stylegan import dragging, sampling, videos
from stylegan.dragging import Drag, DragConfig, Dragged, Point
from stylegan.errors import InputError
from stylegan.explorer.picture import Explorer, Recipe, noise_of, w_of
from stylegan.networks.generator import Generator
from stylegan.recipe import shown

MOST_POINTS, MOST_STEPS, MOST_AT_ONCE, MOST_WAYS = 20, 1000, 8, 50
MOST_RUNS = 64  # painted parts of a row of pixels, on average
WAYS = 128 * 2**20  # bytes of all ways that are kept
FPS, REST = 20, 20  # frames a second of a video, and how long it stays at its end


class Way:
    """Where w and the points were after each step of a drag."""

    def __init__(self, explorer: Explorer, drag: Drag) -> None:
        self.fingerprint, self.drag = explorer.fingerprint, drag
        self.ws: list[Tensor] = []  # [1, num_layers, w_dim]
        self.points: list[Tensor] = []  # [P, 2]

    def add(self, state: Dragged) -> None:
        """Add a step."""
        self.ws.append(state.w.cpu())
        self.points.append(state.points.cpu())

    def __len__(self) -> int:
        return len(self.ws)

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in (*self.ws, *self.points))


class Drags:
    """Drags of all users, by names that nobody can guess: those under way, and the newest ways."""

    def __init__(self) -> None:
        self._halted: dict[str, threading.Event] = {}
        self._ways: OrderedDict[str, Way] = OrderedDict()
        self._spaces: WeakKeyDictionary[Generator, tuple[Tensor, Tensor]] = WeakKeyDictionary()
        self._lock = threading.Lock()

    @contextmanager
    def under_way(self) -> Iterator[str]:
        """Inside the block a drag has the name that is given. Raises InputError where there are too many."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            if len(self._halted) >= MOST_AT_ONCE:
                raise InputError(f"{MOST_AT_ONCE} others are dragging just now; start again in a moment")
            self._halted[name] = threading.Event()
        try:
            yield name
        finally:
            del self._halted[name]

    def halt(self, name: str) -> None:
        """Let a drag end with the step that it is at; nothing for a name that is not there (any more)."""
        if (halted := self._halted.get(name)) is not None:
            halted.set()

    def is_halted(self, name: str) -> bool:
        return self._halted[name].is_set()

    def follow(self, explorer: Explorer, recipe: Recipe, drag: Drag, config: DragConfig) -> Iterator[Dragged]:
        """Drag points of a picture, see `dragging.dragging`; how W lies is measured once for a model."""
        generator = explorer.generator
        if generator not in self._spaces:
            self._spaces[generator] = sampling.coordinates(sampling.sample_w(generator, 10_000, config.seed))
        how = {"noise": noise_of(generator, recipe), "space": self._spaces[generator]}
        yield from dragging.dragging(generator, w_of(explorer, recipe), drag, config, **how)

    def keep(self, way: Way) -> str:
        """Keep a way; its name. The oldest go where all are larger than WAYS."""
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._ways[name] = way
            while len(self._ways) > 1 and sum(each.size for each in self._ways.values()) > WAYS:
                self._ways.popitem(last=False)
        return name

    def way(self, name: str, explorer: Explorer) -> Way:
        """Raises InputError for a name that is not there (any more), and for another model's."""
        way = self._ways.get(name)
        if way is None or way.fingerprint != explorer.fingerprint:
            raise InputError("the way of this drag is not here any more; go back, and drag again")
        return way


def read(said: dict[str, Any], explorer: Explorer) -> tuple[Drag, DragConfig]:
    """What the page says: {"points": [[x, y, to x, to y], ...], "mask": null or [[left, top, right, bottom], ...],
    "steps", "rate", "firmness"}, as in a file of points. Raises InputError, before anything is computed.
    """
    height, width = dragging.picture_size(explorer.generator)
    points = _rows(said.get("points"), MOST_POINTS, "points")
    if any(not 0 <= number <= max(width, height) for row in points for number in row):
        raise InputError("a point is outside the picture; set it again")
    mask = said.get("mask")
    if mask is not None:
        rectangles = _rows(mask, MOST_RUNS * height, "rectangles of the mask")
        if any(number != int(number) or not 0 <= number <= max(width, height) for row in rectangles for number in row):
            raise InputError("the mask is outside the picture; paint it again")
        try:
            mask = dragging.mask_of_rectangles(rectangles, explorer.generator)
        except ValueError:
            raise InputError("nothing of the picture may change; paint some of it, or clear the mask") from None
    steps, rate, firmness = (_number(said, *each) for each in RANGES)
    config = DragConfig(steps=round(steps), learning_rate=rate, mask_weight=firmness)
    return Drag(tuple(Point(*row) for row in points), mask), config


RANGES = (  # name, default, least, most
    ("steps", DragConfig.steps, 1, MOST_STEPS),
    ("rate", DragConfig.learning_rate, 1e-3, 1.0),
    ("firmness", DragConfig.mask_weight, 0, 1000),
)


def _rows(rows: Any, most: int, what: str) -> list[list[float]]:
    """Rows of four finite numbers."""
    if not isinstance(rows, list) or not 1 <= len(rows) <= most:
        raise InputError(f"there are no {what}, or more than {most}; set 1 to {most}")
    if not all(isinstance(row, list) and len(row) == 4 and all(map(_is_number, row)) for row in rows):
        raise InputError(f"the {what} are no rows of four numbers; reload the page")
    return [list(map(float, row)) for row in rows]


def _is_number(value: Any) -> bool:
    return isinstance(value, float | int) and abs(value) < 1e6  # not so are inf and nan


def _number(said: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = said.get(name, default)
    if not _is_number(value) or not least <= value <= most:
        raise InputError(f"{name} is {str(value)[:40]}; give a number from {least:g} to {most:g}")
    return value


def told(state: Dragged, config: DragConfig) -> dict[str, Any]:
    """Where a drag stands, as the page is told."""
    rounded = {"points": state.points, "distances": state.distances}
    numbers = {name: [_short(each) for each in tensor.tolist()] for name, tensor in rounded.items()}
    return {"step": state.step, "of": config.steps, "arrived": state.arrived, **numbers}


def _short(value: Any) -> Any:
    return [round(each, 2) for each in value] if isinstance(value, list) else round(value, 2)


# --- videos


def frames_of(ways: Sequence[Way]) -> int:
    """Number of frames of `film`."""
    return sum(map(len, ways)) + REST


def film(explorer: Explorer, recipe: Recipe, ways: Sequence[Way]) -> Iterator[videos.Frame]:
    """The ways, with their points and targets, as `stylegan drag --video` shows them. recipe: whose noise is drawn."""
    generator = explorer.generator
    noise = noise_of(generator, recipe)
    for way in ways:
        targets = torch.tensor([[p.to_x, p.to_y] for p in way.drag.points])
        for step, (w, points) in enumerate(zip(way.ws, way.points, strict=True)):
            with torch.no_grad():
                image = generator.synthesis(w.to(generator.w_avg), noise=noise)
            mask = way.drag.mask if step == 0 else None
            frame = dragging.marked(shown(generator, image)[0], points, targets, mask), ""
            yield frame
    for _ in range(REST):
        yield frame
