"""Augmentation in training: what it draws, what it leaves alone, how its strength follows D."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import same, tensors_of, tiny_config, train_in_two_processes, write_store
from safetensors.torch import load_file

from stylegan import presets, randomness
from stylegan.data.pyramid import pyramid
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.run_files import read_stats
from stylegan.training import augment, state_file
from stylegan.training.augment import AugmentConfig, Multipliers
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig
from stylegan.training.state import new_state

CPU = torch.device("cpu")
ALL = {"ada": AugmentConfig(kind="ada", transforms=augment.GROUPS["ada"]), "diff": AugmentConfig(kind="diff")}
KEYS = partial(randomness.key, 7, 1000)


def strength(value: float) -> torch.Tensor:
    return torch.tensor(value)


def augmented(config: AugmentConfig, images: torch.Tensor, p: float, index: torch.Tensor | None = None, keys=KEYS):
    index = torch.arange(len(images)) if index is None else index
    return augment.augmented(config, images, strength(p), keys, "reals of D", index)


# --- what is done to images


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_image_is_augmented_by_its_sample_alone(kind, channels):
    """Whatever else is in its micro-batch; and otherwise in another step, or as another image."""
    images = torch.rand(8, channels, 32, 32) * 2 - 1
    whole = augmented(ALL[kind], images, 0.6)
    for part in (torch.tensor([1, 3, 5, 7]), torch.tensor([6, 0])):
        assert torch.allclose(augmented(ALL[kind], images[part], 0.6, part), whole[part], atol=1e-5)
    later = augmented(ALL[kind], images, 0.6, keys=partial(randomness.key, 7, 1008))
    others = augment.augmented(ALL[kind], images, strength(0.6), KEYS, "fakes of D", torch.arange(8))
    assert not torch.allclose(later, whole, atol=0.1) and not torch.allclose(others, whole, atol=0.1)
    assert whole.shape == images.shape and whole.isfinite().all()


@pytest.mark.parametrize("kind", ALL)
def test_a_strength_of_0_leaves_every_bit(kind):
    images, weight = torch.randn(4, 3, 16, 16, requires_grad=True), torch.randn(4, 3, 16, 16)
    result = augmented(ALL[kind], images, 0.0)
    (gradient,) = torch.autograd.grad(result, images, weight)
    assert torch.equal(result, images) and torch.equal(gradient, weight)
    assert augment.augmented(ALL[kind], images, None, KEYS, "reals of D", torch.arange(4)) is images


@pytest.mark.parametrize("name", [f.name for f in fields(Multipliers)])
def test_each_transform_is_as_frequent_as_its_multiplier_says(name):
    """Of noise images, which every transform changes; and none where its multiplier is 0."""
    none = Multipliers(**{f.name: 0.0 for f in fields(Multipliers)})
    images = torch.randn(600, 3, 16, 16)
    config = replace(ALL["ada"], multipliers=replace(none, **{name: 0.5}))
    changed = (augmented(config, images, 0.8) != images).flatten(1).any(1).float().mean()
    expected = {"mirror": 0.2, "luma_flip": 0.2, "quarter_turn": 0.3, "filter": 1 - 0.6**4}.get(name, 0.4)
    expected *= 1 - 1 / 25 if name == "shift" else 1  # by 0 pixels of up to 2 (a quarter of them on either axis)
    assert abs(changed - expected) < 0.08
    assert torch.equal(augmented(replace(config, multipliers=none), images[:20], 0.8), images[:20])


def test_transforms_can_be_chosen_by_group():
    images = torch.rand(40, 3, 16, 16)
    blit = augmented(AugmentConfig(kind="ada", transforms=("blit",)), images, 1.0)
    assert (torch.isin(blit.flatten(1), images).float().mean()) == 1  # moves pixels, and makes no new ones
    color = augmented(AugmentConfig(kind="ada", transforms=("color",)), images.new_full((40, 3, 16, 16), 0.3), 1.0)
    assert torch.allclose(color, color[:, :, :1, :1].expand_as(color)) and color.std(0).min() > 0.1
    cut = augmented(AugmentConfig(kind="diff", transforms=("cutout",)), images, 1.0)
    shares = (cut == 0).float().mean((1, 2, 3))
    assert 0.05 < shares.min() < shares.max() <= 0.25
    white = torch.ones(40, 3, 16, 16)
    moved = augmented(AugmentConfig(kind="diff", transforms=("translation",)), white, 1.0)
    assert 1 - (14 / 16) ** 2 >= (moved == 0).float().mean((1, 2, 3)).max() > 0


def test_no_transform_has_a_direction():
    """The average of many augmented images of a dot in the middle has its center there."""
    image = torch.zeros(1, 1, 32, 32)
    image[..., 15:17, 15:17] = 1
    config = AugmentConfig(kind="ada", transforms=("blit", "geometry"))
    mean = augmented(config, image.expand(1000, -1, -1, -1), 1.0).mean(dim=(0, 1))
    for rows in (mean, mean.T):
        assert abs((torch.arange(32) - 15.5) @ rows.sum(0) / mean.sum()) < 1


def test_a_shrunk_image_is_blurred_first():
    config = AugmentConfig(kind="ada", transforms=("geometry",), multipliers=Multipliers(rotation=0, stretch=0, move=0))
    chances = augment._Chances(config, strength(1.0), KEYS, "x", torch.arange(50))
    place, shrink = augment._geometry(config.groups, 32, chances)
    assert torch.allclose(place[:, 0, 0], shrink) and shrink.min() < 0.9 < 1.1 < shrink.max()


# --- training


FIXED = {
    "ada": AugmentConfig(kind="ada", strength=0.5, transforms=augment.GROUPS["ada"]),
    "diff": AugmentConfig(kind="diff"),
    "adaptive": AugmentConfig(kind="ada", kimg=0.2, target=-0.9, interval=2),
}


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    """A whole training with each, and its folder."""
    results = {}
    for name, config in FIXED.items():
        run = tmp_path_factory.mktemp("augmented") / name
        results[name] = train(tiny_config(store, augment=config), run, progress=False), run
    return results


def test_a_training_of_strength_0_is_one_without(store, finished, tmp_path):
    for name, config in {
        "fixed": AugmentConfig(kind="ada", strength=0.0),
        "limit": AugmentConfig(kind="ada", limit=0),
    }.items():
        outcome = train(tiny_config(store, augment=config), tmp_path / name, progress=False)
        assert same(tensors_of(outcome), tensors_of(finished[0]))


@pytest.mark.parametrize("name", FIXED)
def test_augmented_trainings_differ_from_16_x_16_on(runs, finished, name):
    outcome, run = runs[name]
    assert not same(tensors_of(outcome), tensors_of(finished[0]))
    ours, plain = read_stats(run), read_stats(finished[1])
    for line, other in zip(ours, plain, strict=True):
        if line["resolution"] == 8:
            assert line["loss_d"] == other["loss_d"] and line["augment_strength"] == 0
        elif name != "adaptive":
            assert line["loss_d"] != other["loss_d"]
            assert line["augment_strength"] == (0.5 if name == "ada" else 1.0)
    assert "augment_strength" not in plain[0]


@pytest.mark.parametrize("name", FIXED)
def test_resuming_is_exact(runs, store, tmp_path, name):
    """In the fade, and between two adjustments of the strength."""
    config = tiny_config(store, augment=FIXED[name])
    for kimg in (0.16, 0.25, 0.4):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "run", progress=False)
    assert same(tensors_of(outcome), tensors_of(runs[name][0]))
    states = [sorted(run.glob("state-*.pt"))[-1] for run in (tmp_path / "run", runs[name][1])]
    assert state_file.load(states[0])["augmentation"] == state_file.load(states[1])["augmentation"]


def at_16(data: Path, images: int = 32, **changes):
    """At 16 x 16 from the beginning, with a report every 16 images: two batches."""
    config = tiny_config(data, **changes)
    brief = replace(config.schedule, initial_resolution=16, total_kimg=images / 1000, tick_kimg={4: 0.016})
    return replace(config, schedule=brief)


def begin_alike(run: Path, other: Path) -> None:
    """In their first report; later ones see what Adam makes of rounding. Of one process each."""
    ours, theirs = read_stats(run)[0], read_stats(other)[0]
    for name in ("loss_d", "loss_g", "score_real", "score_fake", "penalty"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize("name", ["ada", "diff"])
def test_micro_batches_see_the_same_images(store, tmp_path, name):
    config = at_16(store, 16, augment=FIXED[name])
    train(config, tmp_path / "whole", progress=False)
    train(replace(config, micro_batch=4), tmp_path / "parts", progress=False)
    begin_alike(tmp_path / "parts", tmp_path / "whole")


def test_two_processes_agree_on_the_strength(store, tmp_path):
    config = at_16(store, augment=FIXED["adaptive"])
    train(config, tmp_path / "one", progress=False)
    train_in_two_processes(config, tmp_path / "two")
    start = new_state(config, CPU).d.state_dict()
    one, two = (load_file(max((tmp_path / name).glob("model-*.safetensors"))) for name in ("one", "two"))
    moved = sum((one[f"d.{name}"] - value).square().sum() for name, value in start.items())
    differ = sum((one[f"d.{name}"] - two[f"d.{name}"]).square().sum() for name in start)
    assert differ.sqrt() < 0.05 * moved.sqrt()  # Adam makes full steps of rounding
    states = [state_file.load(max((tmp_path / name).glob("state-*.pt"))) for name in ("one", "two")]
    assert states[0]["augmentation"]["strength"] == states[1]["augmentation"]["strength"] > 0


@pytest.mark.parametrize("kind", ["logistic", "wgan-gp", "relativistic"])
@pytest.mark.parametrize(("channels", "labels"), [(1, 0), (4, 2)])
def test_every_loss_and_shape_of_data(tmp_path, kind, channels, labels):
    data = write_store(tmp_path / "store", channels=channels, labels=labels)
    config = at_16(data, 16, loss=LossConfig(kind=kind), label_count=labels, augment=FIXED["ada"], precision="bf16")
    g, d = replace(config.generator, channels=channels), replace(config.discriminator, channels=channels)
    train(replace(config, generator=g, discriminator=d), tmp_path / "run", progress=False)
    assert all(torch.tensor(list(line.values())).isfinite().all() for line in read_stats(tmp_path / "run"))


# --- the strength


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values)


def adjusted(config: AugmentConfig, before: float, reals, fakes=(0.0,), held_out=None) -> float:
    """The strength after one interval in which D gives these scores in each batch."""
    state = augment.new_augmentation(config, CPU)
    state.strength = before
    for step in range(config.interval):
        assert state.strength == before
        judges = scores(*held_out) if held_out and step == config.interval - 1 else None
        seen = augment.tally(scores(*reals), scores(*fakes), judges, state.sums)
        state.adjust(step * len(reals), len(reals), seen)
    assert not state.sums.any()
    return state.strength


def test_the_strength_follows_the_signs_of_the_reals_scores():
    config = AugmentConfig(kind="ada", kimg=0.1)  # 4 batches of 5 images: 0.2 of the range
    assert adjusted(config, 0.5, (1.0, 2.0, 3.0, 0.1, 9.0)) == pytest.approx(0.7)
    assert adjusted(config, 0.5, (1.0, 2.0, 3.0, 0.1, -9.0)) == 0.5  # 0.6, on the mark
    assert adjusted(config, 0.5, (1.0, 2.0, 3.0, -0.1, -9.0)) == pytest.approx(0.3)
    assert adjusted(config, 0.1, (-1.0,) * 5) == 0 and adjusted(config, 0.75, (1.0,) * 5) == 0.8
    assert adjusted(config, 0.5, (float("nan"), float("inf"), 1.0, 1.0, 1.0)) == 0.5
    assert adjusted(replace(config, target=0.7), 0.5, (1.0, 2.0, 3.0, 0.1, -9.0)) == pytest.approx(0.3)
    assert adjusted(AugmentConfig(kind="ada"), 0.5, (1.0,) * 5) == pytest.approx(0.5 + 20 / 100_000)


def test_the_strength_follows_the_scores_of_held_out_images():
    """How far down from the training's scores to the fakes' those of held-out images are."""
    config = AugmentConfig(kind="ada", kimg=0.1, judge="held-out")
    reals, fakes = (4.0, 2.0, 3.0, 1.0, 5.0), (-3.0, -1.0, -2.0, 0.0, -4.0)  # 3 and -2 on average
    assert adjusted(config, 0.5, reals, fakes, (1.5, 0.6)) == pytest.approx(0.7)  # 0.39
    assert adjusted(replace(config, target=0.6), 0.5, reals, fakes, (1.5, 0.6)) == pytest.approx(0.3)
    assert adjusted(config, 0.5, reals, fakes, (2.0, 1.0)) == pytest.approx(0.3)
    assert adjusted(config, 0.5, fakes, reals, (9.0,)) == pytest.approx(0.3)  # D does not tell training from fakes
    quick = adjusted(replace(config, kimg=None), 0.5, reals, fakes, (1.5, 0.6))
    assert quick == pytest.approx(0.5 + 20 / 20_000)


def store_of_noise(path, count: int, held_out: int) -> None:
    rng = np.random.RandomState(0)
    with StoreWriter(path, 16, 3, made={"source": "test"}) as writer:
        for i in range(count + held_out):
            image = rng.randint(0, 256, (16, 16, 3)).astype(np.uint8)
            writer.add(pyramid(image), f"{i}.png", held_out=i >= count)


@pytest.mark.parametrize("held_out", [0, augment.FEWEST_JUDGES - 1, augment.FEWEST_JUDGES])
def test_held_out_images_judge_where_there_are_enough(tmp_path, held_out):
    store_of_noise(tmp_path / "store", 8, held_out)
    store = open_store(tmp_path / "store")
    judges = AugmentConfig(kind="ada").judges_of(store)
    assert (judges is not None) == (held_out == augment.FEWEST_JUDGES)
    asked = AugmentConfig(kind="ada", judge="held-out").judges_of(store)
    assert (0 if asked is None else asked.count) == held_out
    for config in ({"kind": "ada", "judge": "reals"}, {"kind": "ada", "strength": 0.5}, {"kind": "diff"}, {}):
        assert AugmentConfig(**config).judges_of(store) is None


def test_a_training_judged_by_held_out_images(tmp_path):
    store_of_noise(tmp_path / "store", 20, 4)
    judged = AugmentConfig(kind="ada", judge="held-out", kimg=0.2, target=-1.0, interval=2)
    config = at_16(tmp_path / "store", augment=judged)
    whole = train(config, tmp_path / "whole", progress=False)
    assert {"score_held_out", "sign_real", "augment_strength"} <= set(read_stats(tmp_path / "whole")[0])
    for kimg in (0.01, 0.032):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "parts", progress=False)
    assert same(tensors_of(outcome), tensors_of(whole))


def test_older_states_go_on_with_a_strength_of_0(finished, store):
    config = tiny_config(store, augment=FIXED["adaptive"])
    saved = state_file.load(max(finished[1].glob("state-*.pt")))
    assert "augmentation" not in saved
    state = new_state(config, CPU, saved["data"])
    state.restore(saved)
    assert state.augmentation.strength == 0
    for wrong in ({"strength": 0.5}, {"strength": "0.5", "sums": [0.0] * 6}, {"strength": 0.5, "sums": [0.0]}, {}):
        with pytest.raises(InputError, match="strength of augmentation"):
            state.restore(saved | {"augmentation": wrong})


def test_what_does_not_fit_is_refused(store, tmp_path):
    for message, options in {
        "augment.strength needs": {"strength": 0.5},
        "transforms has blit, but augment.kind none has none": {"transforms": ("blit",)},
        "transforms has hue, but augment.kind ada has these: blit": {"kind": "ada", "transforms": ("hue",)},
        "transforms has geometry, but augment.kind diff": {"kind": "diff", "transforms": ("geometry",)},
        "multipliers needs augment.kind ada": {"kind": "diff", "multipliers": Multipliers(hue=0)},
        "judge needs augment.kind ada": {"kind": "ada", "strength": 0.5, "judge": "held-out"},
        "augment.strength is 2": {"kind": "ada", "strength": 2.0},
    }.items():
        with pytest.raises(InputError, match=message):
            AugmentConfig(**options)
    with pytest.raises(InputError, match=r"augment\.multipliers\.hue is -1"):
        Multipliers(hue=-1.0)
    config = tiny_config(store, augment=AugmentConfig(kind="ada", judge="held-out"))
    with pytest.raises(InputError, match="has no held-out images"):
        train(config, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", presets.PRESETS)
def test_no_preset_augments(name):
    assert presets.PRESETS[name](presets.Shape(64)).augment == AugmentConfig()
