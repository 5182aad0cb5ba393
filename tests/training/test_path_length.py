"""Path length as a regularizer of G: its lengths and gradient, and that a run with it is like any other."""

from dataclasses import replace

import pytest
import torch
from conftest import tensors_of, tiny_config, tiny_generator, write_store
from test_loop import assert_alike

from stylegan import presets
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.run_files import read_stats
from stylegan.training import path_length, run_folder, steps
from stylegan.training.batches import batches
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train
from stylegan.training.monitor import Means
from stylegan.training.path_length import PathLengthConfig
from stylegan.training.state import new_state

CPU = torch.device("cpu")
ON = PathLengthConfig(weight=0.5, interval=2, decay=0.1)


def example(**options):
    """A network in float64, its synthesis of one style for all layers, w [3, w_dim] and pixels."""
    torch.manual_seed(4)
    generator = tiny_generator(8, **options).double()
    planes = [torch.randn(3, 1, r, r, dtype=torch.float64) for r in (4, 4, 8, 8)]
    z, y = torch.randn(3, 8, dtype=torch.float64), torch.randn(3, 3, 8, 8, dtype=torch.float64)

    def synthesis(w):
        return generator.synthesis(w[:, None].expand(-1, generator.config.num_layers, -1), noise=planes)

    return generator, synthesis, z, y


def test_lengths_are_those_of_the_jacobian():
    generator, synthesis, z, y = example()
    w = generator.mapping(z)[:, 0]
    lengths = path_length.lengths_of(synthesis, w, y)
    jacobian = torch.autograd.functional.jacobian(lambda w: synthesis(w), w.detach())  # [3, C, R, R, 3, w_dim]
    for i in range(3):
        expected = torch.einsum("chw,chwd->d", y[i], jacobian[i, :, :, :, i]).norm() / 8
        assert lengths[i].item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("options", [{}, {"use_demodulation": True, "use_instance_norm": False}, {"sum_rgb": True}])
def test_the_gradient_against_differences(options):
    """Of the penalty, with respect to all weights, mapping included, along a random direction; in float64."""
    generator, synthesis, z, y = example(**options)
    mean = torch.tensor(0.05, dtype=torch.float64)

    def loss():
        return path_length.penalty_of(path_length.lengths_of(synthesis, generator.mapping(z)[:, 0], y), mean).sum()

    loss().backward()
    parameters = list(generator.parameters())
    directions = [torch.randn_like(p) for p in parameters]
    slope = sum(
        ((p.grad if p.grad is not None else 0 * p) * d).sum() for p, d in zip(parameters, directions, strict=True)
    )
    values = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=step)
        values.append(loss().item())
    assert slope.item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)
    assert all(p.grad is not None for p in generator.mapping.parameters())


def test_references_stand_in_only_inside():
    generator, synthesis, z, _ = example()
    w = generator.mapping(z)[:, 0]
    with ops.twice_differentiable():
        inside = synthesis(w)
    outside = synthesis(w)
    assert torch.allclose(inside, outside, rtol=1e-9)
    (gradient,) = torch.autograd.grad(outside.sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("name", presets.PRESETS)
def test_no_preset_has_it(name):
    assert presets.PRESETS[name](presets.Shape(64)).path_length.weight == 0


def test_every_so_many_steps_with_as_many_times_the_weight():
    assert [ON.weight_at_step(step) for step in range(4)] == [1.0, 0, 1.0, 0]
    assert PathLengthConfig(interval=1).weight_at_step(0) == 0
    with pytest.raises(InputError, match=r"path_length\.decay is 2"):
        PathLengthConfig(decay=2)
    with pytest.raises(InputError, match="leave out graphs"):
        TrainingConfig(path_length=ON, graphs=True)


def test_the_mean_moves_and_survives_what_is_not_finite():
    mean = torch.tensor(1.0)
    assert path_length.moved(mean, torch.tensor(2.0), 0.25).item() == 1.25
    assert path_length.moved(mean, torch.tensor(float("nan")), 0.25).item() == 1.0


def test_a_step_holds_lengths_against_the_mean_before(store):
    state = new_state(tiny_config(store, path_length=replace(ON, interval=1)), CPU)
    now, (reals, *_) = next(batches(state.config, open_store(store), 0, CPU))
    state.path_length.fill_(0.3)
    means = Means()
    steps.step_generator(state, now, reals, means)
    told = means.read()
    mean, penalty = told["path_length"], told["path_penalty"]
    assert penalty >= (mean - 0.3) ** 2 > 0 and state.path_length.item() == pytest.approx(0.9 * 0.3 + 0.1 * mean)


def test_it_trains_and_resumes_exactly(store, tmp_path):
    """Stopped where the mean has gone half its way, and in the fade; the mean is in the state."""
    config = tiny_config(store, path_length=ON)
    whole = tensors_of(train(config, tmp_path / "whole", progress=False))
    for kimg in (0.064, 0.16, 0.4):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "parts", progress=False)
    parts = tensors_of(outcome)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    plain = tensors_of(train(replace(config, path_length=PathLengthConfig()), tmp_path / "plain", progress=False))
    assert not all(torch.equal(whole[name], plain[name]) for name in whole)
    saved = [run_folder.load_newest_state(tmp_path / name) for name in ("whole", "parts", "plain")]
    assert saved[0]["path_length"] == saved[1]["path_length"] > 0 and "path_length" not in saved[2]
    assert {"path_length", "path_penalty"} <= set(read_stats(tmp_path / "whole")[0])


def test_micro_batches_change_nothing(store, tmp_path):
    config = tiny_config(store, path_length=replace(ON, interval=1))
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.08))
    whole = tensors_of(train(config, tmp_path / "whole", progress=False))
    parts = tensors_of(train(replace(config, micro_batch=4), tmp_path / "parts", progress=False))
    assert_alike(whole, parts, config)


def test_several_processes_share_the_mean(store, monkeypatch):
    """Each has the lengths of its part; what they add up to moves the mean of all."""

    def step(part, reduce):
        state = new_state(tiny_config(store, path_length=replace(ON, interval=1)), CPU)
        now, (batch, *_) = next(batches(state.config, open_store(store), 0, CPU))
        reals = [replace(batch[0], images=batch[0].images[part], sample_index=batch[0].sample_index[part])]
        monkeypatch.setattr(steps.processes, "all_reduce_sum", reduce)
        steps._regularize_path_length(state, now, reals, Means())
        named = state.g.named_parameters()  # but for the bias that AdaIN takes away: its gradient is rounding
        return state.path_length, [p.grad for name, p in named if p.grad is not None and "4.layer0.bias" not in name]

    totals = []
    halves = [step(part, lambda tensors: totals.append(tensors[0].clone())) for part in (slice(4), slice(4, 8))]
    both = sum(totals)
    mean, gradients = step(slice(8), lambda tensors: None)
    again, _ = step(slice(4), lambda tensors: tensors[0].copy_(both))
    assert torch.allclose(again, mean)
    for of_all, first, second in zip(gradients, halves[0][1], halves[1][1], strict=True):
        assert torch.allclose(of_all, first + second, rtol=1e-4, atol=1e-5 * of_all.abs().max().item() + 1e-9)


@pytest.mark.parametrize("options", [{"recompute_from": 8}, {"precision": "bf16"}, {"freeze": True}, {"labels": 2}])
def test_with_other_options(tmp_path, store, options):
    """Activations computed again give the same gradient; the rest runs and is finite."""
    labels = options.get("labels", 0)
    data = write_store(tmp_path / "store", labels=labels)
    changes = {name: value for name, value in options.items() if name in ("recompute_from", "precision")}
    results = []
    for more in ({}, changes):
        config = tiny_config(data, label_count=labels, path_length=ON, **more)
        state = new_state(config, CPU)
        if "freeze" in options:
            state.g.mapping.requires_grad_(False)
        now, (reals, *_) = next(batches(config, open_store(data), 0, CPU))
        steps._regularize_path_length(state, now, reals, Means())
        gradients = {name: p.grad for name, p in state.g.named_parameters() if p.grad is not None}
        assert gradients and all(gradient.isfinite().all() for gradient in gradients.values())
        results.append(gradients)
    if "recompute_from" in options:
        for name, gradient in results[0].items():
            if "4.layer0.bias" not in name:  # which AdaIN takes away: its gradient is rounding
                assert (gradient - results[1][name]).norm() <= 1e-4 * gradient.norm()
