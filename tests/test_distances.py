"""Distances between feature sets: equal to torch-fidelity's, to closed forms, and sound where samples are few."""

import numpy as np
import pytest
import torch

from stylegan.errors import InputError
from stylegan.metrics import distances
from stylegan.metrics.distances import (
    Moments,
    frechet,
    frechet_reference,
    inception_score,
    kid,
    moments,
    precision_recall,
)


def draw(n: int, dimensions: int, seed: int, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    """Correlated features [n, dimensions] float64, of the same correlation for all seeds."""
    mixing = torch.randn(dimensions, dimensions, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    mixing *= torch.linspace(1, 0.1, dimensions, dtype=torch.float64)[:, None] / dimensions**0.5
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(n, dimensions, dtype=torch.float64, generator=stream) @ mixing * scale + shift


def reflected(spectrum: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """A full matrix [F, F] of that spectrum; those of one seed commute."""
    stream = torch.Generator().manual_seed(seed)
    v = torch.randn(len(spectrum), dtype=torch.float64, generator=stream)
    v /= v.norm()
    scaled = spectrum * v
    result = torch.diag(spectrum) - 2 * (torch.outer(v, scaled) + torch.outer(scaled, v))
    return result + 4 * (v @ scaled) * torch.outer(v, v)


@pytest.fixture(scope="module")
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    return draw(500, 64, 1), draw(400, 64, 2, shift=0.1, scale=1.2)


# Against torch-fidelity


def test_frechet_equals_torch_fidelity(pair):
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    theirs = fid.fid_statistics_to_metric(*(fid.fid_features_to_statistics(x) for x in pair), verbose=False)
    ours = frechet(moments(pair[0]), moments(pair[1]))
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-6)


@pytest.mark.parametrize("size", [100, 400])
def test_kid_equals_torch_fidelity(pair, size):
    theirs = pytest.importorskip("torch_fidelity.metric_kid").kid_features_to_metric(
        *pair, kid_subsets=10, kid_subset_size=size, rng_seed=7, verbose=False
    )
    expected = theirs["kernel_inception_distance_mean"], theirs["kernel_inception_distance_std"]
    assert kid(*pair, subsets=10, subset_size=size, seed=7) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("splits", [1, 10, 7])
def test_inception_score_equals_torch_fidelity(splits):
    logits = 3 * draw(500, 50, 3)
    theirs = pytest.importorskip("torch_fidelity.metric_isc").isc_features_to_metric(logits.float(), splits)
    expected = theirs["inception_score_mean"], theirs["inception_score_std"]
    assert inception_score(logits.float(), splits=splits) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("neighbors", [1, 3, 5])
def test_precision_recall_equals_torch_fidelity(dtype, neighbors):
    fakes, reals = draw(700, 8, 4, shift=0.2, scale=0.8).to(dtype), draw(900, 8, 5).to(dtype)
    theirs = pytest.importorskip("torch_fidelity.metric_prc").prc_features_to_metric(
        fakes, reals, prc_neighborhood=neighbors, prc_batch_size=10_000, save_cpu_ram=False, verbose=False
    )
    ours = precision_recall(fakes, reals, neighbors=neighbors)
    assert 0.1 < min(ours) < max(ours) < 1  # neither is trivial
    assert ours == pytest.approx((theirs["precision"], theirs["recall"]), rel=1e-6)


# Moments


def test_moments_in_chunks_equal_numpy(monkeypatch, pair):
    features = (pair[0] + 1000).float()  # a large mean, where the plain second moment would lose its digits
    monkeypatch.setattr(distances, "CHUNK", 64)
    found = moments(features)
    assert found.count == 500 and found.mean.dtype == found.covariance.dtype == torch.float64
    plain = features.double().numpy()
    np.testing.assert_allclose(found.mean.numpy(), plain.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance.numpy(), np.cov(plain, rowvar=False), rtol=1e-9, atol=1e-12)


# Frechet distance


def test_frechet_of_commuting_gaussians():
    first, second = torch.linspace(0.1, 3, 40).double(), torch.linspace(5, 0.01, 40).double()
    a = Moments(torch.zeros(40).double(), reflected(first), 100)
    b = Moments(torch.full((40,), 0.5).double(), reflected(second), 100)
    assert frechet(a, b) == pytest.approx(40 * 0.25 + (first.sqrt() - second.sqrt()).square().sum().item(), rel=1e-12)


def test_frechet_of_one_dimension():
    a = Moments(torch.tensor([1.0]).double(), torch.tensor([[4.0]]).double(), 9)
    b = Moments(torch.tensor([3.0]).double(), torch.tensor([[9.0]]).double(), 9)
    assert frechet(a, b) == pytest.approx(4 + 1)


def test_frechet_equals_its_reference_and_is_symmetric(pair):
    a, b = moments(pair[0]), moments(pair[1])
    assert frechet(a, b) == pytest.approx(frechet_reference(a, b), rel=1e-9)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-12)


@pytest.mark.parametrize("n", [2, 50, 200, 201, 1000])
def test_frechet_of_a_set_with_itself_is_zero(n):
    own = moments(draw(n, 200, 6))
    assert 0 <= frechet(own, own) <= 1e-8 * own.covariance.trace().item()


@pytest.mark.parametrize("decay", [4, 8, 12, 16, 24])
def test_frechet_to_itself_is_zero_however_ill_conditioned(decay):
    own = Moments(torch.zeros(300).double(), reflected(torch.logspace(0, -decay, 300).double()), 1000)
    assert 0 <= frechet(own, own) <= 1e-8 * own.covariance.trace().item()


@pytest.mark.parametrize(("n", "m"), [(50, 50), (50, 80), (50, 1000), (2, 30)])
def test_frechet_of_fewer_samples_than_dimensions(n, m):
    """For features as they are, tr((S_a S_b)^(1/2)) is the sum of the singular values of X Y^T, centered."""
    x, y = draw(n, 200, 7), draw(m, 200, 8, shift=0.1, scale=1.5)
    a, b = moments(x), moments(y)
    cross = (x - x.mean(dim=0)) @ (y - y.mean(dim=0)).T / ((n - 1) * (m - 1)) ** 0.5
    exact = (a.mean - b.mean).square().sum() + a.covariance.trace() + b.covariance.trace()
    exact = (exact - 2 * torch.linalg.svdvals(cross).sum()).item()
    assert frechet(a, b) == pytest.approx(exact, rel=1e-9)
    assert frechet(b, a) == pytest.approx(exact, rel=1e-9)
    assert frechet_reference(a, b) == pytest.approx(exact, rel=1e-5)  # it takes roots of rounding


def test_frechet_of_sets_without_common_directions_or_spread():
    x = draw(100, 20, 9)
    left, right = x.clone(), x.clone()
    left[:, 10:], right[:, :10] = 0, 0
    a, b, point = moments(left), moments(right), moments(torch.ones(5, 20))
    traces = (a.covariance.trace() + b.covariance.trace()).item()
    assert frechet(a, b) == pytest.approx(traces + (a.mean - b.mean).square().sum().item(), rel=1e-12)
    assert frechet(point, point) == 0
    expected = (a.mean - 1).square().sum() + a.covariance.trace()
    assert frechet(a, point) == pytest.approx(expected.item(), rel=1e-12)


def test_frechet_of_inception_size():
    """2,048 dimensions, as the pool features of Inception. With S_b = 4 S_a the root is 2 S_a."""
    spectrum = 1 / torch.arange(1, 2049).double()
    a = Moments(torch.zeros(2048).double(), reflected(spectrum), 10_000)
    b = Moments(torch.full((2048,), 0.01, dtype=torch.float64), 4 * a.covariance, 10_000)
    assert frechet(a, b) == pytest.approx(2048 * 1e-4 + spectrum.sum().item(), rel=1e-9)


# Properties of the others


def test_kid_tells_distributions_apart():
    mean, deviation = kid(draw(1000, 32, 10), draw(1000, 32, 11), subsets=50, subset_size=100)
    far, _ = kid(draw(1000, 32, 10), draw(1000, 32, 11, shift=0.3), subsets=50, subset_size=100)
    assert abs(mean) < deviation and far > 10 * abs(mean)


def test_kid_lowers_its_subsets_to_the_smaller_set(pair):
    assert kid(*pair, subsets=2) == kid(*pair, subsets=2, subset_size=400)


def test_inception_score_at_its_ends():
    assert inception_score(torch.zeros(100, 10)) == pytest.approx((1, 0))
    certain = torch.eye(10).repeat(10, 1) * 1e4  # ten classes evenly, without doubt; the others underflow to zero
    assert inception_score(certain, splits=1) == pytest.approx((10, 0))


def test_precision_recall_at_its_ends():
    x = draw(60, 128, 12).float()
    assert precision_recall(x, x) == (1, 1)
    assert precision_recall(x, x.clone() + 1000) == (0, 0)
    assert precision_recall(x[:1].repeat(50, 1), x) == (1, 1 / 60)  # collapsed to one of the reals: radii of zero


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_precision_recall_does_not_depend_on_blocks(batch):
    fakes, reals = draw(90, 6, 13, scale=0.7), draw(110, 6, 14)
    assert precision_recall(fakes, reals, batch=batch) == precision_recall(fakes, reals)


# Refusals

x, wide = torch.ones(10, 4), torch.ones(10, 5)
nan = torch.full((10, 4), float("nan"))
one = Moments(torch.zeros(4).double(), torch.eye(4).double(), 10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: moments(x[:1]), "features hold 1 samples; give at least 2"),
        (lambda: moments(x[0]), r"shape \[4\]; give \[samples, dimensions\]"),
        (lambda: moments(nan), "not all finite"),
        (lambda: frechet(one, moments(wide)), "4 and 5 dimensions"),
        (lambda: frechet(one, Moments(one.mean, torch.eye(5).double(), 10)), r"give \[F\] and \[F, F\]"),
        (lambda: frechet(one, Moments(one.mean * float("nan"), one.covariance, 10)), "not finite"),
        (lambda: kid(x, wide), "4 and 5 dimensions"),
        (lambda: kid(x, x[:1]), "the second features hold 1 samples"),
        (lambda: kid(x, x, subset_size=1), "take at least 1 of 2"),
        (lambda: kid(x, x, subsets=0), "take at least 1 of 2"),
        (lambda: inception_score(x[:9]), "logits hold 9 samples; give at least 10"),
        (lambda: inception_score(x, splits=0), "take at least 1"),
        (lambda: precision_recall(x, wide), "4 and 5 dimensions"),
        (lambda: precision_recall(x, x[:3]), "the reals' features hold 3 samples; give at least 4"),
        (lambda: precision_recall(x, x, neighbors=0), "take at least 1 of each"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_equals_cpu(pair):
    there = [x.cuda() for x in pair]
    assert frechet(*map(moments, there)) == pytest.approx(frechet(*map(moments, pair)), rel=1e-9)
    assert kid(*there, subsets=3) == pytest.approx(kid(*pair, subsets=3), rel=1e-6, abs=1e-12)
    assert inception_score(there[0]) == pytest.approx(inception_score(pair[0]), rel=1e-9)
    assert precision_recall(*there) == pytest.approx(precision_recall(*pair))
