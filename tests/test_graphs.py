"""CUDA graphs, on a CPU: a stand-in records torch's operations, and a replay knows nothing of Python's numbers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import same, tensors_of, tiny_config, tiny_discriminator, tiny_generator, write_store
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from stylegan import randomness, weights
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.training.augment import AugmentConfig
from stylegan.training.features import FeaturesConfig
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig


class Recorder:
    """Stands in for capture on CUDA: the operations of one call, done again on the same tensors at each replay."""

    def __init__(self) -> None:
        self.graphs = []

    def capture(self, work):
        work()  # warms up
        structure = None

        def flat():
            nonlocal structure
            leaves, structure = tree_flatten(work())
            return leaves

        graph = torch.no_grad()(make_fx(flat)())  # the operations of the derivatives are among the recorded ones
        outputs = [None if tensor is None else torch.empty_like(tensor) for tensor in graph()]
        self.graphs.append(graph)

        def replay():
            for own, tensor in zip(outputs, graph(), strict=True):
                if own is not None:
                    own.copy_(tensor)

        return replay, tree_unflatten(outputs, structure)


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("stylegan.training.state.capture_on", lambda device: recorder.capture)
    monkeypatch.setattr("stylegan.training.transforms._can_be_asked", lambda tensor: False)  # as on a GPU
    return recorder


CONFIGS = {  # several options at once, as recording takes most of the time
    "lazy R1 and R2, classes, mixing by batch": {
        "loss": LossConfig(r1_gamma=5, r2_gamma=2, penalty_interval=3),
        "label_count": 3,
        "mixing_per": "batch",
    },
    "wgan-gp in bf16, recomputing": {"loss": LossConfig(kind="wgan-gp"), "precision": "bf16", "recompute_from": 16},
    "relativistic, augmented": {
        "loss": LossConfig(kind="relativistic", r1_gamma=5, r2_gamma=2),
        "augment": AugmentConfig(kind="ada", strength=0.5),
    },
    "frozen, with features": {
        "freeze_d": 1,
        "freeze_mapping": True,
        "features": FeaturesConfig(weight=1.0, size=32, width=8),
    },
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_run_with_graphs_is_the_eager_one_to_the_bit(recorder, tmp_path, name, monkeypatch):
    """Through a resolution, a fade and the next resolution, several ticks, and a stop within the fade."""
    # on a CPU torch's own asks for the highest label, on CUDA it does not
    monkeypatch.setattr(F, "one_hot", lambda labels, count: (labels[:, None] == torch.arange(count)).long())
    store = write_store(tmp_path / "store", labels=CONFIGS[name].get("label_count", 0))
    start_from = ""
    if "frozen" in name:
        start_from = str(tmp_path / "x.safetensors")
        weights.save(start_from, weights.Model(tiny_generator(), discriminator=tiny_discriminator()))
    eager = tiny_config(store, start_from=start_from, **CONFIGS[name])
    recorded = replace(eager, graphs=True)
    whole = train(eager, tmp_path / "eager", progress=False)
    assert not recorder.graphs
    for kimg in (0.15, 0.4):
        part = replace(recorded, schedule=replace(recorded.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "graphs", progress=False)
    assert same(tensors_of(outcome), tensors_of(whole))
    # D's and G's, D's with and without a penalty: at 8 x 8, fading twice (the run was stopped there), at 16 x 16
    assert len(recorder.graphs) == (3 if "lazy" in name else 2) * 4


def test_a_number_kept_from_the_recording_would_show(recorder, tmp_path, monkeypatch):
    """The test above can fail: it does where the key of one purpose is a number of Python's."""
    store = write_store(tmp_path / "store")
    config = tiny_config(store)
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.032))
    eager = train(config, tmp_path / "eager", progress=False)
    draw = randomness.draw_of_key
    monkeypatch.setattr(
        "stylegan.training.steps.draw_of_key", lambda shape, key, index: draw(shape, int(key.clone()), index)
    )
    with pytest.raises(RuntimeError):  # asks the device for a number, as no recording can
        train(replace(config, graphs=True), tmp_path / "asked", progress=False)

    def forgetful(shape, key, index):
        return draw(shape, first.setdefault(shape, key.clone()), index)

    first = {}
    monkeypatch.setattr("stylegan.training.steps.draw_of_key", forgetful)
    outcome = train(replace(config, graphs=True), tmp_path / "stale", progress=False)
    assert not same(tensors_of(outcome), tensors_of(eager))


def test_a_strength_of_augmentation_is_no_number_of_the_recording(recorder, tmp_path):
    """It rises from 0, where images are left alone, after every batch."""
    rising = AugmentConfig(kind="ada", target=-1.0, kimg=0.1, interval=1)
    config = tiny_config(write_store(tmp_path / "store"), augment=rising)
    config = replace(config, schedule=replace(config.schedule, initial_resolution=16, total_kimg=0.048))
    eager = train(config, tmp_path / "eager", progress=False)
    outcome = train(replace(config, graphs=True), tmp_path / "graphs", progress=False)
    assert same(tensors_of(outcome), tensors_of(eager))
    assert len(recorder.graphs) in (3, 4)  # D's without and with; G's, which is later, with, or both


def test_graphs_can_be_taken_up_and_left(recorder, tmp_path):
    """They are no part of a run's result, so a run may change to them."""
    config = tiny_config(write_store(tmp_path / "store"))
    whole = train(config, tmp_path / "eager", progress=False)
    for kimg, graphs_on in ((0.1, False), (0.25, True), (0.4, False)):
        part = replace(config, graphs=graphs_on, schedule=replace(config.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "mixed", progress=False)
    assert same(tensors_of(outcome), tensors_of(whole))


def test_what_graphs_cannot_do_is_refused(store, tmp_path):
    for options in ({"compile": True}, {"micro_batch": 4}):
        with pytest.raises(InputError, match="graphs can be combined"):
            tiny_config(store, graphs=True, **options)
    with pytest.raises(InputError, match="need a CUDA GPU"):
        train(tiny_config(store, graphs=True), tmp_path / "run", progress=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("fade", [0.1, 0.3, 0.75, 1 / 3])
def test_a_fade_on_the_device_gives_the_same_bits(dtype, fade):
    torch.manual_seed(0)
    tensor = torch.tensor(fade, dtype=torch.float64)
    fine, coarse, weight = (torch.randn(2, 3, 8, 9).to(dtype) for _ in range(3))
    results = []
    for value in (fade, tensor):
        inputs = [x.clone().requires_grad_() for x in (fine, coarse)]
        blend = ops.fade_in(*inputs, value)
        results.append([blend, *torch.autograd.grad(blend, inputs, weight), ops.times(fine, 1 - value)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_keys_on_the_device_give_the_same_bits():
    index = torch.arange(5)
    key = torch.tensor(randomness.key(3, 1000, "z"))
    assert torch.equal(randomness.draw_of_key((33,), key, index), randomness.draw((33,), 3, 1000, "z", index))
    assert torch.equal(
        randomness.draw_uniform_of_key((5,), key, index), randomness.draw_uniform((5,), 3, 1000, "z", index)
    )
