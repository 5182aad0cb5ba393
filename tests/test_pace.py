"""The time that a training takes, foretold."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import tiny_config

from stylegan import presets
from stylegan.resolutions import resolutions
from stylegan.training import loop, steps
from stylegan.training.monitor import Monitor
from stylegan.training.pace import OVERHEAD, Pace, Rates, expected
from stylegan.training.schedule import ScheduleConfig, State, groups, stages, state_at

GROWING = presets.growing(presets.Shape(32))


def pace_of(config) -> Pace:
    return Pace(config.generator, config.discriminator)


def state(resolution: int, batch: int, fade: float = 0.0) -> State:
    return State(resolution, fade, batch, 0.001, 1000)


@pytest.mark.parametrize("seen", [0, 500, 1500, 4000, 9999])
def test_stages_are_those_of_the_schedule(seen):
    config = ScheduleConfig(stable_kimg=1, fade_kimg=1, total_kimg=10, batch_size={4: 4}, repeats=1)
    walked = [(now.resolution, now.fade > 0) for _, now in groups(config, 32, seen)]
    left = list(stages(config, 32, seen))
    assert sum(images for images, _ in left) == 10_000 - seen
    assert [now.stage for _, now in left] == list(dict.fromkeys(walked))
    for images, now in left:
        assert abs(images - 4 * walked.count(now.stage)) <= 4


@pytest.mark.parametrize("changes", [{"stable_kimg": 0.0}, {"fade_kimg": 0.0}, {"stable_kimg": 0.0, "fade_kimg": 0.0}])
def test_stages_without_length_are_left_out(changes):
    config = ScheduleConfig(**({"stable_kimg": 1.0, "fade_kimg": 1.0, "total_kimg": 10.0} | changes))
    left = list(stages(config, 32))
    assert sum(images for images, _ in left) == 10_000 and all(images > 0 for images, _ in left)
    assert left[-1][1].stage == state_at(config, 32, 9_999).stage


def test_what_has_been_measured_everywhere_is_exact():
    config = replace(
        GROWING.schedule, stable_kimg=6, fade_kimg=8, total_kimg=56, batch_size={4: 32, 16: 16, 32: 8}, repeats=4
    )
    each = {(8, False): 1.0, (16, True): 3.0, (16, False): 2.0, (32, True): 7.0, (32, False): 5.0}
    pace = pace_of(GROWING)
    pace.pause(1, 0.0)
    for _, now in stages(config, 32):
        pace.add(now, 10, 10 * each[now.stage])
    # 6 kimg, then 8 of fading and 6, then 8 of fading and what is left of 56
    assert pace.seconds_left(config, 32) == pytest.approx(1000 * (6 * 1 + 8 * 3 + 6 * 2 + 8 * 7 + 28 * 5))
    assert pace.seconds_left(config, 32, 50_000) == pytest.approx(6000 * 5)


def test_the_first_measurement_of_a_stage_only_counts_until_there_is_a_second():
    pace, now = pace_of(GROWING), state(8, 32)
    pace.add(now, 10, 100.0)
    assert pace.seconds_per_image(now) == pytest.approx(10)
    pace.add(now, 10, 1.0)
    assert pace.seconds_per_image(now) == pytest.approx(0.1)
    pace.add(now, 10, 3.0)
    assert pace.seconds_per_image(now) == pytest.approx(0.2, rel=0.05)
    for _ in range(50):
        pace.add(now, 10, 30.0)  # another program has come: what was before is forgotten
    assert pace.seconds_per_image(now) == pytest.approx(3.0, rel=0.01)


def test_nothing_is_foretold_from_nothing():
    with pytest.raises(ValueError, match="nothing has been measured"):
        pace_of(GROWING).seconds_per_image(state(8, 32))


MACHINES = {  # microseconds an operation, GFLOP/s, GB/s
    "two cores": Rates(10e-6, 1e11, 8e9),
    "two cores with AMX": Rates(10e-6, 4e11, 8e9),
    "slow interpreter": Rates(30e-6, 1.5e11, 1e10),
    "server": Rates(10e-6, 6e11, 4e10),
}


@pytest.mark.parametrize("rates", MACHINES.values(), ids=MACHINES)
@pytest.mark.parametrize("preset", ["growing", "config-f"])
def test_an_estimate_from_8x8_alone(preset, rates):
    """Within a factor of 2.5 at every resolution up to 128 x 128, for machines up to four times unlike the typical."""
    config = presets.PRESETS[preset](presets.Shape(128))
    pace = pace_of(config)

    def true(now):
        fixed, each = expected(config.generator, config.discriminator, now, rates)
        return fixed / now.batch_size + each

    for _, now in stages(config.schedule, 128):
        if now.resolution == 8:
            pace.add(now, 1, true(now))
    for _, now in stages(config.schedule, 128):
        assert 1 / 2.5 < pace.seconds_per_image(now) / true(now) < 2.5, now
    # and close once two more have been measured
    for _, now in stages(config.schedule, 128):
        if now.resolution in (16, 32):
            pace.add(now, 1, true(now))
    for _, now in stages(config.schedule, 128):
        assert 1 / 1.5 < pace.seconds_per_image(now) / true(now) < 1.5, now


def test_a_smaller_batch_makes_the_time_of_an_iteration_count_more():
    pace = pace_of(GROWING)
    pace.add(state(8, 32), 32, 1.0)
    assert pace.seconds_per_image(state(8, 8)) > 1.2 * pace.seconds_per_image(state(8, 32))
    assert pace.seconds_per_image(state(32, 8)) > pace.seconds_per_image(state(32, 32))


def test_a_resumed_run_recalls_its_stages():
    pace = pace_of(GROWING)

    def record(resolution, fade, batch, speed):
        return {"resolution": resolution, "fade": fade, "batch_size": batch, "images_per_second": speed}

    pace.recall([record(8, 0.0, 32, 100.0), record(8, 0.0, 32, 200.0), {"resolution": 8}, record(16, 0.7, 16, 80.0)])
    pace.recall([record(16, 0.3, 16, 40.0), record(16, 0, 16, 0), record("16", 0, 16, 5), record(17, None, 16, 5)])
    assert pace.seconds_per_image(state(8, 32)) == pytest.approx(1 / 200)
    assert pace.seconds_per_image(state(16, 16, fade=0.1)) == pytest.approx(1 / 80)
    rates = [pace.seconds_per_image(state(r, 16)) for r in resolutions(32, 8)]
    assert rates == sorted(rates)


def test_a_cycle_counts_when_it_is_complete():
    """A penalty on every fourth iteration, which then takes four times as long."""
    pace = Pace(GROWING.generator, GROWING.discriminator, cycle=4)
    for now in (state(8, 10), state(16, 10)):
        for lap in range(12):
            pace.add(now, 20, 20 * (4.0 + 1.0) / 2 if lap % 2 == 0 else 20 * 1.0)
            if lap >= 3:
                assert pace.seconds_per_image(now) == pytest.approx((4 + 3 * 1) / 4)
            assert pace.seconds_per_image(state(32, 10)) > 0


def test_what_was_foretold_is_followed_until_it_is_measured():
    pace, low, top = pace_of(GROWING), state(8, 32), state(64, 32)
    pace.foretell(low, 0.1)
    pace.foretell(top, 2.0)
    pace.add(low, 1, 5.0)  # the first waited for memory
    assert (pace.seconds_per_image(low), pace.seconds_per_image(top)) == (0.1, 2.0)
    for _ in range(30):
        pace.add(low, 100, 15.0)  # half as fast again as foretold: so it will be elsewhere
    assert pace.seconds_per_image(low) == pytest.approx(0.15, rel=0.02)
    assert pace.seconds_per_image(top) == pytest.approx(3.0, rel=0.02)
    assert pace.seconds_per_image(state(64, 32, fade=0.5)) == pytest.approx(3.0, rel=0.1)
    for _ in range(60):
        pace.add(top, 10, 10.0)
    assert pace.seconds_per_image(top) == pytest.approx(1.0, rel=0.02)


def test_reports_and_scores_take_their_time():
    config = replace(GROWING.schedule, initial_resolution=32, total_kimg=10, tick_kimg={4: 1.0})
    for scored_every in (0, 5):
        pace = Pace(GROWING.generator, GROWING.discriminator, scored_every=scored_every)
        pace.add(state(32, 32), 10, 1.0)
        assert pace.seconds_left(config, 32) == pytest.approx(OVERHEAD * 1000)
        for tick, seconds in enumerate((50.0, 3.0, 5.0), 1):  # the first took longer
            pace.pause(tick, seconds)
        if scored_every:
            assert pace.seconds_left(config, 32) == pytest.approx(OVERHEAD * 1000)  # nobody knows
            pace.pause(5, 40.0)
            assert pace.seconds_left(config, 32) == pytest.approx(1000 + 8 * 4 + 2 * 40)
        else:
            assert pace.seconds_left(config, 32) == pytest.approx(1000 + 10 * 4)
            assert pace.seconds_left(config, 32, 5000) == pytest.approx(500 + 5 * 4)
        assert pace.seconds_left(config, 32, 10_000) == 0


# --- a training whose time is not the clock's


def said_and_true(config, run, monkeypatch, seconds, pace=None) -> list[tuple[float, float]]:
    """The share done and the error of what is said of the time left, relative to what the rest took, at each report of
    the progress.

    seconds: an image takes, of a state of the schedule. An iteration with a penalty takes twice as long, the first of
    a stage some seconds more; a report takes a second; all iterations are up to a third slower or quicker.
    """
    clock, said, rng = [0.0], [], np.random.RandomState(0)

    def iteration(state, now, reals, means):
        if now.stage != state.stage:
            state.begin_stage(now.stage)
            clock[0] += 5.0
        penalty = state.images_seen // now.batch_size % state.config.loss.penalty_interval == 0
        steps.update_average(state, now)
        clock[0] += now.batch_size * seconds(now) * (1.0 + penalty) * rng.uniform(0.75, 1.33)
        state.images_seen += now.batch_size

    def progress(self, seen, speed, left, *others):
        said.append((seen / self._total_images, left, clock[0]))

    def draw_fakes(state, draw=loop.outputs.draw_fakes):
        clock[0] += 1.0
        return draw(state)

    monkeypatch.setattr(loop, "iteration", iteration)
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(loop.outputs, "draw_fakes", draw_fakes)
    monkeypatch.setattr(Monitor, "progress", progress)
    loop.train(config, run, progress=False, pace=pace)
    return [(share, left / (clock[0] - at) - 1) for share, left, at in said if share < 0.95]


LONGER = ScheduleConfig(
    stable_kimg=0.2, fade_kimg=0.2, total_kimg=2.0, batch_size={4: 8}, learning_rate={4: 0.003}, tick_kimg={4: 0.2}
)


def within(said: list[tuple[float, float]], share: float) -> float:
    """The error at a share of the training, or soon after it."""
    return abs(next(error for done, error in said if done >= share))


@pytest.mark.parametrize("growing", [False, True])
def test_the_time_left_is_right_from_the_beginning(store, tmp_path, monkeypatch, growing):
    """Within 25 % at once, 20 % at a tenth, 10 % at half of it. What grows was measured before, on a quicker day."""
    config = tiny_config(store, report=False, schedule=LONGER)
    config = replace(config, loss=replace(config.loss, penalty_interval=8))
    each, pace = {8: 0.1, 16: 0.6}, None
    if growing:
        pace = Pace.of(config, "cpu")
        for resolution, seconds in each.items():
            pace.foretell(state(resolution, 8), seconds * (1 + 1 / 8) / 1.2)
    else:
        config = replace(config, schedule=replace(LONGER, initial_resolution=16))
    said = said_and_true(
        config, tmp_path / "run", monkeypatch, lambda now: each[now.resolution] * (1.05 if now.fade else 1), pace
    )
    assert (within(said, 0) < 0.25, within(said, 0.1) < 0.2, within(said, 0.5) < 0.1) == (True,) * 3, said
