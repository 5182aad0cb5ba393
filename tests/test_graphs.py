"""CUDA graphs, on a CPU: a stand-in records torch's operations, and a replay knows nothing of Python's numbers."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from conftest import same, tensors_of, tiny_config, tiny_discriminator, tiny_generator, write_store
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from stylegan import randomness, weights
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.training.augment import AugmentConfig
from stylegan.training.features import FeaturesConfig
from stylegan.training.loop import train
from stylegan.training.losses import LossConfig


class Tape(TorchDispatchMode):
    """Torch's operations, derivatives included, as they are carried out; all their tensors stay in place."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            raise RuntimeError("asks the device for a number, as no recording can")
        result = operation(*args, **(kwargs or {}))
        self.operations.append((operation, args, kwargs or {}, tree_leaves(result)))
        return result

    @torch.no_grad()
    def replay(self) -> None:
        """All of them again, on the same memory, as a graph on CUDA does."""
        for operation, args, kwargs, results in self.operations:
            for own, tensor in zip(results, tree_leaves(operation(*args, **kwargs)), strict=True):
                if isinstance(own, torch.Tensor) and own.data_ptr() != tensor.data_ptr():  # no view, nor in place
                    own.copy_(tensor)


class Recorder:
    """Stands in for capture on CUDA, where what is recorded is not carried out."""

    def __init__(self) -> None:
        self.graphs = []

    def capture(self, work):
        work()  # warms up
        with Tape() as tape:
            results = work()
        self.graphs.append(tape)
        return tape.replay, tree_map(lambda tensor: None if tensor is None else tensor.detach(), results)


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr("stylegan.training.state.capture_on", lambda device: recorder.capture)
    monkeypatch.setattr("stylegan.training.transforms._can_be_asked", lambda tensor: False)  # as on a GPU
    return recorder


CONFIGS = {
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
    """Several ticks and a stop; the first through a resolution and a fade too, within which it is stopped."""
    # on a CPU torch's own asks for the highest label, on CUDA it does not
    monkeypatch.setattr(F, "one_hot", lambda labels, count: (labels[:, None] == torch.arange(count)).long())
    store = write_store(tmp_path / "store", labels=CONFIGS[name].get("label_count", 0))
    start_from = ""
    if "frozen" in name:
        start_from = str(tmp_path / "x.safetensors")
        weights.save(start_from, weights.Model(tiny_generator(), discriminator=tiny_discriminator()))
    eager, stops = tiny_config(store, start_from=start_from, **CONFIGS[name]), (0.15, 0.4)
    if "lazy" in name:
        kinds, stages = 3, 4  # G's, D's with and without a penalty; 8 x 8, fading twice (stopped there), 16 x 16
    else:
        kinds, stages, stops = 2, 2, (0.048, 0.096)  # begun twice
        eager = replace(eager, schedule=replace(eager.schedule, initial_resolution=16, total_kimg=stops[-1]))
    whole = train(eager, tmp_path / "eager", progress=False)
    assert not recorder.graphs
    for kimg in stops:
        part = replace(eager, graphs=True, schedule=replace(eager.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "graphs", progress=False)
    assert same(tensors_of(outcome), tensors_of(whole))
    assert len(recorder.graphs) == kinds * stages


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
    with pytest.raises(RuntimeError, match="asks the device for a number"):
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
