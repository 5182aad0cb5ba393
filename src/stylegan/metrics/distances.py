"""Distances between two sets of images, from their features: pure functions on tensors, CPU or GPU.

Features are [N, F], one row per image, of any floating type; the sums are carried out in float64. KID and the
inception score draw from numpy's RandomState as torch-fidelity does, so that the numbers agree with its own. Wrong
shapes, too few samples and values that are not finite raise InputError.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stylegan.errors import InputError

CHUNK = 4096  # rows that `moments` holds in float64 at a time


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean and covariance of `count` feature vectors."""

    mean: Tensor  # [F] float64
    covariance: Tensor  # [F, F] float64, unbiased
    count: int


def _check(features: Tensor, least: int, name: str = "features") -> None:
    if features.ndim != 2 or features.shape[1] == 0:
        raise InputError(f"{name} are of shape {list(features.shape)}; give [samples, dimensions]")
    if len(features) < least:
        raise InputError(f"{name} hold {len(features)} samples; give at least {least}")
    if not features.isfinite().all():
        raise InputError(f"{name} are not all finite; leave out the images they come from")


def _check_pair(a: Tensor, b: Tensor, least: int, names: tuple[str, str]) -> None:
    _check(a, least, names[0])
    _check(b, least, names[1])
    if a.shape[1] != b.shape[1]:
        raise InputError(f"features of {a.shape[1]} and {b.shape[1]} dimensions cannot be compared; use one network")


def moments(features: Tensor) -> Moments:
    """Mean and unbiased covariance (over N - 1) of features [N, F], N >= 2.

    The mean is taken off before the products are summed: the difference of second moment and squared mean would
    lose digits where the mean is large. Only `CHUNK` rows at a time are held in float64.
    """
    _check(features, 2)
    n, dimensions = features.shape
    mean = torch.stack([chunk.double().sum(dim=0) for chunk in features.split(CHUNK)]).sum(dim=0) / n
    scatter = torch.zeros(dimensions, dimensions, dtype=torch.float64, device=features.device)
    for chunk in features.split(CHUNK):
        centered = chunk.double() - mean
        scatter.addmm_(centered.T, centered)
    return Moments(mean, scatter / (n - 1), n)


def _factor(covariance: Tensor) -> Tensor:
    """A [F, rank] with A A^T = covariance: the Cholesky factor, or the root by eigenvectors where it is singular.

    Rounding lets some singular matrices through the factorization; their last pivots are nothing but rounding, and
    the roots of rounding are not small. What lies below the usual tolerance for a rank is therefore taken as zero.
    """
    tolerance = len(covariance) * torch.finfo(covariance.dtype).eps
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if not failed and lower.diagonal().square().min() > tolerance * covariance.diagonal().max():
        return lower
    values, vectors = torch.linalg.eigh(covariance)  # ascending
    kept = values > tolerance * values[-1].clamp_min(0)
    return vectors[:, kept] * values[kept].sqrt()


def _check_moments(a: Moments, b: Moments) -> None:
    for one in (a, b):
        if one.mean.ndim != 1 or one.covariance.shape != (len(one.mean), len(one.mean)):
            shapes = f"{list(one.mean.shape)} and {list(one.covariance.shape)}"
            raise InputError(f"mean and covariance are of shapes {shapes}; give [F] and [F, F]")
        if not (one.mean.isfinite().all() and one.covariance.isfinite().all()):
            raise InputError("mean or covariance is not finite; measure the features again")
    if a.mean.shape != b.mean.shape:
        raise InputError(f"moments of {len(a.mean)} and {len(b.mean)} dimensions cannot be compared; use one network")


def frechet(a: Moments, b: Moments) -> float:
    """|mu_a - mu_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)): the Frechet distance, eq. 6 of Heusel et al., 2017.

    With S_a = A A^T and S_b = B B^T, the eigenvalues of S_a S_b other than zero are those of the symmetric
    (A^T B) (A^T B)^T: no general matrix root, no complex numbers. Where samples are fewer than dimensions, the
    factors are narrow, and the null space, whose eigenvalues would be rounding, never enters.
    """
    _check_moments(a, b)
    mean_b, covariance_b = b.mean.to(a.mean), b.covariance.to(a.covariance)
    cross = _factor(a.covariance).T @ _factor(covariance_b)  # [rank of a, rank of b]
    gram = cross @ cross.T if cross.shape[0] <= cross.shape[1] else cross.T @ cross
    root = torch.linalg.eigvalsh(gram).clamp_min(0).sqrt().sum() if len(gram) else gram.sum()
    distance = (a.mean - mean_b).square().sum() + a.covariance.trace() + covariance_b.trace() - 2 * root
    return max(0.0, distance.item())


def frechet_reference(a: Moments, b: Moments) -> float:
    """`frechet`, by the eigenvalues of S_a S_b, which is not symmetric."""
    root = torch.linalg.eigvals(a.covariance @ b.covariance).sqrt().real.sum()
    distance = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace() - 2 * root
    return distance.item()


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    """(x . y / F + 1)^3 of all pairs: [N, F], [M, F] -> [N, M]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mmd(x: Tensor, y: Tensor) -> float:
    """The unbiased estimate of the squared MMD of two sets [M, F]: a sample is not paired with itself."""
    m = len(x)
    k_xx, k_yy, k_xy = _kernel(x, x), _kernel(y, y), _kernel(x, y)
    within = (k_xx.sum() - k_xx.trace() + k_yy.sum() - k_yy.trace()) / (m * (m - 1))
    return (within - 2 * k_xy.mean()).item()


def kid(a: Tensor, b: Tensor, *, subsets: int = 100, subset_size: int = 1000, seed: int = 2020) -> tuple[float, float]:
    """Kernel inception distance of features [N, F] and [M, F]: mean and deviation over the subsets.

    Binkowski et al., 2018. It has no bias, so it may come out below zero. Subsets are drawn without replacement;
    `subset_size` is lowered to the smaller set. The deviation is that of the subsets, not of their mean.
    """
    _check_pair(a, b, 2, ("the first features", "the second features"))
    if subsets < 1 or subset_size < 2:
        raise InputError(f"{subsets} subsets of {subset_size} samples give no KID; take at least 1 of 2")
    size = min(subset_size, len(a), len(b))
    stream, values = np.random.RandomState(seed), []
    for _ in range(subsets):
        x, y = (
            each[torch.from_numpy(stream.choice(len(each), size, replace=False)).to(each.device)].double()
            for each in (a, b)
        )
        values.append(_mmd(x, y.to(x.device)))
    return float(np.mean(values)), float(np.std(values))


def inception_score(logits: Tensor, *, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """exp of the mean KL(p(y|x) || p(y)), from logits [N, C]: mean and deviation over the splits.

    Salimans et al., 2016. The samples are shuffled first. The mean KL of a split is the entropy of its mean less the
    mean of its entropies, which is finite for classes without probability too.
    """
    if splits < 1:
        raise InputError(f"{splits} splits give no inception score; take at least 1")
    _check(logits, splits, "logits")
    n = len(logits)
    order = torch.from_numpy(np.random.RandomState(seed).permutation(n)).to(logits.device)
    scores = []
    for i in range(splits):
        log_p = logits[order[i * n // splits : (i + 1) * n // splits]].double().log_softmax(dim=1)
        p = log_p.exp()
        information = torch.special.entr(p.mean(dim=0)).sum() + (p * log_p).sum(dim=1).mean()
        scores.append(information.exp().item())
    return float(np.mean(scores)), float(np.std(scores))


def _squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """[N, F], [M, F] -> [N, M] in float64; zero where x and y differ by no more than rounding.

    In float32 the distance of a sample to its own copy would be rounding, and larger than a small radius.
    """
    x, y = x.double(), y.double()
    norm = x.square().sum(dim=1, keepdim=True)
    squared = torch.addmm(y.square().sum(dim=1), x, y.T, alpha=-2).add_(norm)
    return squared.masked_fill_(squared < 1e-12 * norm, 0)


def _squared_radii(features: Tensor, neighbors: int, batch: int) -> Tensor:
    """Squared distance of each sample to its k-th neighbor in the same set, [N, F] -> [N]; itself not counted."""
    radii = []
    for x in features.split(batch):
        nearest = torch.empty(len(x), 0, dtype=torch.float64, device=x.device)
        for y in features.split(batch):
            near = _squared_distances(x, y).topk(min(neighbors + 1, len(y)), dim=1, largest=False).values
            nearest = torch.cat([nearest, near], dim=1)
            nearest = nearest.topk(min(neighbors + 1, nearest.shape[1]), dim=1, largest=False).values
        radii.append(nearest.amax(dim=1))
    return torch.cat(radii)


def precision_recall(fakes: Tensor, reals: Tensor, *, neighbors: int = 3, batch: int = 10_000) -> tuple[float, float]:
    """Share of the fakes within the reals' manifold, and of the reals within the fakes': [N, F], [M, F].

    Kynkaanniemi et al., 2019. A set's manifold is the union of the balls around its samples that reach each one's
    k-th neighbor. Distances are held in blocks of `batch` x `batch`; the result does not depend on it.
    """
    if neighbors < 1 or batch < 1:
        raise InputError(f"{neighbors} neighbors in batches of {batch} give no manifold; take at least 1 of each")
    _check_pair(fakes, reals, neighbors + 1, ("the fakes' features", "the reals' features"))
    reals = reals.to(fakes.device)
    fake_radii, real_radii = (_squared_radii(each, neighbors, batch) for each in (fakes, reals))
    covered = torch.zeros(len(reals), dtype=torch.bool, device=fakes.device)
    precise = 0
    for x, x_radii in zip(fakes.split(batch), fake_radii.split(batch), strict=True):
        inside = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        blocks = zip(reals.split(batch), real_radii.split(batch), covered.split(batch), strict=True)
        for y, y_radii, y_covered in blocks:
            squared = _squared_distances(x, y)
            inside |= (squared <= y_radii).any(dim=1)
            y_covered |= (squared <= x_radii[:, None]).any(dim=0)  # a view of `covered`
        precise += int(inside.sum())
    return precise / len(fakes), int(covered.sum()) / len(reals)
