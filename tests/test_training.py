"""Training: it learns, it resumes bit by bit, and its result does not depend on how a batch is divided."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_MAPS, write_official, write_store
from PIL import Image
from safetensors.torch import load_file

from stylegan import device, presets, recipe, sampling, weights
from stylegan.data.loader import Loader, prefetch
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.networks import layers
from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig, Growth
from stylegan.randomness import draw, draw_uniform
from stylegan.training import ema, run_folder, state_file, steps
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig
from stylegan.training.optimizer import Adam
from stylegan.training.schedule import ScheduleConfig, groups, state_at
from stylegan.training.state import new_state

CPU = torch.device("cpu")


def tiny_config(data: Path, **changes) -> TrainingConfig:
    """8 x 8, a fade to 16 x 16, then 16 x 16: 400 images in groups of 2 batches of 8."""
    label_count = changes.pop("label_count", 0)
    shape = {"resolution": 16, "label_count": label_count, "feature_maps": TINY_MAPS}
    config = TrainingConfig(
        data=str(data),
        generator=GeneratorConfig(z_dim=8, w_dim=8, mapping_width=8, mapping_layers=2, **shape),
        discriminator=DiscriminatorConfig(**shape),
        schedule=ScheduleConfig(
            stable_kimg=0.1,
            fade_kimg=0.1,
            total_kimg=0.4,
            batch_size={4: 8},
            learning_rate={4: 0.003},
            tick_kimg={4: 0.048},
            repeats=2,
        ),
        ema_kimg=0.1,
        grid=(3, 2),
        model_ticks=1,
        device="cpu",
    )
    return replace(config, **changes)


def tensors_of(outcome) -> dict[str, torch.Tensor]:
    return load_file(outcome.model)


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def finished(store, tmp_path_factory):
    """An uninterrupted run, and its folder."""
    run = tmp_path_factory.mktemp("finished") / "run"
    return train(tiny_config(store), run, progress=False), run


def test_a_run_leaves_what_it_should(finished, store):
    outcome, run = finished
    assert outcome.images_seen == 400 and outcome.stopped_by is None
    assert {"run.json", "reals.png", "stats.jsonl"} <= {path.name for path in run.iterdir()}
    assert len(list(run.glob("model-*.safetensors"))) == 3 and len(list(run.glob("state-*.pt"))) == 3
    assert not list(run.glob(".*"))  # nothing half-written
    stats = [json.loads(line) for line in (run / "stats.jsonl").read_text().splitlines()]
    assert len(stats) == len(list(run.glob("fakes-*.png"))) >= 7
    assert [line["images_seen"] for line in stats] == sorted({line["images_seen"] for line in stats})
    assert {line["resolution"] for line in stats} == {8, 16}
    for line in stats:
        assert {"loss_d", "loss_g", "score_real", "score_fake", "penalty", "gradient_norm_g"} <= set(line)
        assert all(np.isfinite(value) for value in line.values())
    again = train(tiny_config(store), run, progress=False)  # a finished run stays as it is
    assert again.model == outcome.model


@pytest.mark.parametrize("cut_short", [False, True])
def test_resume_is_exact(finished, store, tmp_path, cut_short, capsys):
    """Stopped within the fade, across a change of resolution; with the newest state cut short, from the one before."""
    config = tiny_config(store)
    for kimg in (0.1, 0.16, 0.25):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        train(part, tmp_path / "run", progress=False)
    newest = sorted((tmp_path / "run").glob("state-*.pt"))[-1]
    if cut_short:
        newest.write_bytes(newest.read_bytes()[:-1000])
    outcome = train(config, tmp_path / "run", progress=False)
    assert same(tensors_of(outcome), tensors_of(finished[0]))
    assert (newest.name in capsys.readouterr().out) == cut_short


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


def test_no_flipped_bit_goes_unnoticed(finished, tmp_path):
    """A damaged state is refused by name, or the flip was in a byte that carries nothing."""
    path = sorted(finished[1].glob("state-*.pt"))[-1]
    data, truth = path.read_bytes(), torch.load(path, weights_only=True)
    refused, rng = 0, np.random.RandomState(0)
    for place in rng.randint(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randint(8)
        (tmp_path / path.name).write_bytes(damaged)
        try:
            saved = state_file.load(tmp_path / path.name)
        except InputError as error:
            assert path.name in str(error)
            refused += 1
        else:
            assert saved["images_seen"] == truth["images_seen"]
            assert all(same(saved[name], truth[name]) for name in ("g", "d", "g_ema"))
            for name in ("g_adam", "d_adam"):
                for index, moments in truth[name]["state"].items():
                    assert same(saved[name]["state"][index], moments)
    assert refused > 30


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_training import tiny_config
from stylegan.training.loop import train
train(tiny_config(Path({store!r})), {run!r}, progress=False)
"""


def test_resume_after_sigkill_is_exact(finished, store, tmp_path):
    run = tmp_path / "run"
    code = KILLED.format(tests=str(Path(__file__).parent), store=str(store), run=str(run))
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
    saved = run_folder.load_newest_state(tmp_path / "run", warn=print)
    assert saved["images_seen"] == outcome.images_seen == 64  # the group of two batches is finished
    assert "run the same command to go on" in capsys.readouterr().err


def test_going_on_after_damage_loses_nothing(finished, store, tmp_path):
    """Damaged states are set aside, and what only they had reached: it is neither kept for the newest nor shown."""
    run = tmp_path / "run"
    shutil.copytree(finished[1], run)
    states = sorted(run.glob("state-*.pt"))
    for path in states[1:]:
        path.write_bytes(path.read_bytes()[:-100])
    newest = max(run_folder.images_seen_of(path) for path in states)
    config = tiny_config(store, keep=1)
    part = replace(config, schedule=replace(config.schedule, total_kimg=(newest - 60) / 1000))
    outcome = train(part, run, progress=False)
    left = list(run.glob("state-*.pt"))
    assert len(left) == 1 and state_file.load(left[0])["images_seen"] == outcome.images_seen < newest
    assert run_folder.images_seen_of(outcome.model) == outcome.images_seen
    assert same(tensors_of(train(config, run, progress=False)), tensors_of(finished[0]))


def test_a_run_belongs_to_its_data(finished, tmp_path):
    other = write_store(tmp_path / "other", count=30)
    with pytest.raises(InputError, match="other images"):
        train(tiny_config(other), finished[1], progress=False)


def test_states_without_their_run_json(finished, store, tmp_path):
    shutil.copytree(finished[1], tmp_path / "run")
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(InputError, match=r"no run\.json"):
        train(tiny_config(store), tmp_path / "run", progress=False)


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


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "labelled", labels=3)


WITH_LABELS = ("config-a", "config-b", "config-f", "traditional-8", "mapping-0")  # one of each kind


@pytest.mark.parametrize(
    ("name", "labels"), [(name, False) for name in presets.PRESETS] + [(name, True) for name in WITH_LABELS]
)
def test_every_preset_trains_and_round_trips(labelled, tmp_path, name, labels):
    """A few steps at 4 x 4 (a), 8 x 8 and 16 x 16, with tiny networks; then the model file, read and written again."""
    config = presets.preset(name, str(labelled), labels=labels)
    g = config.generator
    beside_z = 0 if g.mapping_layers or not labels else 8 if g.embed_labels else 3  # what of w stands for the label
    g = replace(g, z_dim=8, w_dim=8 + beside_z, mapping_width=8, feature_maps=TINY_MAPS)
    brief = replace(
        config.schedule, stable_kimg=0.008, fade_kimg=0.008, total_kimg=0.06, batch_size={4: 4}, tick_kimg={4: 0.03}
    )
    discriminator = replace(config.discriminator, feature_maps=TINY_MAPS)
    config = replace(config, generator=g, discriminator=discriminator, schedule=brief, grid=(3, 1), device="cpu")
    outcome = train(config, tmp_path / "run", progress=False)
    model = weights.load_model(outcome.model)
    assert model.generator.config == g and model.provenance.preset == name and model.provenance.fit == "pad"
    assert model.generator.synthesis.grown == (16, 0.0)
    weights.save(tmp_path / "again.safetensors", model)
    assert (tmp_path / "again.safetensors").read_bytes() == outcome.model.read_bytes()
    drawn = [
        torch.cat(list(recipe.batches(m, recipe.Recipe([1, 2]))))
        for m in (model.generator, weights.load(tmp_path / "again.safetensors"))
    ]
    assert torch.equal(*drawn) and drawn[0].isfinite().all()
    with Image.open(tmp_path / "run" / "fakes-0000000064.png") as grid:
        assert grid.size == (48, 12 if name == "lsun-car" else 16)


def test_what_the_presets_change():
    """One thing for each row of table 1, and what the tables and appendices say of the others."""
    shape = presets.Shape(1024)
    a, b, c, d, e, f = (presets.PRESETS[f"config-{letter}"](shape) for letter in "abcdef")
    assert replace(e, mixing_probability=0.9) == f
    assert replace(d, generator=replace(d.generator, use_noise=True)) == e
    assert replace(c, generator=replace(c.generator, const_input=True)) == d
    assert b.loss == f.loss and b.schedule == f.schedule and not b.generator.use_styles
    assert (a.loss.kind, a.schedule.initial_resolution, a.schedule.total_kimg) == ("wgan-gp", 4, 12000)
    assert not a.generator.use_blur and not a.discriminator.use_blur and b.discriminator.use_blur
    for name, probability in (("mixing-0", 0), ("mixing-50", 0.5), ("mixing-90", 0.9), ("mixing-100", 1)):
        assert presets.PRESETS[name](shape) == replace(f, mixing_probability=probability)
    assert presets.PRESETS["traditional-0"](shape) == b
    for depth in (0, 1, 2, 8):
        assert presets.PRESETS[f"mapping-{depth}"](shape).generator == replace(f.generator, mapping_layers=depth)
    names = ("celebahq", "lsun-bedroom", "lsun-car", "lsun-cat")
    celebahq, bedroom, car, cat = (presets.PRESETS[name](shape) for name in names)
    assert celebahq.loss.kind == "wgan-gp" and celebahq.mirror
    assert max(celebahq.schedule.learning_rate.values()) == 0.002
    assert [x.schedule.total_kimg for x in (bedroom, car, cat)] == [70000, 46000, 70000]
    assert not (bedroom.mirror or car.mirror or cat.mirror) and car.generator.aspect == (4, 3)
    assert presets.summary("mixing-50").endswith("50 % of the training images.")
    with pytest.raises(InputError, match="no styles to mix"):
        replace(b, mixing_probability=0.5)
    with pytest.raises(InputError, match="label_count"):
        replace(f, discriminator=replace(f.discriminator, label_count=3))


@pytest.mark.parametrize("installed", [True, False])
def test_tensorboard_is_optional(store, tmp_path, monkeypatch, installed):
    pytest.importorskip("tensorboard")
    if not installed:
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = tiny_config(store)
    train(replace(config, schedule=replace(config.schedule, total_kimg=0.03)), tmp_path, progress=False)
    assert bool(list(tmp_path.glob("tensorboard/events*"))) == installed


def test_progress_tells_what_a_user_wants_to_know(store, tmp_path, capsys):
    config = tiny_config(store)
    train(config, tmp_path, progress=True)  # nobody watches: one line for each tick
    lines = capsys.readouterr().err.splitlines()
    assert any("16x16 fading in (" in line for line in lines)
    ticks = [line for line in lines if "kimg, " in line]  # on a busy machine they also say that it is
    assert ticks and all("img/s, about " in line and line.endswith((" left", " busy elsewhere")) for line in ticks)


def test_all_states_damaged(finished, store, tmp_path):
    train(tiny_config(store), tmp_path, progress=False)
    for path in tmp_path.glob("state-*.pt"):
        path.write_bytes(b"PK\x03\x04 no state")
    with pytest.raises(InputError, match="no training state"):
        train(tiny_config(store), tmp_path, progress=False)


def test_a_state_of_other_networks(finished, store, tmp_path):
    """What fits the format but not the run is refused as well."""
    shutil.copytree(finished[1], tmp_path / "run")
    newest = sorted((tmp_path / "run").glob("state-*.pt"))[-1]
    saved = state_file.load(newest)
    changes = {"g": "does not fit", "g_adam": "does not fit", "skipped": "does not hold", "stage": "does not hold"}
    for change, message in changes.items():
        content = saved | {change: {"w_avg": torch.zeros(9)}}
        state_file.save(
            newest, {name: value for name, value in content.items() if name not in ("kind", "format_version")}
        )
        with pytest.raises(InputError, match=message):
            new_state(tiny_config(store), CPU, open_store(store).content_hash).restore(state_file.load(newest))


# --- starting from a model


@pytest.mark.parametrize("kind", ["run", "official"])
def test_start_from_a_model(finished, store, tmp_path, kind):
    """A run begins with the weights of a model, at the resolution it has grown to, and goes on from there."""
    path = str(sorted(finished[1].glob("model-*.safetensors"))[-1])
    if kind == "official":
        path = str(tmp_path / "x.pkl")
        write_official(Path(path))
    config = presets.continuing(tiny_config(store), path)
    model = weights.load_model(path)
    assert config.schedule.initial_resolution == 16 and config.generator == model.generator.config
    run = new_state(config, CPU)
    run.begin_with(model)
    for ours, theirs in ((run.g, model.raw_generator), (run.d, model.discriminator), (run.g_ema, model.generator)):
        assert all(torch.equal(t, theirs.state_dict()[name]) for name, t in ours.state_dict().items())

    outcome = train(config, tmp_path / "run", progress=False)
    after = weights.load_model(outcome.model)
    assert "begun with the weights of" in after.provenance.notes
    moved = (
        after.raw_generator.synthesis.blocks["16"].conv1.weight
        - model.raw_generator.synthesis.blocks["16"].conv1.weight
    )
    assert 0 < moved.abs().max() < 0.3  # trained from there on, not from new weights
    assert train(config, tmp_path / "run", progress=False).images_seen == outcome.images_seen


def test_what_cannot_be_started_from(store, tmp_path):
    with pytest.raises(InputError, match="no discriminator"):
        presets.continuing(tiny_config(store), weights.DEFAULT_MODEL)
    write_official(tmp_path / "x.pkl")
    config = presets.continuing(tiny_config(store), str(tmp_path / "x.pkl"))
    other = replace(config, generator=replace(config.generator, use_noise=False))
    with pytest.raises(InputError, match="are not those of this run"):
        train(other, tmp_path / "run", progress=False)
    for options in ({"labels": True}, {"resolution": 8}):
        with pytest.raises(InputError, match="leave out"):
            presets.preset("small", str(store), start_from=str(tmp_path / "x.pkl"), **options)
    model = weights.load_model(tmp_path / "x.pkl")
    model.generator.synthesis.grown = Growth(16, 0.25)
    weights.save(tmp_path / "fading.safetensors", model)
    config = presets.continuing(tiny_config(store), str(tmp_path / "fading.safetensors"))
    assert config.schedule.initial_resolution == 8


def test_a_pickle_is_never_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "state-0000000001.pt"
    torch.save({"kind": "stylegan-state", "format_version": 1, "evil": Evil()}, path)
    with pytest.raises(InputError, match="state-0000000001"):
        state_file.load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="state-0000000001"):
        state_file.load(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("keep", "left"), [(1, 1), (3, 3), (0, 5)])
def test_what_is_kept(tmp_path, keep, left):
    for i in range(5):
        (tmp_path / f"model-{i}.safetensors").touch()
    (tmp_path / ".model-5.safetensors.77.tmp").touch()
    run_folder.prune(tmp_path, "model-*.safetensors", keep)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"model-{i}.safetensors" for i in range(5 - left, 5)]


def test_lazy_regularisation_keeps_the_mean_weight():
    config = LossConfig(r1_gamma=2, penalty_interval=4)
    steps = [config.at_step(step) for step in range(8)]
    assert [step.r1_gamma for step in steps] == [8, 0, 0, 0, 8, 0, 0, 0]
    assert LossConfig().at_step(3) == LossConfig()


def test_other_options_do_not_resume(finished, store):
    with pytest.raises(InputError, match=r"loss.r1_gamma"):
        train(tiny_config(store, loss=LossConfig(r1_gamma=1)), finished[1], progress=False)


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
    code = KILLED.replace(
        "train(tiny_config(Path({store!r}))",
        "c = tiny_config(Path({store!r}))\n"
        "from dataclasses import replace\n"
        "train(replace(c, schedule=replace(c.schedule, total_kimg=0.08))",
    ).format(tests=str(Path(__file__).parent), store=str(store), run=str(tmp_path / "two"))
    script = tmp_path / "script.py"
    script.write_text(code)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr
    two = load_file(max((tmp_path / "two").glob("model-*.safetensors")))
    assert_alike(one, two, config)


def test_conditional_training(tmp_path):
    data = write_store(tmp_path / "store", labels=3)
    config = tiny_config(data, label_count=3)
    outcome = train(
        replace(config, schedule=replace(config.schedule, total_kimg=0.05)), tmp_path / "run", progress=False
    )
    assert tensors_of(outcome)["g_ema.mapping.label_embedding"].shape == (3, 8)


def test_non_finite_gradients_are_skipped_then_stop_the_run(store, tmp_path, monkeypatch):
    from stylegan.training import losses

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
    kept = run_folder.load_newest_state(tmp_path / "always", warn=print)
    assert all(torch.isfinite(value).all() for value in kept["g"].values())


def test_overfit_sixteen_images(tmp_path):
    """A tiny network comes to show 16 images of two colours each: distances to the nearest real fall."""
    data = write_store(tmp_path / "store", resolution=8, count=16)
    config = tiny_config(data)
    config = replace(
        config,
        generator=replace(config.generator, resolution=8),
        discriminator=replace(config.discriminator, resolution=8),
        schedule=replace(
            config.schedule, batch_size={4: 16}, learning_rate={4: 0.005}, total_kimg=16, tick_kimg={4: 16}
        ),
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
    assert after[0] < 0.3 * before[0] and after[1] < 0.5 * before[1], (before, after)


# --- the parts


def test_schedule_is_constant_within_a_group_and_ends():
    config = ScheduleConfig(total_kimg=1, stable_kimg=0.3, fade_kimg=0.2, batch_size={4: 16})
    seen = list(groups(config, 32))
    assert [images for images, _ in seen] == list(range(0, 1024, 64))
    assert all(state == state_at(config, 32, images) for images, state in seen)
    assert list(groups(config, 32, 640)) == seen[10:]


def test_schedule_without_growing():
    config = ScheduleConfig(initial_resolution=64)
    assert state_at(config, 64, 0).stage == state_at(config, 64, 10**7).stage == (64, False)


@pytest.mark.parametrize(
    "options",
    [{"initial_resolution": 6}, {"batch_size": {}}, {"batch_size": {16: 4}}, {"repeats": 0}, {"total_kimg": 0}],
)
def test_bad_schedules_are_refused(options):
    with pytest.raises(InputError):
        ScheduleConfig(**options)


def test_moving_average():
    assert ema.decay(32, 10, 10**6, None) == pytest.approx(0.5 ** (32 / 10_000))
    assert ema.decay(32, 10, 1000, 0.05) == pytest.approx(0.5 ** (32 / 50))
    assert ema.decay(32, 10, 0, 0.05) == 0.0


def test_draws():
    index = torch.arange(64)
    x = draw((3, 101), 0, 1000, "z", index)
    assert x.shape == (64, 3, 101)
    assert abs(x.mean()) < 0.02 and abs(x.std() - 1) < 0.02 and abs((x**4).mean() - 3) < 0.15
    correlation = torch.corrcoef(x.flatten(1)).fill_diagonal_(0)
    assert correlation.abs().max() < 0.28  # five deviations of 1 / sqrt(303)
    parts = torch.cat([draw((3, 101), 0, 1000, "z", part) for part in (index[:10], index[10:])])
    assert torch.equal(x, parts)
    for seed, seen, purpose in ((1, 1000, "z"), (0, 1001, "z"), (0, 1000, "noise")):
        assert not torch.equal(x, draw((3, 101), seed, seen, purpose, index))
    u = draw_uniform((1000,), 0, 0, "coin", index)
    assert u.min() >= 0 and u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    assert (torch.histc(u, 16, 0, 1) / u.numel() - 1 / 16).abs().max() < 0.004


def test_mixing_by_image():
    w1, w2 = torch.zeros(3, 6, 2), torch.ones(3, 6, 2)
    mixed = sampling.cross([w1, w2], torch.tensor([[1], [4], [6]]))
    assert mixed[:, :, 0].tolist() == [[0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0] * 6]


def test_loader_order(store):
    opened = open_store(store)
    loader = Loader(opened, seed=5)
    first, second = loader.order(np.arange(40))[0], loader.order(np.arange(40, 80))[0]
    assert sorted(first) == sorted(second) == list(range(40))  # every image once an epoch
    assert not np.array_equal(first, second)
    assert np.array_equal(loader.order(np.arange(30, 50))[0], np.concatenate([first[30:], second[:10]]))
    images, labels = loader.batch(np.arange(7), 8)
    assert images.shape == (7, 3, 8, 8) and images.dtype == torch.uint8 and labels is None
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), opened.images(8)[first[:7]])


def test_mirroring(tmp_path):
    from stylegan.data.pyramid import pyramid
    from stylegan.data.store_writer import StoreWriter

    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[None, :, None] * 10, (16, 16, 3))
    with StoreWriter(tmp_path / "store", 16, 3, made={}) as writer:
        for i in range(10):
            writer.add(pyramid(np.ascontiguousarray(ramp)), str(i))
    loader = Loader(open_store(tmp_path / "store"), mirror=True)
    positions = np.arange(2000)
    _, flips = loader.order(positions)
    assert 0.45 < flips.mean() < 0.55
    images, _ = loader.batch(positions[:50], 16)
    for image, flipped in zip(images, flips, strict=False):
        row = image[0, 0].numpy()
        assert np.array_equal(row[::-1] if flipped else row, ramp[0, :, 0])


def test_prefetch_passes_errors_on():
    def items():
        yield 1
        raise ValueError("broken")

    stream = prefetch(items())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        next(stream)


def test_stored_labels_reach_the_loader(tmp_path):
    data = open_store(write_store(tmp_path / "store", labels=4))
    _, labels = Loader(data, seed=1).batch(np.arange(12), 16)
    assert labels.tolist() == [int(data.labels[i]) for i in Loader(data, seed=1).order(np.arange(12))[0]]


# --- what the program decides when a run begins


@pytest.mark.parametrize(("gain", "chosen"), [(0.5, "float32"), (4.0, "bf16")])
def test_precision_and_threads_are_decided_once(store, tmp_path, monkeypatch, capsys, gain, chosen):
    config = replace(tiny_config(store), precision="auto")
    brief = replace(config, schedule=replace(config.schedule, total_kimg=0.03))
    monkeypatch.setattr(device, "bfloat16_gain", lambda: gain)
    threads = torch.get_num_threads()
    train(brief, tmp_path, progress=False)
    recorded = json.loads((tmp_path / "run.json").read_text())
    assert recorded["precision"] == chosen and recorded["threads"] == threads
    assert f"in {chosen}" in capsys.readouterr().err

    # on another machine the run goes on as it began
    monkeypatch.setattr(run_folder, "bfloat16_gain", lambda: 4.5 - gain)
    torch.set_num_threads(1)
    try:
        train(config, tmp_path, progress=False)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(threads)
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == chosen
    assert ("slow" in capsys.readouterr().out) == (chosen == "bf16")
    with pytest.raises(InputError, match="precision"):
        train(replace(config, precision="bf16" if chosen == "float32" else "float32"), tmp_path, progress=False)


def test_runs_of_version_0_1_keep_their_precision(store, tmp_path, monkeypatch):
    """Their run.json says auto, which was float32 on every CPU."""
    config = tiny_config(store)
    brief = replace(config, schedule=replace(config.schedule, total_kimg=0.03))
    train(brief, tmp_path, progress=False)
    recorded = json.loads((tmp_path / "run.json").read_text())
    del recorded["threads"]
    (tmp_path / "run.json").write_text(json.dumps(recorded | {"precision": "auto"}))
    monkeypatch.setattr(device, "bfloat16_gain", lambda: 8.0)
    train(replace(config, precision="auto"), tmp_path, progress=False)
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == "float32"


def test_the_papers_presets_are_in_float32_and_ours_choose():
    shape = presets.Shape(64)
    chosen = {name: function(shape).precision for name, function in presets.PRESETS.items()}
    assert {name for name, precision in chosen.items() if precision == "auto"} == {"small", "demo"}
    assert set(chosen.values()) == {"auto", "float32"}


# --- the optimizer


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_without_finite_gradients_changes_nothing(fused):
    weight = torch.nn.Parameter(torch.ones(3))
    adam, twin_weight = Adam([weight], lr=0.1, fused=fused), torch.nn.Parameter(torch.ones(3))
    twin = Adam([twin_weight], lr=0.1, fused=fused)
    for gradient in (1.0, float("inf"), 2.0):
        weight.grad = torch.full((3,), gradient)
        adam.step_if(weight.grad.isfinite().all())
        assert adam.skipped_last() == (gradient == float("inf")) and adam.skipped_last() is None
        if gradient != float("inf"):
            twin_weight.grad = weight.grad.clone()
            twin.step()
    assert torch.equal(weight, twin_weight) and adam.param_groups[0]["taken"] == 2


def test_states_with_another_layout_are_taken_up():
    """Moments lie in memory as their weights do; those of version 0.1 lay otherwise."""
    weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last))
    adam = Adam([weight], fused=True)
    weight.grad = torch.randn_like(weight)
    adam.step()
    state = adam.state_dict()
    state["state"][0] = {name: value.contiguous() for name, value in state["state"][0].items()}
    again = Adam([weight], fused=True)
    again.load_state_dict(state)
    for name in ("exp_avg", "exp_avg_sq"):
        assert again.state[weight][name].stride() == weight.stride()
        assert torch.equal(again.state[weight][name], adam.state[weight][name])
