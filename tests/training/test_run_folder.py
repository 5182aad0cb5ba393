"""A run's folder: what it belongs to, what is kept, what may change."""

import json
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import same, tensors_of, tiny_config, write_store

from stylegan import device, presets, run_files, weights
from stylegan.errors import InputError, InputWarning
from stylegan.metrics.metric import EvaluateConfig
from stylegan.training import run_folder, state_file
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig
from stylegan.training.schedule import ScheduleConfig

CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore:.*it is not used:stylegan.errors.InputWarning")
def test_going_on_after_damage_loses_nothing(finished, store, tmp_path):
    """Damaged states are set aside, and what only they had reached: it is neither kept for the newest nor shown."""
    run = tmp_path / "run"
    shutil.copytree(finished[1], run)
    states = sorted(run.glob("state-*.pt"))
    for path in states[1:]:
        path.write_bytes(path.read_bytes()[:-100])
    newest = max(run_files.images_seen_of(path) for path in states)
    config = tiny_config(store, keep=1)
    part = replace(config, schedule=replace(config.schedule, total_kimg=(newest - 60) / 1000))
    outcome = train(part, run, progress=False)
    left = list(run.glob("state-*.pt"))
    assert len(left) == 1 and state_file.load(left[0])["images_seen"] == outcome.images_seen < newest
    assert run_files.images_seen_of(outcome.model) == outcome.images_seen
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


@pytest.mark.filterwarnings("ignore:.*it is not used:stylegan.errors.InputWarning")
def test_all_states_damaged(finished, store, tmp_path):
    train(tiny_config(store), tmp_path, progress=False)
    for path in tmp_path.glob("state-*.pt"):
        path.write_bytes(b"PK\x03\x04 no state")
    with pytest.raises(InputError, match="no training state"):
        train(tiny_config(store), tmp_path, progress=False)


@pytest.mark.parametrize(("keep", "left"), [(1, 1), (3, 3), (0, 5)])
def test_what_is_kept(tmp_path, keep, left):
    run_files.begin_record(tmp_path, adopt=False)
    models = [run_files.path_of(tmp_path, "model", i) for i in range(5)]
    for path in models:
        run_files.claim(path).touch()
    run_folder.prune(tmp_path, "model", keep)
    assert run_files.own(tmp_path, "model") == models[5 - left :] == sorted(tmp_path.glob("model-*"))


def test_other_options_do_not_resume(finished, store):
    with pytest.raises(InputError, match=r"loss.r1_gamma"):
        train(tiny_config(store, loss=LossConfig(r1_gamma=1)), finished[1], progress=False)


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
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", InputWarning)
            train(config, tmp_path, progress=False)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(threads)
    assert json.loads((tmp_path / "run.json").read_text())["precision"] == chosen
    assert any("slow" in str(warning.message) for warning in said) == (chosen == "bf16")
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


# --- a start that is refused


REFUSED = {
    "no store": (lambda tmp: {"data": str(tmp / "nowhere")}, "no store"),
    "a device that is not there": (lambda tmp: {"device": "abacus"}, "device"),
    "metrics without their networks": (lambda tmp: {"evaluation": missing(tmp, "fid50k")}, "nowhere"),
    "metrics without classifiers": (lambda tmp: {"evaluation": missing(tmp, "ls")}, "nowhere"),
    "graphs on a CPU": (lambda tmp: {"graphs": True}, "CUDA GPU"),
}
REFUSED_AT_FIRST = REFUSED | {
    "a batch that cannot be divided": (lambda tmp: {"schedule": ScheduleConfig(batch_size={4: 6})}, "batch of 6"),
    "a base that is not there": (lambda tmp: {"start_from": str(tmp / "nowhere.safetensors")}, "nowhere"),
    "a base of other networks": (lambda tmp: {"start_from": weights.DEFAULT_MODEL}, "fit none of this run"),
    "networks for other channels": (lambda tmp: {}, "channels"),
    "networks for larger images": (lambda tmp: {}, "prepare the data again"),
}


def missing(tmp: Path, metric: str) -> EvaluateConfig:
    nowhere = str(tmp / "nowhere.safetensors")
    return EvaluateConfig((metric,), extractor=f"mobilenet-v2={nowhere}", classifiers=nowhere)


@pytest.mark.parametrize("reason", REFUSED_AT_FIRST)
def test_a_refused_start_leaves_nothing(store, tmp_path, reason):
    changes, sentence = REFUSED_AT_FIRST[reason]
    config = replace(tiny_config(store), **changes(tmp_path))
    if "for " in reason:
        shape = {"channels": 1} if "channels" in reason else {"resolution": 32}
        g, d = (replace(part, **shape) for part in (config.generator, config.discriminator))
        config = replace(config, generator=g, discriminator=d)
    with pytest.raises(InputError, match=sentence):
        train(config, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:.*it is not used:stylegan.errors.InputWarning")
@pytest.mark.parametrize("reason", [*REFUSED, "a damaged state", "a state of other data", "another option"])
def test_a_refused_resumption_changes_nothing(finished, store, tmp_path, reason):
    run = tmp_path / "run"
    shutil.copytree(finished[1], run)
    changes, sentence = REFUSED.get(reason, (lambda tmp: {}, None))
    config = replace(tiny_config(store, keep=7), **changes(tmp_path))  # keep, which may change, is in run.json too
    if reason == "a damaged state":
        for path in run.glob("state-*.pt"):
            path.write_bytes(b"PK\x03\x04 no state")
    elif reason == "a state of other data":
        config = replace(config, data=str(write_store(tmp_path / "other", count=30)))
    elif reason == "another option":
        config = replace(config, mixing_probability=0.5)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(InputError, match=sentence):
        train(config, run, progress=False)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


# --- what decides a run is read from run.json


def brief(config: TrainingConfig, kimg: float) -> TrainingConfig:
    return replace(config, schedule=replace(config.schedule, total_kimg=kimg))


def test_a_run_goes_on_by_itself(finished, store, tmp_path):
    """Nothing is needed but the folder: neither options nor the model that the run began with."""
    base = tmp_path / "base.safetensors"
    shutil.copy(finished[0].model, base)
    config = presets.continuing(tiny_config(store, ema_kimg=0.2), str(base))
    train(brief(config, 0.1), tmp_path / "whole", progress=False)
    whole = train(config, tmp_path / "whole", progress=False)
    train(brief(config, 0.1), tmp_path / "run", progress=False)
    base.unlink()

    again = presets.default_config(tmp_path / "run", str(store), presets.Choice(kimg=0.4))
    as_begun = {"taken_over": again.taken_over, "images_before": finished[0].images_seen}
    assert again.taken_over and again == replace(config, precision=again.precision, threads=again.threads, **as_begun)
    assert same(tensors_of(train(again, tmp_path / "run", progress=False)), tensors_of(whole))
    assert weights.load_model(whole.model).provenance.images_before == finished[0].images_seen
    assert train(None, tmp_path / "run", progress=False).images_seen == whole.images_seen
    with pytest.raises(InputError, match="holds no run"):
        train(None, tmp_path / "nothing", progress=False)


def test_a_refusal_gives_both_values(finished, store):
    config = tiny_config(store, mixing_probability=0.5, loss=LossConfig(r1_gamma=1.0))
    with pytest.raises(
        InputError, match=r"began with loss\.r1_gamma 10\.0, now 1\.0; mixing_probability 0\.9, now 0\.5:"
    ):
        train(config, finished[1], progress=False)
    config = tiny_config(store)
    config = replace(config, schedule=replace(config.schedule, batch_size={4: 8, 16: 4}))
    with pytest.raises(InputError, match=r"schedule\.batch_size 4:8, now 4:8,16:4"):
        train(config, finished[1], progress=False)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"preset": "config-f"}, 'preset "", now config-f'),
        ({"resolution": 8}, "resolution 16, now 8"),
        ({"labels": True}, "labels False, now True"),
        ({"start_from": "x.pkl"}, 'start_from "", now x.pkl'),
    ],
)
def test_options_of_a_run_that_are_given_again(finished, store, options, sentence):
    with pytest.raises(InputError, match=sentence):
        presets.default_config(finished[1], str(store), presets.Choice(**options))


def test_defaults_are_the_runs_own_or_a_presets(finished, store, tmp_path):
    assert presets.default_config(tmp_path, str(store)) == presets.preset("small", str(store))
    assert presets.default_config("", str(store), presets.Choice("config-e")) == presets.preset("config-e", str(store))
    longer = presets.default_config(finished[1], str(store), presets.Choice(resolution=16, kimg=0.8))
    assert longer.schedule.total_kimg == 0.8 and longer.generator == tiny_config(store).generator
    moved = presets.default_config(finished[1], str(tmp_path / "moved"))
    assert moved.data == str(tmp_path / "moved")
    wider = presets.default_config(finished[1], str(store), presets.Choice(width="thin"))
    with pytest.raises(InputError, match=r"generator\.feature_maps\.base 64, now 1024"):
        train(wider, finished[1], progress=False)
