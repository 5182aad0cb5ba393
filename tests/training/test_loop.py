"""Training from end to end: it learns, it resumes bit by bit, and a batch may be divided in any way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import same, tensors_of, tiny_config, train_in_two_processes, write_store
from safetensors.torch import load_file

from stylegan import presets, recipe, weights
from stylegan.data.store import open_store
from stylegan.errors import InputError, InputWarning
from stylegan.networks import layers
from stylegan.training import losses, run_folder, steps
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig
from stylegan.training.state import new_state

CPU = torch.device("cpu")


def test_a_run_leaves_what_it_should(finished, store):
    outcome, run = finished
    assert outcome.images_seen == 400 and outcome.stopped_by is None
    assert {"run.json", "reals.png", "stats.jsonl"} <= {path.name for path in run.iterdir()}
    assert len(list(run.glob("model-*.safetensors"))) == 3 and len(list(run.glob("state-*.pt"))) == 3
    assert not list(run.glob(".*"))  # nothing half-written
    stats = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert len(stats) + 1 == len(list(run.glob("fakes-*.png"))) >= 8  # one at the start
    assert [line["images_seen"] for line in stats] == sorted({line["images_seen"] for line in stats})
    assert {line["resolution"] for line in stats} == {8, 16}
    for line in stats:
        assert {"loss_d", "loss_g", "score_real", "score_fake", "penalty", "gradient_norm_g"} <= set(line)
        assert all(np.isfinite(value) for value in line.values())
    again = train(tiny_config(store), run, progress=False)  # a finished run stays as it is
    assert again.model == outcome.model


@pytest.mark.parametrize("cut_short", [False, True])
def test_resume_is_exact(finished, store, tmp_path, cut_short):
    """Stopped within the fade, across a change of resolution; with the newest state cut short, from the one before."""
    config = tiny_config(store)
    for kimg in (0.1, 0.16, 0.25):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        train(part, tmp_path / "run", progress=False)
    newest = sorted((tmp_path / "run").glob("state-*.pt"))[-1]
    if cut_short:
        newest.write_bytes(newest.read_bytes()[:-1000])
    with pytest.warns(InputWarning, match=newest.name) if cut_short else nullcontext():
        outcome = train(config, tmp_path / "run", progress=False)
    assert same(tensors_of(outcome), tensors_of(finished[0]))


def test_bfloat16_trains_and_resumes_exactly(finished, store, tmp_path):
    config = tiny_config(store, precision="bf16")
    whole = train(config, tmp_path / "whole", progress=False)
    for kimg in (0.16, 0.4):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "parts", progress=False)
    assert same(tensors_of(outcome), tensors_of(whole)) and not same(tensors_of(whole), tensors_of(finished[0]))
    assert all(tensor.dtype == torch.float32 for tensor in tensors_of(whole).values())


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch's own, while it compiles
def test_compiled_training_is_the_same(store, tmp_path, monkeypatch):
    def compile_quickly(*blocks):
        compiled.extend(blocks)
        layers.compile_blocks(*blocks, backend="aot_eager")

    compiled = []
    monkeypatch.setattr("stylegan.training.state.compile_blocks", compile_quickly)
    config = tiny_config(store)
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.032))
    eager = train(config, tmp_path / "eager", progress=False)
    outcome = train(replace(config, compile=True), tmp_path / "compiled", progress=False)
    assert len(compiled) == 1 + 3 + 3  # the mapping network, and the blocks of both others
    # compiled derivatives are rounded otherwise; AdaIN takes away what the first bias adds to the constant, so
    # its gradient is rounding and nothing else
    ours, theirs = tensors_of(outcome), tensors_of(eager)
    for name in theirs:
        if not name.endswith("synthesis.blocks.4.layer0.bias"):
            assert (ours[name] - theirs[name]).norm() <= 1e-3 * theirs[name].norm() + 1e-6, name


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import tiny_config
from stylegan.training.loop import train
train(tiny_config(Path({store!r})), {run!r}, progress=False)
"""


def test_resume_after_sigkill_is_exact(finished, store, tmp_path):
    run = tmp_path / "run"
    code = KILLED.format(tests=str(Path(__file__).parents[1]), store=str(store), run=str(run))
    for states in (2, 5):
        process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        seen = set()
        while len(seen) < states and process.poll() is None and time.monotonic() < deadline:
            seen |= {path.name for path in run.glob("state-*.pt")}
        process.kill()
        process.wait()
        assert list(run.glob("state-*.pt"))
    outcome = train(tiny_config(store), run, progress=False)
    assert same(tensors_of(outcome), tensors_of(finished[0]))
    assert not list(run.glob(".*"))
    reports = []
    for folder in (run, finished[1]):
        lines = [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]
        timing = {"seconds", "images_per_second", "memory_mb"}
        reports.append([{k: v for k, v in line.items() if k not in timing} for line in lines])
    assert reports[0] == reports[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_and_stop(store, tmp_path, number, monkeypatch, capsys):
    config = tiny_config(store)
    true_step, taken = steps.step_generator, []

    def interrupted(*inputs):
        taken.append(None)
        if len(taken) == 7:
            os.kill(os.getpid(), number)
        true_step(*inputs)

    monkeypatch.setattr(steps, "step_generator", interrupted)
    outcome = train(replace(config, schedule=replace(config.schedule, total_kimg=50)), tmp_path / "run", progress=False)
    assert outcome.stopped_by == number and 0 < outcome.images_seen < 50_000
    saved = run_folder.load_newest_state(tmp_path / "run")
    assert saved["images_seen"] == outcome.images_seen == 64  # the group of two batches is finished
    assert "run the same command to go on" in capsys.readouterr().err


def test_a_finished_run_gets_its_model_back(finished, store, tmp_path):
    shutil.copytree(finished[1], tmp_path / "run")
    for path in (tmp_path / "run").glob("model-*"):
        path.unlink()
    assert same(tensors_of(train(tiny_config(store), tmp_path / "run", progress=False)), tensors_of(finished[0]))


@pytest.mark.parametrize(("resolution", "channels", "labels"), [(4, 1, 0), (8, 4, 0), (16, 3, 2)])
def test_every_shape_of_data(tmp_path, resolution, channels, labels):
    data = write_store(tmp_path / "store", resolution, count=5, channels=channels, labels=labels)
    config = presets.preset("small", str(data), labels=labels > 0)
    brief = replace(config.schedule, total_kimg=0.03, stable_kimg=0.008, fade_kimg=0.008, batch_size={4: 4})
    config = replace(config, schedule=brief, grid=(4, 4), device="cpu")  # a grid of more images than there are
    model = weights.load(train(config, tmp_path / "run", progress=False).model)
    images = recipe.draw(model, [1, 2])
    assert images.shape == (2, channels, resolution, resolution)


@pytest.mark.parametrize("loss", [LossConfig(), LossConfig(kind="wgan-gp", penalty_at="current")])
def test_micro_batches_change_nothing(store, tmp_path, loss):
    """Gradients are sums over samples and statistics groups: the same up to the order of summation."""
    config = tiny_config(store, loss=loss)
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.08))
    whole = tensors_of(train(config, tmp_path / "whole", progress=False))
    parts = tensors_of(train(replace(config, micro_batch=4), tmp_path / "parts", progress=False))
    assert_alike(whole, parts, config)


def assert_alike(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], config: TrainingConfig) -> None:
    """Equal but for the order of summation: they differ by less than 5 % of the way they have come.

    Adam makes full steps of gradients that are rounding alone, so single weights may differ by a step.
    """
    start = new_state(config, CPU)
    for prefix, network in (("g", start.g), ("d", start.d)):
        moved = differ = 0.0
        for name, value in network.named_parameters():
            if "blocks.4.layer0.bias" not in name:  # instance norm removes it: its gradient is rounding alone
                moved += (a[f"{prefix}.{name}"] - value).square().sum().item()
                differ += (a[f"{prefix}.{name}"] - b[f"{prefix}.{name}"]).square().sum().item()
        assert 0 < differ**0.5 < 0.05 * moved**0.5


def test_two_processes_equal_one(store, tmp_path):
    config = tiny_config(store)
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.08))
    one = tensors_of(train(config, tmp_path / "one", progress=False))
    train_in_two_processes(config, tmp_path / "two")
    assert_alike(one, load_file(max((tmp_path / "two").glob("model-*.safetensors"))), config)


def test_conditional_training(tmp_path):
    data = write_store(tmp_path / "store", labels=3)
    config = tiny_config(data, label_count=3)
    outcome = train(
        replace(config, schedule=replace(config.schedule, total_kimg=0.05)), tmp_path / "run", progress=False
    )
    assert tensors_of(outcome)["g_ema.mapping.label_embedding"].shape == (3, 8)


def test_non_finite_gradients_are_skipped_then_stop_the_run(store, tmp_path, monkeypatch):

    true_loss, calls = losses.generator_loss, []

    def sometimes(scores, config):
        calls.append(None)
        return true_loss(scores, config) * (float("nan") if len(calls) in (3, 4, 5) else 1)

    monkeypatch.setattr(losses, "generator_loss", sometimes)
    config = tiny_config(store)
    short = replace(config, schedule=replace(config.schedule, total_kimg=0.1))
    outcome = train(short, tmp_path / "some", progress=False)
    assert all(torch.isfinite(value).all() for value in tensors_of(outcome).values())
    last = json.loads((tmp_path / "some" / "stats.jsonl").read_text().splitlines()[-1])
    assert last["skipped_g"] == 3 and last["skipped_d"] == 0
    lines = [json.loads(line) for line in (tmp_path / "some" / "stats.jsonl").read_text().splitlines()]
    assert all(np.isfinite(value) for line in lines for value in line.values())

    def always_from_the_tenth(scores, config):
        calls.append(None)
        return true_loss(scores, config) * (float("nan") if len(calls) > 10 else 1)

    calls.clear()
    monkeypatch.setattr(losses, "generator_loss", always_from_the_tenth)
    with pytest.raises(InputError, match="10 steps of G in a row"):
        train(config, tmp_path / "always", progress=False)
    kept = run_folder.load_newest_state(tmp_path / "always")
    assert all(torch.isfinite(value).all() for value in kept["g"].values())


def test_overfit_sixteen_images(tmp_path):
    """A tiny network comes to show 16 images of two colors each: distances to the nearest real fall."""
    data = write_store(tmp_path / "store", resolution=8, count=16)
    config = tiny_config(data)
    config = replace(
        config,
        generator=replace(config.generator, resolution=8),
        discriminator=replace(config.discriminator, resolution=8),
        schedule=replace(config.schedule, batch_size={4: 16}, learning_rate={4: 0.005}, total_kimg=4, tick_kimg={4: 4}),
        loss=LossConfig(r1_gamma=0.1),
        mirror=False,
        mixing_probability=0.0,
        ema_kimg=0.5,
    )
    reals = torch.from_numpy(open_store(data).images(8).copy()).permute(0, 3, 1, 2).float() / 127.5 - 1

    def distances(model) -> tuple[float, float]:
        """Mean squared distance from fakes to their nearest real, and from reals to their nearest fake."""
        fakes = torch.cat(list(recipe.batches(weights.load(model), recipe.Recipe(range(200), psi=1.0))))
        table = torch.cdist(fakes.flatten(1), reals.flatten(1)).square() / fakes[0].numel()
        return table.min(dim=1).values.mean().item(), table.min(dim=0).values.mean().item()

    start = train(replace(config, schedule=replace(config.schedule, total_kimg=0.02)), tmp_path / "run", progress=False)
    before = distances(start.model)
    after = distances(train(config, tmp_path / "run", progress=False).model)
    assert after[0] < 0.1 * before[0] and after[1] < 0.2 * before[1], (before, after)
