"""Options for short trainings, none of which the paper's presets use."""

from dataclasses import replace

import pytest
import torch
from conftest import same, tensors_of, tiny_config, tiny_discriminator, tiny_generator, write_store

from stylegan import presets
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.run_files import read_stats
from stylegan.training import losses, steps
from stylegan.training.batches import batches
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig
from stylegan.training.monitor import Means
from stylegan.training.schedule import ScheduleConfig, state_at
from stylegan.training.state import new_optimizers, new_state


@pytest.mark.parametrize("name", presets.PAPER)
def test_the_paper_has_none(name):
    config = presets.PRESETS[name](presets.Shape(64))
    assert config.loss.kind != "relativistic"
    assert config.loss.adam_power == 1 and config.loss.gamma_end is None and config.schedule.decay_kimg == 0
    assert not config.generator.use_demodulation and not config.generator.sum_rgb


def test_lazy_penalties_slow_adam_of_d_alone():
    """n / (n + 1): of the rate a factor, of the betas a power."""
    config = TrainingConfig(loss=LossConfig(penalty_interval=16, penalty_corrects_adam=True), adam_beta1=0.5)
    g, d = new_optimizers(config, tiny_generator(), tiny_discriminator())
    (of_d,) = d.param_groups
    assert of_d["lr_multiplier"] == 16 / 17 and of_d["betas"] == (0.5 ** (16 / 17), 0.99 ** (16 / 17))
    assert all(group["betas"] == (0.5, 0.99) and group["lr_multiplier"] == 1 for group in g.param_groups)
    assert LossConfig(penalty_interval=16).adam_power == LossConfig(penalty_corrects_adam=True).adam_power == 1


def test_the_correction_reaches_the_weights(store, tmp_path):
    config = tiny_config(store, loss=LossConfig(r1_gamma=1, penalty_interval=3))
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.016, repeats=1))
    plain = tensors_of(train(config, tmp_path / "plain", progress=False))
    corrected = replace(config, loss=replace(config.loss, penalty_corrects_adam=True))
    slower = tensors_of(train(corrected, tmp_path / "corrected", progress=False))
    assert any(not torch.equal(plain[name], slower[name]) for name in plain if name.startswith("d."))


def test_gamma_falls_by_the_same_factor_for_each_image():
    config = LossConfig(r1_gamma=2.0, r2_gamma=1.0, gamma_end=0.02, gamma_kimg=10)
    assert config.at(0).r1_gamma == 2 and config.at(5000).r1_gamma == pytest.approx(0.2)
    assert config.at(10_000).r1_gamma == config.at(10**6).r1_gamma == pytest.approx(0.02)
    assert config.at(5000).r2_gamma == pytest.approx(0.1)
    lazy = replace(config, penalty_interval=4)
    assert lazy.at(5000).at_step(8).r1_gamma == pytest.approx(0.8) and lazy.at(5000).at_step(9).r1_gamma == 0
    assert LossConfig().at(10**6) == LossConfig()
    for wrong in ({"gamma_end": 0.0, "gamma_kimg": 1}, {"gamma_end": 1.0}, {"gamma_end": 1, "r1_gamma": 0}):
        with pytest.raises(InputError, match="gamma_end"):
            LossConfig(**wrong)
    with pytest.raises(InputError, match="leave out graphs"):
        TrainingConfig(loss=config, graphs=True)


def test_a_training_with_a_falling_gamma_penalizes_less(store, tmp_path):
    """From the second batch on: the first has the whole weight."""
    losses = {"high": LossConfig(r1_gamma=1.0), "falling": LossConfig(r1_gamma=1.0, gamma_end=0.1, gamma_kimg=0.001)}
    penalties = {}
    for name, loss in losses.items():
        config = tiny_config(store, loss=loss)
        config = replace(config, schedule=replace(config.schedule, total_kimg=0.016, tick_kimg={4: 0.016}))
        train(config, tmp_path / name, progress=False)
        (penalties[name],) = (line["penalty"] for line in read_stats(tmp_path / name))
    assert 0.5 * penalties["high"] < penalties["falling"] < 0.6 * penalties["high"]  # of two batches


def test_the_rate_falls_to_nothing_at_the_end():
    config = ScheduleConfig(total_kimg=100, decay_kimg=20, initial_resolution=64, learning_rate={4: 0.002})
    rates = [state_at(config, 64, 1000 * kimg).learning_rate for kimg in (0, 80, 90, 99, 100)]
    assert rates == pytest.approx([0.002, 0.002, 0.001, 0.0001, 0])
    assert state_at(replace(config, decay_kimg=0), 64, 99_999).learning_rate == 0.002
    with pytest.raises(InputError, match="decay_kimg is -1"):
        ScheduleConfig(decay_kimg=-1)


def test_a_training_with_decay_reports_its_rate(store, tmp_path):
    config = tiny_config(store)
    config = replace(config, schedule=replace(config.schedule, decay_kimg=0.2))
    train(config, tmp_path / "run", progress=False)
    rates = [line["learning_rate"] for line in read_stats(tmp_path / "run")]
    assert rates[0] == 0.003 and rates == sorted(rates, reverse=True) and 0 < rates[-1] < 0.0005


def test_a_run_that_goes_on_may_end_with_a_falling_rate(store, tmp_path):
    """It is the same as a run that was meant to end so from the beginning."""
    config = tiny_config(store)
    falling = replace(config, schedule=replace(config.schedule, decay_kimg=0.2))
    whole = train(falling, tmp_path / "whole", progress=False)
    train(replace(config, schedule=replace(config.schedule, total_kimg=0.2)), tmp_path / "run", progress=False)
    assert same(tensors_of(train(falling, tmp_path / "run", progress=False)), tensors_of(whole))


def test_nothing_grows_where_the_first_resolution_is_the_last():
    config = ScheduleConfig(initial_resolution=64)
    assert {state_at(config, 64, images).stage for images in (0, 10**6, 10**7)} == {(64, False)}


def test_a_relativistic_loss_pairs_fakes_with_reals():
    """Only differences of scores count: for D and for G, and in opposite directions."""
    reals, fakes = torch.tensor([1.0, 2.0, -3.0]), torch.tensor([0.5, 4.0, -3.0])
    config = LossConfig(kind="relativistic", r1_gamma=0)

    def loss_of_d(shift: float) -> torch.Tensor:
        return losses.relativistic(lambda scores: scores + shift, reals, fakes, config, 1.0, reals).total

    expected = torch.log1p(torch.exp(fakes - reals))
    assert torch.allclose(loss_of_d(0), expected) and torch.allclose(loss_of_d(7), expected, atol=1e-6)
    of_g = losses.generator_loss(fakes - reals, config)
    assert torch.allclose(of_g, torch.log1p(torch.exp(reals - fakes)))


def test_a_relativistic_training_compares_with_the_reals_of_its_batch(tmp_path, monkeypatch):
    """G is shown its batch's reals, with fakes of their classes; it learns and resumes to the bit."""
    data = write_store(tmp_path / "store", labels=2)
    config = tiny_config(data, loss=LossConfig(kind="relativistic", r1_gamma=1, r2_gamma=1), label_count=2)
    whole = tensors_of(train(config, tmp_path / "whole", progress=False))
    half = replace(config, schedule=replace(config.schedule, total_kimg=0.2))
    train(half, tmp_path / "parts", progress=False)
    parts = tensors_of(train(config, tmp_path / "parts", progress=False))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

    given = []
    true_pass = steps._pass_of_g
    monkeypatch.setattr(steps, "_pass_of_g", lambda *inputs: given.append(inputs[-2:]) or true_pass(*inputs))
    state = new_state(config, torch.device("cpu"))
    now, (reals, *_) = next(batches(config, open_store(data), 0, torch.device("cpu")))
    steps.iteration(state, now, reals, Means())
    ((labels, images),) = given
    assert torch.equal(labels, reals[0].labels) and torch.equal(images, reals[0].images)
