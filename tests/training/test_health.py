"""A training that has diverged stops in a sentence though its numbers are finite, and keeps a state from before."""

from dataclasses import replace

import pytest
import torch
from conftest import tiny_config, tiny_generator, write_store

from stylegan.errors import InputError
from stylegan.networks.generator import SynthesisNetwork
from stylegan.training import losses, run_folder, state_file
from stylegan.training.health import Health, size_of_weights
from stylegan.training.loop import train

WELL = {
    "score_real": 0.4, "score_fake": -0.5, "loss_g": 0.9, "loss_d": 1.2, "gradient_norm_g": 2.0, "gradient_norm_d": 0.3,
    "variety": 0.8, "weights_g": 1.0, "weights_d": 1.1,
}  # fmt: skip


def looks(health: Health, *changes: dict) -> list[tuple[str, int | None]]:
    return [health.look(WELL | change | {"images_seen": 1000 * number}) for number, change in enumerate(changes)]


def test_what_runs_away_ends_it_at_once():
    for change, words in [
        ({"score_real": -2000.0}, "scores of training images"),
        ({"score_fake": 1e30}, "scores of fakes"),
        ({"loss_d": 5e4}, "loss of D"),
        ({"weights_d": 40.0}, "weights of D have grown to 40 times"),
    ]:
        trouble = looks(Health("logistic"), {}, change)[-1][0]
        assert words in trouble
        assert not looks(Health("logistic"), {}, {name: value / 1e30 for name, value in change.items()})[-1][0]
    assert not looks(Health("wgan-gp"), {"score_real": -1000.0})[-1][0]


def test_the_first_sign_is_remembered_while_it_lasts():
    suspicious = {"score_real": 300.0}
    signs = [sign for _, sign in looks(Health("logistic"), {}, suspicious, suspicious, {}, suspicious)]
    assert signs == [None, 1000, 1000, None, 4000]
    grows = [{"weights_d": size} for size in (1.1, 1.2, 1.3, 1.6, 1.6)]
    assert [sign for _, sign in looks(Health("logistic"), *grows)] == [None, None, None, 3000, None]
    assert looks(Health("logistic", weights={"weights_d": 0.5}), *grows)[0][1] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [({"gradient_norm_g": 0.0}, "G gets no gradient"), ({"variety": 0.0}, "the same picture")],
)
def test_what_may_pass_must_last(change, words):
    two, three = (looks(Health("logistic"), *ticks) for ticks in ([change, change, {}, change], [{}, *3 * [change]]))
    assert not any(trouble for trouble, _ in two)
    assert words in three[-1][0] and three[-1][1] == 1000 and not three[-2][0]
    lines = [WELL | each | {"images_seen": 1000 * number} for number, each in enumerate([{}, change, change])]
    resumed = Health("logistic", lines)  # as one that was not interrupted
    assert words in resumed.look(WELL | change | {"images_seen": 3000})[0] and resumed.first_sign == 1000


def test_training_images_that_are_all_alike_make_no_trouble():
    assert not any(trouble for trouble, _ in looks(Health("logistic", varied=False), *5 * [{"variety": 0.0}]))


def test_size_of_weights():
    generator = tiny_generator()
    before = size_of_weights(generator)
    assert 0.8 < before < 1.2  # equalized, the mapping network's at a hundredth of the rate as well
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.mul_(20)
    assert size_of_weights(generator) == pytest.approx(20 * before)


# --- trainings


def ended(config, run) -> str:
    with pytest.raises(InputError, match="training has diverged") as caught:
        train(config, run, progress=False)
    return str(caught.value)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("few") / "store", resolution=8, count=16)


def brief(data, keep: int = 1):
    """8 x 8, ticks of 16 images, two iterations each."""
    config = tiny_config(data, keep=keep, grid=(2, 2), report=False)
    small = {name: replace(getattr(config, name), resolution=8) for name in ("generator", "discriminator")}
    schedule = replace(config.schedule, stable_kimg=1.0, total_kimg=1.0, tick_kimg={4: 0.016}, repeats=1)
    return replace(config, schedule=schedule, **small)


def test_a_learning_rate_of_1(few, tmp_path):
    config = brief(few)
    said = ended(replace(config, schedule=replace(config.schedule, learning_rate={4: 1.0})), tmp_path)
    state = state_file.load(tmp_path / "state-0000000000.pt")  # the only one from before
    assert "state-0000000000.pt" in said and all(torch.isfinite(each).all() for each in state["g"].values())


def gradient_free(true_loss):
    def loss(*inputs):
        found = true_loss(*inputs)
        return replace(found, total=found.total * 0)

    return loss


def test_a_discriminator_without_gradient(few, tmp_path, monkeypatch):
    """From the fourth tick on: the newest state from before is that of the third, though one only is kept."""
    calls, true_loss = [], losses.DISCRIMINATOR_LOSSES["logistic"]

    def sometimes(*inputs):
        calls.append(None)
        return (gradient_free(true_loss) if len(calls) > 6 else true_loss)(*inputs)

    monkeypatch.setitem(losses.DISCRIMINATOR_LOSSES, "logistic", sometimes)
    said = ended(brief(few), tmp_path)
    assert "D gets no gradient" in said and "state-0000000048.pt and model-0000000048.safetensors" in said
    names = sorted(path.name for path in tmp_path.glob("state-*"))
    assert names == ["state-0000000048.pt", "state-0000000080.pt"]
    assert run_folder.load_newest_state(tmp_path)["images_seen"] == 80


def test_a_constant_generator(few, tmp_path, monkeypatch):
    true_forward = SynthesisNetwork.forward

    def constant(self, w, *inputs, **options):
        return true_forward(self, w, *inputs, **options) * 0 + 0.25

    monkeypatch.setattr(SynthesisNetwork, "forward", constant)
    said = ended(brief(few), tmp_path)
    assert "the same picture" in said or "G gets no gradient" in said
    assert "state-0000000000.pt" in said and (tmp_path / "state-0000000000.pt").is_file()
