"""Whether samples are copies of training images: how near each comes to one, in features and in pixels.

The measure is relative: real images that training has not seen come near training images too, as near as the data lie
dense. Samples that come nearer than those have been learned by heart. Everything is computed in blocks, so that memory
does not grow with the product of the two sets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from stylegan import processes
from stylegan.errors import InputError
from stylegan.images import contact_sheet, on_white
from stylegan.metrics.stream import Images, to_rgb

if TYPE_CHECKING:
    from stylegan.metrics.metric import Evaluation, Set

MOST_TRAINING = 50_000  # images that samples are compared with

SIDE = 16  # pixels of the small images that are compared
SHIFT = 1  # of those pixels, a sixteenth of the image, in each direction
BLOCK = 4096  # stored images that queries are compared with at a time
PAIRS = 16  # in the picture of the worst


@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest of the stored images, for each query."""

    distance: Tensor  # float64 [N], Euclidean
    index: Tensor  # int64 [N]


def nearest(queries: Tensor, stored: Tensor, *, own: int | None = None, device: torch.device | None = None) -> Nearest:
    """The nearest of `stored` [M, F] to each of `queries` [N, V, F] in any of V variants, or [N, F].

    own: query i is stored[own + i] itself, which does not count. The search is in float32 and in blocks; the distance
    of what it finds is then taken directly, without its rounding. Raises InputError where there is nothing to be near
    to.
    """
    if len(stored) < 1 + (own is not None) or not len(queries):
        raise InputError(f"{len(queries)} images and {len(stored)} training images cannot be compared; give more")
    queries = queries[:, None] if queries.ndim == 2 else queries
    device = device or queries.device
    distances, indices = [], []
    rows = max(1, BLOCK // queries.shape[1])
    for start in range(0, len(queries), rows):
        x = queries[start : start + rows].to(device, torch.float32)  # [n, V, F]
        flat, numbers = x.flatten(0, 1), torch.arange(start, start + len(x), device=device) + (own or 0)
        best = torch.full((len(x),), torch.inf, device=device)
        index, variant = (torch.zeros(len(x), dtype=torch.int64, device=device) for _ in range(2))
        for first in range(0, len(stored), BLOCK):
            y = stored[first : first + BLOCK].to(device, torch.float32)
            # |y|^2 - 2 x.y, to which |x|^2 is added for the sake of comparing variants
            squared = torch.addmm(y.square().sum(dim=1), flat, y.T, alpha=-2) + flat.square().sum(dim=1, keepdim=True)
            squared = squared.view(len(x), -1, len(y))
            if own is not None:
                inside = (numbers >= first) & (numbers < first + len(y))
                squared[inside, :, numbers[inside] - first] = torch.inf
            least, place = squared.flatten(1).min(dim=1)
            nearer = least < best
            best = torch.where(nearer, least, best)
            index = torch.where(nearer, first + place % len(y), index)
            variant = torch.where(nearer, place // len(y), variant)
        found = x[torch.arange(len(x), device=device), variant].cpu().double()
        index = index.cpu()
        distances.append((found - stored[index].cpu().double()).norm(dim=1))
        indices.append(index)
    return Nearest(torch.cat(distances), torch.cat(indices))


def nearest_reference(queries: Tensor, stored: Tensor, *, own: int | None = None) -> Nearest:
    """`nearest`, one pair after the other."""
    queries = queries[:, None] if queries.ndim == 2 else queries
    distances, indices = [], []
    for i, variants in enumerate(queries.double()):
        to_each = [
            torch.inf if own is not None and own + i == j else min(float((x - y).norm()) for x in variants)
            for j, y in enumerate(stored.double())
        ]
        distances.append(min(to_each))
        indices.append(to_each.index(min(to_each)))
    return Nearest(torch.tensor(distances, dtype=torch.float64), torch.tensor(indices))


# --- pixels


def small_images(images: Tensor) -> Tensor:
    """Images uint8 [N, C, H, W] as they are compared pixel by pixel: uint8 [N, 3, 16, 16]."""
    return F.adaptive_avg_pool2d(to_rgb(images).float(), SIDE).round().to(torch.uint8)


def centers(small: Tensor) -> Tensor:
    """The inner part of small images, which is compared: float32 [N, F] in [-0.5, 0.5]."""
    inner = small[:, :, SHIFT : SIDE - SHIFT, SHIFT : SIDE - SHIFT]
    return inner.flatten(1).float() / 255 - 0.5


def shifted(small: Tensor) -> Tensor:
    """The same of small images in each place and mirrored: float32 [N, V, F]. The first is where `centers` is."""
    around = range(-SHIFT, SHIFT + 1)
    shifts = sorted(((dy, dx) for dy in around for dx in around), key=lambda shift: abs(shift[0]) + abs(shift[1]))
    variants = [
        torch.roll(image, shift, dims=(2, 3))  # what comes in at the edges lies outside the inner part
        for image in (small, small.flip(3))
        for shift in shifts
    ]
    return torch.stack([centers(variant) for variant in variants], dim=1)


def nearest_pixels(
    small: Tensor, stored: Tensor, *, own: int | None = None, device: torch.device | None = None
) -> Nearest:
    """`nearest` of small images, uint8 [N, 3, 16, 16], mirrored and shifted, among others [M, 3, 16, 16].

    The distances are root mean squares in levels of 255.
    """
    of_stored, parts = centers(stored), []
    for start in range(0, len(small), BLOCK):
        place = None if own is None else own + start
        parts.append(nearest(shifted(small[start : start + BLOCK]), of_stored, own=place, device=device))
    distance = torch.cat([part.distance for part in parts]) * 255 / of_stored.shape[1] ** 0.5
    return Nearest(distance, torch.cat([part.index for part in parts]))


# --- what it comes to


@dataclass(frozen=True, eq=False)
class Comparison:
    """Samples beside real images that training has not seen, by one kind of distance."""

    samples: Nearest
    reals: Nearest
    """Held-out images beside training images, or where there are none training images beside each other."""

    @property
    def usual(self) -> float:
        """The median distance of the real images. Raises InputError where most of them are there twice."""
        median = self.reals.distance.median().item()
        if median == 0:
            raise InputError("most training images are there twice or more, so that copies of them cannot be told")
        return median

    @property
    def ratio(self) -> float:
        """How far samples stay from training images, 1 being as far as new real images."""
        return self.samples.distance.median().item() / self.usual

    @property
    def near_copies(self) -> float:
        """Share of the samples nearer to a training image than one in a hundred of the real images is."""
        return (self.samples.distance < self.reals.distance.quantile(0.01)).double().mean().item()


def worst_pairs(features: Comparison, pixels: Comparison, samples: Images, training: Images) -> Image.Image:
    """A picture of the samples that come nearest to a training image, by either distance, each beside that image.

    Of the samples near one training image the nearest is shown. The titles say how near, 1 being usual.
    """
    ratios = torch.stack([each.samples.distance / each.usual for each in (features, pixels)])
    least, which = ratios.min(dim=0)
    pairs: dict[int, tuple[int, str]] = {}  # training image -> sample, title
    for number in least.argsort().tolist():
        kind, comparison = (("features", features), ("pixels", pixels))[int(which[number])]
        image = int(comparison.samples.index[number])
        pairs.setdefault(image, (number, f"{least[number].item():.2f} in {kind}"))
        if len(pairs) == PAIRS:
            break
    shown, titles = [], []
    for image, (number, title) in pairs.items():
        pair = [
            on_white(source.batch(torch.tensor([at]).numpy()).cpu())
            for source, at in ((samples, number), (training, image))
        ]
        if pair[0].shape != pair[1].shape:
            pair[1] = F.interpolate(pair[1].float(), pair[0].shape[2:], mode="nearest").to(torch.uint8)
        shown += pair
        titles += [title, f"image {image}"]
    return contact_sheet(torch.cat(shown), titles, columns=8)


# --- the metric


def memorized(evaluation: "Evaluation", count: int) -> dict[str, float]:
    """How far samples stay from training images: 1 is as far as new real images, 0 is copies."""
    reference: Set = "held_out" if evaluation.held_out else "training"
    own = None if evaluation.held_out else 0

    def in_features(which: "Set", number: int) -> Tensor:
        return evaluation.features(which, number)["features"]

    def compare(of: Callable[["Set", int], Tensor], find: Callable[..., Nearest]) -> Comparison:
        stored, device = of("training", MOST_TRAINING), evaluation.device
        reals = of("training", MOST_TRAINING)[:count] if own == 0 else of(reference, count)
        return Comparison(find(of("fakes", count), stored, device=device), find(reals, stored, own=own, device=device))

    def values() -> dict[str, float]:
        features, pixels = compare(in_features, nearest), compare(evaluation.small_images, nearest_pixels)
        evaluation.pictures["memorization"] = worst_pairs(features, pixels, evaluation.fakes, evaluation.training)
        return {
            "memorization": features.ratio,
            "memorization_pixels": pixels.ratio,
            "near_copies": features.near_copies,
            "near_copies_pixels": pixels.near_copies,
        }

    wanted: dict[Set, int] = {"fakes": count, reference: count, "training": MOST_TRAINING}
    for which, number in wanted.items():  # by all processes
        in_features(which, number), evaluation.small_images(which, number)
    return processes.on_first(values)
