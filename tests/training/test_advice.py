"""Advice: each trouble is told from a made-up history, once, and healthy histories say nothing."""

import math

import pytest

from stylegan.training.advice import About, advise, history

ABOUT = About(images=1000, total_images=1_000_000)


def line(tick: int, **changes) -> dict:
    """A healthy tick of 4,000 images: scores come together, variety grows, in the manner of a real run."""
    early = math.exp(-tick / 20)
    wobble = 0.1 * math.sin(tick)
    return {
        "images_seen": 4000 * (tick + 1),
        "tick": tick + 1,
        "resolution": 64,
        "fade": 0.0,
        "score_real": 0.6 + 1.5 * early + wobble,
        "score_fake": -0.6 - 2.5 * early - wobble,
        "sign_real": 0.45 + 0.53 * early,
        "score_held_out": 0.4 + 1.5 * early + wobble,
        "variety": 0.95 - 0.85 * early,
        "skipped_g": 0,
        "skipped_d": 0,
    } | changes


def run(count: int = 80, **later) -> list[dict]:
    """A healthy run, whose last half is changed: each change is a function of the tick, counted from there."""
    half = count // 2
    return [
        line(tick, **({name: change(tick - half) for name, change in later.items()} if tick >= half else {}))
        for tick in range(count)
    ]


def fids(values: list[float]) -> list[dict]:
    return [{"metric": "fid50k", "values": {"fid": v}, "images_seen": 40_000 * (i + 1)} for i, v in enumerate(values)]


FALLING = fids([200 / (i + 1) for i in range(8)])

TROUBLES = {
    "held-out": run(score_held_out=lambda i: 0.6 - 0.04 * i),
    "sure of": run(sign_real=lambda i: 0.97),
    "drift apart": run(score_real=lambda i: 0.6 + 0.3 * i, score_fake=lambda i: -0.6 - 0.3 * i),
    "alike": run(variety=lambda i: max(0.05, 0.9 - 0.05 * i)),
    "steps of D are skipped": run(skipped_d=lambda i: i // 3),
}


@pytest.mark.parametrize("words", TROUBLES)
def test_each_trouble_is_told_and_nothing_else(words):
    (sentence,) = advise(TROUBLES[words], FALLING, ABOUT)
    assert words in sentence
    said = history(TROUBLES[words], FALLING, ABOUT)
    assert [each.sentence for each in said] == [sentence]  # once, however often it holds
    assert said[0].images_seen > 160_000


def test_scores_that_no_longer_improve():
    values = [90, 70, 50, 45, 44, 46, 45, 47, 48, 46, 45]
    (sentence,) = advise(run(), fids(values), ABOUT)
    assert "fid has not become better since 200 kimg" in sentence
    assert advise(run(), fids(values[:9]), ABOUT) == []
    rising = [{**each, "metric": "pr50k", "values": {"precision": v}} for v, each in enumerate(fids(values))]
    assert advise(run(), rising, ABOUT) == []  # higher is better


def test_a_sentence_is_said_again_when_it_begins_again():
    stats = run(120, skipped_g=lambda i: (i > 2) + (i > 30))
    said = history(stats, [], ABOUT)
    assert len(said) == 2 and said[0].sentence == said[1].sentence


@pytest.mark.parametrize("count", [0, 1, 3, 10, 40, 300])
def test_healthy_runs_hear_nothing(count):
    assert history([line(tick) for tick in range(count)], FALLING, ABOUT) == []


def test_a_run_that_grows_hears_nothing():
    """Each resolution begins with scores far apart and an optimizer made anew."""
    stats = []
    for resolution in (8, 16, 32):
        for tick in range(30):
            at = len(stats)
            changes = {"resolution": resolution, "fade": 0.5 if tick < 10 else 0.0, "images_seen": 4000 * (at + 1)}
            stats.append(line(tick, **changes))
    assert history(stats, [], ABOUT) == []


def test_other_losses_and_older_files():
    """A critic's scores have no zero, and lines of earlier versions lack what is looked at."""
    about = About(images=1000, loss="wgan-gp", total_images=1_000_000)
    assert advise(TROUBLES["sure of"], [], about) == advise(TROUBLES["drift apart"], [], about) == []
    assert advise([{"images_seen": 1000 * i, "resolution": 8} for i in range(1, 200)], [], ABOUT) == []


def test_with_augmentation_the_remedy_is_another():
    augmented = [{**each, "augment_strength": 1.0} for each in TROUBLES["sure of"]]
    (with_it,), (without,) = advise(augmented, [], ABOUT), advise(TROUBLES["sure of"], [], ABOUT)
    assert "--augment" in without and "--augment" not in with_it
