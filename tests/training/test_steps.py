"""One iteration, part by part, against what the paper says of it; and the losses, by hand. All of it small."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_config

from stylegan.data.store import open_store
from stylegan.randomness import draw
from stylegan.training import losses, steps
from stylegan.training.batches import batches
from stylegan.training.losses import LossConfig
from stylegan.training.monitor import Means
from stylegan.training.state import new_state

CPU = torch.device("cpu")


@pytest.fixture
def begun(store):
    """A run's state with noise in all layers and a moving average of its own, the schedule's state and a batch."""
    config = tiny_config(store, w_avg_beta=0.9, ema_kimg=0.02)
    state = new_state(config, CPU)
    now, (reals, *_) = next(batches(config, open_store(store), 0, CPU))
    torch.manual_seed(5)
    with torch.no_grad():
        for name, parameter in state.g.named_parameters():
            if name.endswith("strength"):
                parameter.fill_(0.5)
        for parameter in state.g_ema.parameters():
            parameter.add_(torch.randn_like(parameter))
    state.g.w_avg.normal_()
    return state, now, reals


def copy_of(network) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def test_a_step_trains_one_network(begun):
    """No gradient is left in the other, which would find its way into the other's step."""
    state, now, reals = begun
    g, d = copy_of(state.g), copy_of(state.d)
    steps.step_discriminator(state, now, reals, Means())
    assert all(p.grad is None for p in state.g.parameters())
    assert all(torch.equal(value, g[name]) for name, value in state.g.named_parameters())
    moved = copy_of(state.d)
    used = [name for name in moved if name.startswith("blocks.8.") or ("4." in name and "from_rgb" not in name)]
    assert used and all(not torch.equal(moved[name], d[name]) for name in used if name.endswith("weight"))
    steps.step_generator(state, now, reals, Means())
    assert all(p.grad is None for p in state.d.parameters())
    assert all(torch.equal(state.d.get_parameter(name), value) for name, value in moved.items())
    assert any(not torch.equal(value, g[name]) for name, value in state.g.named_parameters())


def test_the_average_of_w_follows_the_first_w(begun):
    """Of D's fakes, then of G's: it moves by a tenth of the way to the mean of the batch."""
    state, now, reals = begun
    before, config = state.g.w_avg.clone(), state.config
    index = torch.cat([micro.sample_index for micro in reals])

    def mean(step: str) -> torch.Tensor:
        z = draw((config.generator.z_dim,), config.seed, state.images_seen, f"z of {step}", index)
        return state.g.mapping(z)[:, 0].mean(dim=0).detach()

    expected = before + 0.1 * (mean("D") - before)
    steps.step_discriminator(state, now, reals, Means())
    assert torch.allclose(state.g.w_avg, expected, rtol=1e-4, atol=1e-6)
    expected = expected + 0.1 * (mean("G") - expected)
    steps.step_generator(state, now, reals, Means())
    assert torch.allclose(state.g.w_avg, expected, rtol=1e-4, atol=1e-6)


def test_the_moving_average_sees_g_before_its_step(begun):
    state, now, reals = begun
    state.stage = now.stage
    g, average = copy_of(state.g), copy_of(state.g_ema)
    beta = 0.5 ** (now.batch_size / 20)
    steps.iteration(state, now, reals, Means())
    for name, value in state.g_ema.named_parameters():
        expected = beta * average[name] + (1 - beta) * g[name]
        assert torch.allclose(value, expected, rtol=1e-4, atol=1e-6), name


def test_every_sample_has_noise_of_its_own(begun):
    state, now, _ = begun
    w = torch.randn(1, 1, 8).expand(4, state.config.generator.num_layers, -1)
    keys = steps._keys(state)
    first, second = (steps._synthesize(state, w, now, step, keys, torch.arange(4)) for step in "DG")
    pairs = [(first[i], first[j]) for i in range(4) for j in range(i)] + [(first[0], second[0])]
    assert all((a - b).abs().mean() > 1e-3 for a, b in pairs)


@pytest.mark.parametrize("layers", [4, 6, 18])
def test_crossovers_are_anywhere_between_two_layers(layers):
    """From 1, so that the first layer has the first latent, to layers - 1; `layers` where nothing is mixed."""
    place, zeros = torch.linspace(0, 1 - 2**-24, 1000 * (layers - 1)), torch.zeros(1000 * (layers - 1))
    found = steps.crossovers(zeros, place, 0.9, layers)
    counts = torch.bincount(found, minlength=layers + 1)
    assert counts[0] == counts[layers] == 0 and counts[1:layers].min() > 990 and counts[1:layers].max() < 1010
    coins = torch.tensor([0.0, 0.89, 0.9, 0.99])
    assert (steps.crossovers(coins, torch.full((4,), 0.5), 0.9, layers) == layers).tolist() == [
        False,
        False,
        True,
        True,
    ]


# --- the losses, of scores a x^2 / 2, whose gradient is a x


def score(images: torch.Tensor) -> torch.Tensor:
    return 1.5 * images.square().sum(dim=(1, 2, 3))


def some() -> tuple[torch.Tensor, torch.Tensor]:
    stream = torch.Generator().manual_seed(3)
    reals, fakes = (0.3 * torch.randn(4, 3, 2, 2, generator=stream, dtype=torch.float64) for _ in range(2))
    return reals, fakes


def squares(images: torch.Tensor) -> torch.Tensor:
    return 9 * images.square().sum(dim=(1, 2, 3))  # of the gradient


@pytest.mark.parametrize("kind", ["logistic", "relativistic"])
def test_logistic_losses_by_hand(kind):
    reals, fakes = some()
    config, scale = LossConfig(kind=kind, r1_gamma=5, r2_gamma=2), 0.25
    found = losses.DISCRIMINATOR_LOSSES[kind](score, reals, fakes, config, scale, torch.zeros(4))
    of_real, of_fake = score(reals), score(fakes)
    penalty = 0.0625 * (2.5 * squares(reals) + squares(fakes))
    loss = F.softplus(of_fake) + F.softplus(-of_real) if kind == "logistic" else F.softplus(of_fake - of_real)
    assert torch.allclose(found.penalty, penalty) and torch.allclose(found.total, loss + penalty)
    assert torch.allclose(found.real_scores, of_real) and torch.allclose(found.fake_scores, of_fake)


def test_wgan_gp_by_hand():
    reals, fakes = some()
    config, mix = LossConfig(kind="wgan-gp", gp_weight=7, drift_weight=0.01), torch.tensor([0, 0.25, 0.5, 1.0])
    found = losses.wgan_gp(score, reals, fakes, config, 0.5, mix.double())
    between = reals + (fakes - reals) * mix.double()[:, None, None, None]
    penalty = 7 * (0.5 * squares(between).sqrt() - 1).square()
    assert torch.allclose(found.penalty, penalty)
    assert torch.allclose(found.total, score(fakes) - score(reals) + penalty + 0.01 * score(reals).square())


def test_generator_losses_by_hand():
    scores = torch.tensor([-2.0, 0.0, 3.0])
    assert torch.allclose(losses.generator_loss(scores, LossConfig()), torch.log1p(torch.exp(-scores)))
    assert torch.equal(losses.generator_loss(scores, LossConfig(kind="wgan-gp")), -scores)


def test_gradients_are_those_at_the_full_size():
    """An image of half the size has half the norm; at the current size the norm is its own."""
    config = LossConfig()
    assert [config.gradient_scale(r, 1024) for r in (1024, 512, 8)] == [1, 0.5, 1 / 128]
    assert replace(config, penalty_at="current").gradient_scale(8, 1024) == 1
