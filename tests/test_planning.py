"""What is trained without a preset: fitted to the images, the machine and the time there is."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import TINY_MAPS, tiny_config, write_store
from test_cli import refused, run

from stylegan import bench, planning, presets
from stylegan.config import to_dict
from stylegan.errors import InputError
from stylegan.planning import Machine
from stylegan.planning import plan as choose
from stylegan.presets import Choice
from stylegan.training.pace import Pace
from stylegan.training.schedule import State, stages

CPU = Machine(device="cpu", threads=1, precision="float32")


@pytest.fixture
def speed(monkeypatch):
    """Sets images a second at 64 x 64 with thin networks; other sizes and widths take as long as their networks let
    expect."""

    def at(images_a_second: float, scores: tuple[float, float] = (0.0, 0.0)) -> None:
        def measure(config):
            top, thin = config.generator.resolution, presets.small(presets.Shape(64))
            cost = _cost(config) / _cost(thin)
            pace = Pace.of(config, "cpu")
            pace.foretell_scores(*scores)
            for r in {min(64, top), top}:
                pace.add(State(r, 0.0, 16, 0.0, 0.0), 1, cost * (r / min(64, top)) ** 2 / images_a_second)
            return pace

        monkeypatch.setattr(planning, "measure", measure)

    return at


def _cost(config) -> float:
    return float(config.generator.feature_maps(64)) ** 2


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    made = {}

    def store(resolution: int, count: int) -> str:
        if (resolution, count) not in made:
            path = tmp_path_factory.mktemp("data") / f"{resolution}-{count}"
            made[resolution, count] = str(write_store(path, resolution, count))
        return made[resolution, count]

    return store


def test_few_images_are_augmented_and_begin_with_the_bundled_model(stores, speed):
    speed(20)
    plan = choose(stores(64, 50), Choice(), CPU)
    config = plan.config
    assert (config.augment.kind, config.start_from, config.freeze_d) == ("ada", "faces", 2)
    assert 2 * 20 * 3600 * 0.8 < 1000 * config.schedule.total_kimg <= 2 * 20 * 3600 / planning.OVERHEAD
    said = "\n".join(planning.sentences(plan, config, "run"))
    assert "50 images" in said and "--start-from none" in said and "CC BY 4.0" in said and "at once" in said
    assert "warning" not in said and "run/report.html" in said and "images are held out" in said
    for asked in ({"strength": 0.2}, {"judge": "reals"}):
        fixed = replace(config, augment=replace(config.augment, **asked))
        assert "images are held out" not in "\n".join(planning.sentences(plan, fixed, "run"))

    without = choose(stores(64, 50), Choice(start_from="none"), CPU).config
    assert (without.augment.kind, without.start_from, without.freeze_d) == ("ada", "", 0)
    said = planning.sentences(plan, replace(config, augment=presets.small(presets.Shape(64)).augment), "run")
    assert "--augment.kind ada helps" in "\n".join(said)


def test_what_the_bundled_model_cannot_serve_begins_with_nothing(stores, speed):
    speed(20)
    assert choose(stores(16, 20), Choice(), CPU).config.start_from == ""
    config = choose(stores(64, 50), Choice(width="small"), CPU).config
    assert config.start_from == "" and config.generator.feature_maps == presets.WIDTHS["small"]


def test_many_images_are_neither(stores, speed, monkeypatch):
    monkeypatch.setattr(planning, "FEW", 40)
    speed(20)
    plan = choose(stores(64, 50), Choice(), CPU)
    assert plan.config.augment.kind == "none" and plan.config.start_from == ""
    assert plan.config.generator == presets.small(presets.Shape(64)).generator
    assert "images:" not in " ".join(planning.sentences(plan, plan.config, "run")[2:])


def test_time_left_over_goes_into_width(stores, speed, monkeypatch):
    monkeypatch.setattr(planning, "FEW", 40)
    widths = []
    for images_a_second in (20, 1000, 30_000):
        speed(images_a_second)
        config = choose(stores(64, 50), Choice(), CPU).config
        assert config.generator.feature_maps == config.discriminator.feature_maps
        assert config.schedule.total_kimg <= planning.LONGEST
        widths.append(config.generator.feature_maps)
    assert widths == [presets.WIDTHS[name] for name in ("thin", "small", "paper")]


@pytest.mark.parametrize("hours", [0.1, 0.5, 2.0])
def test_scores_along_the_way_are_part_of_the_time(stores, speed, hours):
    speed(20, scores=(20.0, 15.0))
    config = choose(stores(64, 50), Choice(), CPU, hours).config
    reports = -(-config.schedule.total_kimg // config.schedule.tick_kimg[4])
    measuring = 20 * -(-reports // config.evaluation_ticks) + 15
    training = planning.OVERHEAD * config.schedule.total_kimg * 1000 / 20
    assert 0.85 * 3600 * hours < training + measuring <= 1.02 * 3600 * hours
    end = choose(stores(64, 50), Choice(), CPU, hours).seconds(config)[1]
    assert end == pytest.approx(training + measuring, rel=0.02)


def test_what_scores_take_is_measured(store):
    config = planning.unfitted(str(store), Choice(), CPU)
    each, first = planning.seconds_of_scores(config)
    assert each > first > 0  # 500 samples, and fewer images of the store
    without = replace(config, evaluation=replace(config.evaluation, metrics=()))
    assert planning.seconds_of_scores(without) == (0.0, 0.0)


@pytest.mark.parametrize("hours", [0.5, 2.0, 8.0])
def test_growing_takes_half_of_the_time_at_most(stores, speed, hours):
    speed(30)
    plan = choose(stores(128, 30), Choice(start_from="none"), CPU, hours)
    schedule = plan.config.schedule
    assert schedule.initial_resolution == 64 and schedule.stable_kimg <= 200
    parts = [(now, n * plan.pace.seconds_per_image(now)) for n, now in stages(schedule, 128)]
    total = sum(seconds for _, seconds in parts)
    whole = sum(seconds for now, seconds in parts if now.stage == (128, False))
    assert 0.8 * 3600 * hours < planning.OVERHEAD * total <= 3600 * hours
    assert whole >= 0.45 * total
    first, end = plan.seconds(plan.config)
    assert 0 < first < end == pytest.approx(planning.OVERHEAD * total)


def test_too_little_time_is_said_before(stores, speed):
    speed(2)
    plan = choose(stores(64, 50), Choice(start_from="none"), CPU, 0.5)
    (warning,) = [line for line in planning.sentences(plan, plan.config, "run") if line.startswith("warning")]
    assert "--resolution 32" in warning
    hours = float(warning.split("--hours ")[1].split(",")[0])
    plan = choose(stores(64, 50), Choice(start_from="none"), CPU, 1.1 * hours)
    assert not [line for line in planning.sentences(plan, plan.config, "run") if line.startswith("warning")]


def test_a_named_preset_is_shortened_and_nothing_else(stores, speed):
    speed(20)
    for name in ("config-f", "small"):
        plain, fitted = presets.preset(name, stores(64, 50)), choose(stores(64, 50), Choice(name), CPU, 1).config
        assert 0 < fitted.schedule.total_kimg < 100 and fitted.augment == plain.augment
        assert fitted.generator == plain.generator and fitted.schedule.stable_kimg == plain.schedule.stable_kimg


def test_a_training_knows_the_speed_that_was_measured_for_it(stores, speed):
    speed(20)
    plan = choose(stores(64, 50), Choice(), CPU)
    config = plan.config
    longer = replace(config, schedule=replace(config.schedule, total_kimg=900))
    assert plan.pace_of(config) is plan.pace is plan.pace_of(longer)
    wider = replace(config.generator, feature_maps=presets.WIDTHS["paper"])
    assert plan.pace_of(replace(config, generator=wider)) is None


def test_what_does_not_fit_together(stores):
    with pytest.raises(InputError, match="one of them"):
        choose(stores(64, 50), Choice(kimg=3), CPU, 1)
    with pytest.raises(InputError, match="above 0"):
        choose(stores(64, 50), Choice(), CPU, 0)
    with pytest.raises(InputError, match="prepare the data again"):
        choose(stores(64, 50), Choice(resolution=128), CPU, 1)


def test_penalties_count_as_often_as_they_come(store, monkeypatch):
    """One in eight: (5 + 7 * 1) / 8 seconds."""
    clock, config = [0.0], tiny_config(store)
    config = replace(config, loss=replace(config.loss, penalty_interval=8))

    def training(state, now):
        def work():
            clock[0] += 5.0 if (state.images_seen // now.batch_size) % 8 == 0 else 1.0

        return work

    monkeypatch.setattr(bench, "training", training)
    for seconds in (1.0, 20.0):
        measured = planning.seconds_of_iteration(config, State(16, 0.0, 8, 0.003, 48), seconds, lambda: clock[0])
        assert measured == pytest.approx(12 / 8)


def test_the_command_chooses_and_a_resumed_run_goes_on(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(presets.WIDTHS, "thin", TINY_MAPS)
    tiny = ["--width", "thin", "--batch-size", "8", "--device", "cpu", "--threads", "1", "--evaluation.count", "8"]
    assert run("train", store, tmp_path / "run", *tiny, "--kimg", "0.1") == 0
    said = capsys.readouterr().out
    assert "chosen: preset small" in said and "0.1 kimg" in said and "pictures: " in said
    began = json.loads(Path(tmp_path / "run/run.json").read_text())
    assert began["augment"]["kind"] == "ada" and began["evaluation"]["metrics"] == ["kid50k", "memorization"]
    assert (tmp_path / "run/best.safetensors").exists() and (tmp_path / "run/memorization.png").exists()
    monkeypatch.setattr(planning, "measure", lambda config: pytest.fail("a run that goes on is not fitted again"))
    assert run("train", store, tmp_path / "run", *tiny, "--kimg", "0.2", "--hours", "1") == 0
    assert "goes on as it began" in capsys.readouterr().out
    assert json.loads(Path(tmp_path / "run/run.json").read_text())["augment"] == began["augment"]
    assert run("train", store, tmp_path / "run", "--start-from", "none") == 0


def test_none_is_no_model_for_a_run_that_has_one(store, tmp_path, capsys):
    config = tiny_config(store, start_from="a.safetensors")
    (tmp_path / "run.json").write_text(json.dumps(to_dict(config)))
    assert "start_from a.safetensors" in refused(capsys, "train", store, tmp_path, "--start-from", "none")


def test_several_processes_do_not_measure(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "--kimg" in refused(capsys, "train", store, tmp_path / "run", "--hours", "1")
