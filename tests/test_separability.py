"""Linear separability against cases whose score is known."""

import math
import sys

import numpy as np
import pytest
import torch

from stylegan.errors import InputError
from stylegan.metrics.separability import conditional_entropy, separability

metrics = pytest.importorskip("sklearn.metrics")


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=stream(seed))


def happens(probability: float, *shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=stream(seed)) < probability


def sign(positive: torch.Tensor) -> torch.Tensor:
    return positive.float() * 2 - 1


def h(p: float) -> float:
    """The entropy of a coin, in nats."""
    return -p * math.log(p) - (1 - p) * math.log(1 - p)


def brute_force(x: np.ndarray, y: np.ndarray) -> float:
    """H(Y | X) = sum over x of p(x) H(Y | X = x)."""
    total = 0.0
    for side in (False, True):
        share = (x == side).mean()
        for p in (y[x == side].mean(), 1 - y[x == side].mean()) if share else ():
            total -= share * p * np.log(p) if p else 0.0
    return total


@pytest.mark.parametrize(("p_x", "p_y"), [(0.5, 0.5), (0.1, 0.7), (0.9, 0.02), (0.0, 0.3), (1.0, 0.3), (0.4, 0.0)])
@pytest.mark.parametrize("noise", [0.0, 0.2, 1.0])
def test_conditional_entropy(p_x, p_y, noise):
    x, other = happens(p_x, 5000), happens(p_y, 5000, seed=2)
    y = torch.where(happens(noise, 5000, seed=3), other, x)
    entropy = conditional_entropy(x, y)
    assert entropy >= 0
    assert entropy == pytest.approx(brute_force(x.numpy(), y.numpy()), abs=1e-12)
    share = float(y.double().mean())
    information = metrics.mutual_info_score(x.numpy(), y.numpy())
    assert entropy == pytest.approx((h(share) if 0 < share < 1 else 0.0) - information, abs=1e-12)


def test_conditional_entropy_of_a_known_table():
    x = torch.tensor([False, False, False, False, True, True])
    y = torch.tensor([False, True, True, True, True, False])
    assert conditional_entropy(x, y) == pytest.approx(4 / 6 * h(0.25) + 2 / 6 * math.log(2), abs=1e-12)
    assert conditional_entropy(x, x) == conditional_entropy(x, ~x) == 0


def test_attributes_linear_in_the_latent_score_one():
    latents = normal(4000, 16)
    result = separability(latents, latents @ normal(16, 6, seed=1) + 0.5)
    assert result.score == pytest.approx(1, rel=0.01)
    assert result.accuracies.min() > 0.999


@pytest.mark.parametrize("share", [0.5, 0.3, 0.95])
def test_attributes_independent_of_the_latent_score_their_own_entropy(share):
    """No side of the plane tells anything, or, where one class prevails, all samples lie on one side."""
    latents, attributes = normal(80000, 8), 4  # that many, as a rare class's entropy has a sampling error
    positive = happens(share, 80000, attributes)
    logits = sign(positive) * normal(80000, attributes, seed=2).abs()  # confidence tells nothing of the class
    result = separability(latents, logits)
    assert result.score == pytest.approx(math.exp(attributes * h(share)), rel=0.04)
    assert result.entropies.numpy() == pytest.approx(h(share), rel=0.05)

    kept = logits.abs().argsort(dim=0, descending=True)[:40000]
    shares = positive.gather(0, kept).double().mean(dim=0).tolist()
    assert result.score == pytest.approx(math.exp(sum(map(h, shares))), rel=0.01)  # of the classes as kept
    if share != 0.5:
        assert (result.offsets.sign() == math.copysign(1, share - 0.5)).all()
        assert result.accuracies.numpy() == pytest.approx(np.maximum(shares, 1 - np.array(shares)), abs=1e-12)


@pytest.mark.parametrize("p", [0.02, 0.1, 0.3])
def test_labels_flipped_by_chance_leave_the_entropy_of_the_chance(p):
    latents = normal(40000, 8)
    clean = latents @ normal(8, 2, seed=1)
    result = separability(latents, torch.where(happens(p, 40000, 2, seed=2), -clean, clean))
    assert result.entropies.numpy() == pytest.approx(h(p), rel=0.05)
    assert result.accuracies.numpy() == pytest.approx(1 - p, abs=0.01)
    assert result.score == pytest.approx(math.exp(float(result.entropies.sum())), rel=1e-12)


def confident_and_doubtful() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents, and signs of which the even samples follow the latent and the odd ones chance."""
    latents = normal(4000, 4)
    latents[:, 0] += 0.5 * sign(latents[:, 0] > 0)
    followed = torch.arange(4000) % 2 == 0
    return latents, sign(torch.where(followed, latents[:, 0] > 0, happens(0.5, 4000)))


def test_only_the_most_confident_share_counts():
    latents, signs = confident_and_doubtful()
    followed = torch.arange(4000) % 2 == 0
    confidence = torch.rand(4000, generator=stream(5)) + torch.where(followed, 1.0, 0.0)
    for scale in (0.01, 1, 1000):  # the last saturates every probability, and the order is still that of the logits
        logits = (signs * confidence * scale)[:, None]
        assert separability(latents, logits).score == pytest.approx(1, rel=0.01)
        assert separability(latents, logits, keep=0.2).score == pytest.approx(1, rel=0.01)
        assert separability(latents, logits, keep=1).score > 1.5
        assert separability(latents[~followed], logits[~followed], keep=1).score > 1.9


def test_of_equally_confident_samples_the_first_are_kept():
    latents, signs = confident_and_doubtful()
    first = torch.cat([torch.arange(0, 4000, 2), torch.arange(1, 4000, 2)])
    assert separability(latents[first], signs[first, None]).score == pytest.approx(1, rel=0.01)
    assert separability(latents[first.flip(0)], signs[first.flip(0), None]).score > 1.9


def test_hyperplanes():
    latents = normal(4000, 6) * 3 + 1
    directions = normal(6, 3, seed=1)
    clean = (latents - 1) @ directions + torch.tensor([0.0, 3.0, -3.0])
    logits = clean + normal(4000, 3, seed=2)
    result = separability(latents, logits, keep=1)
    assert result.normals.shape == (3, 6)
    assert result.offsets.shape == result.accuracies.shape == result.entropies.shape == (3,)
    assert result.normals.norm(dim=1).numpy() == pytest.approx(1, abs=1e-12)
    cosines = (result.normals * torch.nn.functional.normalize(directions, dim=0).T).sum(dim=1)
    assert cosines.min() > 0.99

    predicted = latents.double() @ result.normals.T + result.offsets > 0
    target = logits > 0
    assert torch.equal((predicted == target).double().mean(dim=0), result.accuracies)
    entropies = [conditional_entropy(predicted[:, i], target[:, i]) for i in range(3)]
    assert entropies == result.entropies.tolist()

    opposite = separability(latents, -logits, keep=1)
    assert opposite.normals.numpy() == pytest.approx(-result.normals.numpy(), abs=1e-3)


def test_an_attribute_of_one_class_has_nothing_to_separate():
    latents = normal(500, 4)
    logits = torch.stack([normal(500).abs() + 1, -normal(500).abs() - 1, latents[:, 0] * 10], dim=1)
    logits[0, 0] = -0.01  # among the discarded
    result = separability(latents, logits)
    assert result.entropies[:2].tolist() == [0, 0]
    assert result.accuracies[:2].tolist() == [1, 1]
    assert not result.normals[:2].any()
    assert result.normals[2].any()
    assert (result.offsets[:2] > 0).tolist() == [True, False]


def test_latents_that_are_all_the_same_tell_nothing():
    result = separability(torch.zeros(100, 2), sign(happens(0.3, 100))[:, None], keep=1)
    assert not result.normals.any()
    assert result.offsets[0] < 0
    assert result.entropies[0] == pytest.approx(h(1 - float(result.accuracies[0])), abs=1e-12)


def test_workers_change_nothing():
    latents = normal(2000, 8)
    directions = torch.nn.functional.normalize(normal(8, 7, seed=1), dim=0)
    logits = latents @ directions + normal(2000, 7, seed=2) * torch.arange(7) / 3
    one, many = separability(latents, logits), separability(latents, logits, workers=3)
    assert one.score == many.score
    for name in ("entropies", "accuracies", "normals", "offsets"):
        assert torch.equal(getattr(one, name), getattr(many, name))
    assert one.entropies.tolist() == sorted(one.entropies.tolist())  # as the noise grows
    alone = separability(latents, logits[:, 4:5])
    assert torch.equal(alone.normals[0], many.normals[4])


def test_the_primal_finds_what_the_dual_of_the_official_code_does():
    from sklearn.svm import LinearSVC

    latents = normal(1000, 8) * 0.3
    logits = (latents @ normal(8, 1, seed=1) + 0.3 * normal(1000, 1, seed=2)) * 4
    ours, target = separability(latents, logits, keep=1), logits[:, 0] > 0
    svm = LinearSVC(dual=True, random_state=0, max_iter=100_000).fit(latents.numpy(), target.numpy())
    plane = np.append(svm.coef_[0], svm.intercept_) / np.linalg.norm(svm.coef_)
    assert np.append(ours.normals[0], ours.offsets) == pytest.approx(plane, abs=2e-3)
    predicted = torch.from_numpy(svm.predict(latents.numpy()))
    assert float(ours.entropies[0]) == pytest.approx(conditional_entropy(predicted, target), rel=0.01)


def test_refusals(monkeypatch):
    latents, logits = normal(10, 3), normal(10, 2, seed=1)
    for x, y in [(latents[:9], logits), (latents, logits[:, 0]), (latents[0], logits), (latents[:0], logits[:0])]:
        with pytest.raises(InputError, match="do not match"):
            separability(x, y)
    for keep in (0, -0.5, 1.01, math.nan):
        with pytest.raises(InputError, match="keep"):
            separability(latents, logits, keep=keep)
    for value in (math.nan, math.inf):
        with pytest.raises(InputError, match="latents are not all finite"):
            separability(latents.index_fill(0, torch.tensor([4]), value), logits)
        with pytest.raises(InputError, match="logits are not all finite"):
            separability(latents, logits.index_fill(0, torch.tensor([4]), value))
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r"pip install 'stylegan\[metrics\]'"):
        separability(latents, logits)
