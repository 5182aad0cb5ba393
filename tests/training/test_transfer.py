"""Runs that start from a model of another shape: they begin with its images, they train, they resume exactly."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import (
    TINY_G_OPTIONS,
    TINY_MAPS,
    TINY_OPTIONS,
    official_discriminator,
    official_g,
    official_network,
    same,
    tensors_of,
    tiny_config,
    tiny_discriminator,
    tiny_generator,
    train_in_two_processes,
    write_store,
)
from safetensors.torch import load_file
from test_cli import refused, run

from stylegan import presets, weights
from stylegan.describe import describe
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.networks.generator import Generator
from stylegan.training import transfer
from stylegan.training.loop import train
from stylegan.training.state import TrainState, new_state

CPU = torch.device("cpu")


def write_model(path: Path, resolution: int = 32, label_names: tuple[str, ...] = (), d: bool = True, **options) -> str:
    """A model file whose average and raw generator differ."""
    labels = {"label_count": len(label_names)}
    average, raw = (tiny_generator(resolution, **labels, **options) for _ in range(2))
    with torch.no_grad():
        for parameter in raw.parameters():
            parameter.mul_(1.01)
    channels = {"channels": options.get("channels", 3)}
    critic = tiny_discriminator(resolution, **labels, **channels) if d else None
    weights.save(path, weights.Model(average, raw_generator=raw, discriminator=critic, label_names=label_names))
    return str(path)


def write_pickle(path: Path, resolution: int = 32) -> str:
    """An official pickle of that size."""
    g, d = tiny_generator(resolution), tiny_discriminator(resolution)
    size = {"resolution": resolution}
    networks = (
        official_g("G", g, TINY_G_OPTIONS | size),
        official_network("D", "D_basic", TINY_OPTIONS | size, official_discriminator(d)),
        official_g("Gs", g, TINY_G_OPTIONS | size),
    )
    path.write_bytes(pickle.dumps(networks, 4))
    return str(path)


def config_for(store: Path, model: str, **options):
    """A run of a few iterations, at the first resolution, in the fade and behind it."""
    config = presets.preset("small", str(store), start_from=model, batch_size=8, kimg=0.08, **options)
    schedule = replace(config.schedule, stable_kimg=0.016, fade_kimg=0.016, tick_kimg={4: 0.032}, repeats=1)
    return replace(config, schedule=schedule, grid=(2, 1), model_ticks=1, precision="float32", device="cpu")


def begun(config, model: str, class_names: tuple[str, ...] = ()) -> TrainState:
    state = new_state(config, CPU)
    state.begin_with(weights.load_model(model), class_names)
    return state


def draw(generator, resolution: int | None = None, label: int | None = None) -> torch.Tensor:
    z = torch.randn(4, generator.config.z_dim, generator=torch.Generator().manual_seed(5))
    labels = torch.full((4,), label) if label is not None else None
    resolution = resolution or generator.synthesis.grown.resolution
    with torch.no_grad():
        return generator.synthesis(generator.mapping(z, labels), resolution=resolution, noise="const")


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-4) -> bool:
    return a.shape == b.shape and float((a - b).norm()) <= tolerance * float(b.norm())


def score(discriminator, images: torch.Tensor, label: int | None = None) -> torch.Tensor:
    with torch.no_grad():
        return discriminator(images, torch.full((len(images),), label) if label is not None else None)


# --- whole runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("transfer")


RUNS = {  # by name: the store, the model, options, and resolutions trained at
    "grown from 32 to 128": ({"resolution": 128}, {}, {}, {32, 64, 128}),
    "dropped from 32 to 16": ({"resolution": 16}, {"use_noise": False}, {}, {16}),
    "RGB to gray": ({"resolution": 32, "channels": 1}, {}, {}, {32}),
    "no classes to five": ({"resolution": 32, "labels": 5}, {}, {"labels": True}, {32}),
    "an official pickle of another size": ({"resolution": 64}, None, {}, {32, 64}),
}


@pytest.mark.parametrize("name", RUNS)
def test_a_model_of_another_shape(folder, tmp_path, name):
    """At step 0 the average draws what the model drew; then it trains, and goes on exactly."""
    data, made, options, passed = RUNS[name]
    model = write_pickle(folder / "x.pkl") if made is None else write_model(tmp_path / "x.safetensors", **made)
    store = write_store(tmp_path / "store", count=16, **data)
    config = config_for(store, model, **options)
    old = weights.load_model(model)

    state = begun(config, model)
    first = min(32, data["resolution"])
    assert state.growth == (first, 0.0) and config.generator.resolution == data["resolution"]
    expected = draw(old.generator, first)
    if config.generator.channels == 1:
        expected = (expected * torch.tensor(transfer.LUMA)[:, None, None]).sum(dim=1, keepdim=True)
    if first < 32:  # as near as a linear toRGB comes to the image made smaller
        expected, own = ops.downsample(draw(old.generator)), expected
        assert (draw(state.g_ema) - expected).norm() < 0.9 * (own - expected).norm()
    for label in range(config.generator.label_count) or [None]:
        assert first < 32 or close(draw(state.g_ema, label=label), expected)
    raw = old.raw_generator or old.generator
    own = state.g.synthesis.blocks["16"].conv1.weight
    assert torch.equal(own, raw.synthesis.blocks["16"].conv1.weight)

    whole = train(config, tmp_path / "whole", progress=False)
    brief = replace(config, schedule=replace(config.schedule, total_kimg=0.04))
    train(brief, tmp_path / "parts", progress=False)
    after = train(config, tmp_path / "parts", progress=False)
    assert same(tensors_of(whole), tensors_of(after)) and tensors_of(whole)["d.blocks.4.conv.weight"].isfinite().all()
    stats = [json.loads(line) for line in (tmp_path / "whole" / "stats.jsonl").read_text().splitlines()]
    assert {line["resolution"] for line in stats} <= passed and stats[-1]["resolution"] == max(passed)
    recorded = json.loads((tmp_path / "parts" / "run.json").read_text())["taken_over"]
    if first < 32:
        assert "blocks left out: 32 x 32; toRGB and fromRGB below fitted to what they did" in recorded
    assert recorded and recorded == describe(tmp_path / "parts")["taken over"]
    assert "taken_over" not in describe(tmp_path / "parts")["options"]


def test_what_is_said(tmp_path, capsys):
    """In a line each at the start, and by `stylegan info`."""
    model = write_model(tmp_path / "x.safetensors", 32, ("a", "b", "c"))
    store = write_store(tmp_path / "store", 64, 16, channels=1)
    short = ["--kimg", "0.008", "--batch-size", "8", "--grid", "1", "1", "--precision", "float32"]
    assert run("train", store, tmp_path / "run", "--start-from", model, "--freeze-d", "2", *short) == 0
    told = capsys.readouterr().err
    for part in (
        "are the model's",
        "new blocks: 64 x 64, faded in",
        "3 channels become 1",
        "3 classes become none",
        "frozen: the discriminator's blocks of 16 x 16, 32 x 32",
    ):
        assert f"from x.safetensors: {part}" in told or part in told, told
    assert run("info", tmp_path / "run") == 0 and "faded in by the schedule" in capsys.readouterr().out
    assert "freeze_d 2, now 1" in refused(capsys, "train", store, tmp_path / "run", "--freeze-d", "1")


def test_data_decide_the_shape_and_the_model_the_rest(tmp_path):
    model = write_model(tmp_path / "x.safetensors", 32, ("0", "1"), mapping_layers=3, use_noise=False)
    plain, labeled = (write_store(tmp_path / str(labels), 16, 8, labels=labels, channels=1) for labels in (0, 4))
    g = presets.preset("config-f", str(plain), start_from=model).generator
    assert (g.resolution, g.channels, g.label_count, g.mapping_layers, g.use_noise) == (16, 1, 0, 3, False)
    config = presets.preset("small", str(labeled), start_from=model, resolution=8)
    assert config.generator.label_count == config.discriminator.label_count == 4
    assert config.generator.resolution == config.schedule.initial_resolution == 8
    assert presets.preset("small", "", start_from=model).generator == weights.load(model).config
    wide = presets.preset("small", str(plain), start_from=model, width="thin")
    assert wide.generator.feature_maps == wide.discriminator.feature_maps == presets.WIDTHS["thin"]


# --- images


def images_as(images: torch.Tensor, channels: int) -> torch.Tensor:
    """Written out: what an image of some channels is in others."""
    if images.shape[1] == channels:
        return images
    rgb = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
    if channels == 1:
        return 0.299 * rgb[:, :1] + 0.587 * rgb[:, 1:2] + 0.114 * rgb[:, 2:]
    return rgb if channels == 3 else torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=1)


@pytest.mark.parametrize("old", [1, 3, 4])
@pytest.mark.parametrize("new", [1, 3, 4])
@pytest.mark.parametrize("equalized", [True, False])
def test_channels(old, new, equalized):
    """G draws the same image in other channels, and D scores an image as the old one scored what it was in those."""
    before = tiny_generator(channels=old, equalized=equalized), tiny_discriminator(channels=old, equalized=equalized)
    after = tiny_generator(channels=new, equalized=equalized), tiny_discriminator(channels=new, equalized=equalized)
    with torch.no_grad():
        for parameter in (*after[0].parameters(), *after[1].parameters()):
            parameter.normal_()
    one = transfer.class_shares(0, 0)
    transfer.fit(after[0], transfer.tensors_for(after[0], before[0], one))
    transfer.fit(after[1], transfer.critic_tensors_for(after[1], before[1], one, before[0]))
    assert close(draw(after[0]), images_as(draw(before[0]), new))
    images = torch.randn(4, new, 16, 16)
    assert close(score(after[1], images), score(before[1], images_as(images, old)))


def test_summed_images_are_enlarged(tmp_path):
    """Networks that sum their images do not grow: they begin with the model's image, enlarged, in new channels too."""
    model = write_model(tmp_path / "x.safetensors", 16, sum_rgb=True)
    store = write_store(tmp_path / "store", 64, 16, channels=4)
    config = config_for(store, model)
    assert config.schedule.initial_resolution == 64
    state = begun(config, model)
    expected = draw(weights.load(model))
    for _ in range(2):
        expected = ops.blur(ops.upsample(expected))
    assert close(draw(state.g_ema), images_as(expected, 4))
    assert any("adding nothing at first" in line for line in state.config.taken_over)
    train(config, tmp_path / "run", progress=False)

    plain = write_model(tmp_path / "plain.safetensors", 16)
    config = config_for(store, plain)
    config = replace(config, generator=replace(config.generator, sum_rgb=True))
    state = begun(config, plain)
    assert close(draw(state.g_ema, 16)[:, :3], draw(weights.load(plain)))
    assert any("sum_rgb is True, the model's False" in line for line in state.config.taken_over)


def test_a_lower_resolution_is_fitted_to_the_images():
    """By least squares: at the model's own resolution that is its own toRGB, whatever it was before."""
    g = tiny_generator(16, sum_rgb=False, label_count=2)
    own = g.synthesis.blocks["16"].to_rgb
    weight, bias = transfer.to_rgb_of(g.requires_grad_(False), 16)
    assert close(weight, own.weight, 0.02) and close(bias, own.bias, 0.02)


def test_a_trained_model_draws_the_same_smaller():
    """The bundled one of portraits has left its toRGB of 16 x 16 behind; the fitted one comes far nearer than that."""
    old = weights.load("portraits-32")
    new = Generator(replace(old.config, resolution=16))
    transfer.fit(new, transfer.tensors_for(new, old, transfer.class_shares(0, 0)))
    truth, fitted = ops.downsample(draw(old)), draw(new)
    assert (fitted - truth).norm() < 0.6 * (truth - truth.mean()).norm() < 0.5 * (draw(old, 16) - truth).norm()


# --- classes

NAMES = ("cat", "dog", "owl")


def state_with(model: str, count: int, names: tuple[str, ...] = ()) -> TrainState:
    config = tiny_config(Path("nowhere"), label_count=count)
    return begun(presets.continuing(config, model), model, names)


@pytest.mark.parametrize("one_hot", [False, True])
def test_classes_of_the_same_names(tmp_path, one_hot):
    """They begin as what they were, in any order; others as the mean."""
    model = write_model(tmp_path / "x.safetensors", 16, NAMES, embed_labels=not one_hot)
    old = weights.load_model(model)
    state = state_with(model, 4, ("owl", "fish", "dog", "cat"))
    images = draw(old.generator)
    for label, source in ((0, 2), (2, 1), (3, 0)):
        assert close(draw(state.g_ema, label=label), draw(old.generator, label=source))
        assert close(score(state.d, images, label), score(old.discriminator, images, source))
    means = torch.stack([score(old.discriminator, images, i) for i in range(3)]).mean(dim=0)
    assert close(score(state.d, images, 1), means)
    assert any("3 begin as one of the model's 3, 1 as the mean" in line for line in state.config.taken_over)


def test_classes_without_names_go_by_number(tmp_path):
    model = write_model(tmp_path / "x.safetensors", 16, NAMES)
    found = weights.load_model(model)
    found.label_names = ()
    weights.save(model, found)
    for count in (3, 5):
        state = state_with(model, count, tuple("vwxyz"[:count]))
        assert close(draw(state.g_ema, label=2), draw(found.generator, label=2))
    assert torch.equal(transfer.class_shares(3, 3), torch.eye(3))


@pytest.mark.parametrize("options", [{}, {"embed_labels": False}, {"mapping_layers": 0}, {"normalize_z": False}])
def test_classes_that_come_and_go(tmp_path, options):
    """None to three: all begin with the same images, exactly where the class is a vector. Three to none: nearly as the
    mean class."""
    wide = {"z_dim": 64, "w_dim": 64}
    old = write_model(tmp_path / "x.safetensors", 16, **wide, **options)
    state = state_with(old, 3, NAMES)
    g = weights.load_model(old).generator
    exact = options.get("embed_labels", True)
    for label in range(3):
        assert close(draw(state.g_ema, label=label), draw(g), 1e-4 if exact else 0.05)
        images = draw(g)
        assert close(score(state.d, images, label), score(weights.load_model(old).discriminator, images))

    w_dim = 64 if options.get("mapping_layers", 2) else 128
    one = write_model(tmp_path / "one.safetensors", 16, ("cat",), **(wide | options | {"w_dim": w_dim}))
    state = state_with(one, 0)
    assert close(draw(state.g_ema), draw(weights.load(one), label=0), 0.3)


def test_new_classes_learn_to_differ(tmp_path):
    store = write_store(tmp_path / "store", 16, 16, labels=3)
    config = config_for(store, write_model(tmp_path / "x.safetensors", 16), labels=True)
    after = weights.load(train(config, tmp_path / "run", progress=False).model)
    assert not close(draw(after, label=0), draw(after, label=1))


# --- what does not fit


def test_other_widths_begin_anew(tmp_path):
    model = write_model(tmp_path / "x.safetensors", 16)
    config = tiny_config(Path("nowhere"))
    config = presets.continuing(config, model)
    narrow = replace(TINY_MAPS, base=32)  # 4 maps at 16 x 16 in place of 8
    g = replace(config.generator, feature_maps=narrow, mapping_width=16)
    config = replace(config, generator=g, discriminator=replace(config.discriminator, feature_maps=narrow))
    state, old = begun(config, model), weights.load_model(model)
    for r, taken in (("8", True), ("16", False)):
        shapes = state.g.synthesis.blocks[r].conv1.weight, old.raw_generator.synthesis.blocks[r].conv1.weight
        assert (shapes[0].shape == shapes[1].shape and torch.equal(*shapes)) == taken
    told = "\n".join(state.config.taken_over)
    assert "generator: layers in the blocks of 16 x 16 do not fit" in told and "mapping network do not fit" in told
    assert "discriminator: layers in the blocks of 16 x 16 do not fit" in told
    with pytest.raises(InputError, match="is to be frozen"):
        begun(replace(config, freeze_d=1), model)
    with pytest.raises(InputError, match="is to be frozen"):
        begun(replace(config, freeze_mapping=True), model)


def test_without_a_discriminator_one_begins_anew(tmp_path):
    model = write_model(tmp_path / "x.safetensors", 16, d=False)
    store = write_store(tmp_path / "store", 16, 16)
    config = config_for(store, model)
    state = begun(config, model)
    assert close(draw(state.g_ema), draw(weights.load(model)))
    assert state.config.taken_over[1].startswith("the model has no discriminator")
    assert train(config, tmp_path / "run", progress=False).images_seen == 80
    with pytest.raises(InputError, match="no discriminator whose blocks"):
        begun(replace(config, freeze_d=1), model)


# --- what is frozen


@pytest.mark.parametrize("options", [{}, {"micro_batch": 4}, {"recompute_from": 8}])
def test_frozen_weights_stay_and_others_move(tmp_path, options):
    """To the bit, in the average too; with R1, growing on, and exactly when resumed."""
    model = write_model(tmp_path / "x.safetensors", 16)
    store = write_store(tmp_path / "store", 32, 16)
    config = replace(config_for(store, model), freeze_d=2, freeze_mapping=True, **options)
    assert config.frozen_blocks == [8, 16]
    at_start = begun(config, model)
    before = {f"{name}.{key}": t.clone() for name in ("g", "d", "g_ema") for key, t in _network(at_start, name).items()}
    outcome = train(config, tmp_path / "run", progress=False)
    after = tensors_of(outcome)
    frozen = ("d.blocks.8.", "d.blocks.16.", "g.mapping.", "g_ema.mapping.")
    for name, tensor in after.items():
        if name.startswith(frozen):
            assert torch.equal(tensor, before[name]), name
    for name in ("d.blocks.4.conv.weight", "d.blocks.32.conv0.weight", "d.blocks.4.from_rgb.weight"):
        assert torch.equal(after[name], before[name]) == ("4.from_rgb" in name)  # which is used at 4 x 4 alone
    for name in ("g.synthesis.blocks.16.conv1.weight", "g_ema.synthesis.blocks.32.conv1.weight"):
        assert not torch.equal(after[name], before[name])

    brief = replace(config, schedule=replace(config.schedule, total_kimg=0.04))
    train(brief, tmp_path / "parts", progress=False)
    assert same(tensors_of(train(config, tmp_path / "parts", progress=False)), after)


def _network(state: TrainState, name: str) -> dict[str, torch.Tensor]:
    return getattr(state, name).state_dict()


def test_two_processes_freeze_as_one(tmp_path):
    """Fitted layers of a lower resolution too, which the first process fits for both."""
    model = write_model(tmp_path / "x.safetensors", 32)
    config = config_for(write_store(tmp_path / "store", 16, 16), model)
    config = replace(config, freeze_d=1, schedule=replace(config.schedule, total_kimg=0.032))
    one = tensors_of(train(config, tmp_path / "one", progress=False))
    train_in_two_processes(config, tmp_path / "two")
    two = load_file(max((tmp_path / "two").glob("model-*.safetensors")))
    for name, start in begun(config, model).d.named_parameters():
        ours, theirs = one[f"d.{name}"], two[f"d.{name}"]
        if name.startswith("blocks.16."):
            assert torch.equal(ours, theirs) and torch.equal(ours, start)
        elif name.endswith("weight") and "from_rgb" not in name:
            assert (ours - start).norm() > 0 and (ours - theirs).norm() < 0.1 * (ours - start).norm()


def test_frozen_parameters_get_no_gradients(tmp_path):
    from stylegan.networks.discriminator import Discriminator

    model = write_model(tmp_path / "x.safetensors", 16)
    config = replace(presets.continuing(tiny_config(Path("nowhere")), model), freeze_d=1, freeze_mapping=True)
    state = begun(config, model)
    for group in (*state.d_adam.param_groups, *state.g_adam.param_groups):
        assert all(p.requires_grad for p in group["params"])
    images, found = torch.randn(4, 3, 16, 16), {}
    for form in (Discriminator.scores_and_gradients, Discriminator.scores_and_gradients_reference):
        scores, gradients = form(state.d, images)
        (scores.sum() + gradients.square().sum()).backward()
        assert all(p.grad is None for p in state.d.blocks["16"].parameters())
        found[form.__name__] = [p.grad.clone() for p in state.d.blocks["4"].parameters() if p.grad is not None]
        state.d.zero_grad(set_to_none=True)
    for ours, reference in zip(*found.values(), strict=True):
        assert close(ours, reference, 1e-3)


def test_class_vectors_are_trained_behind_a_frozen_mapping_network(tmp_path):
    model = write_model(tmp_path / "x.safetensors", 16, ("0", "1"))
    store = write_store(tmp_path / "store", 16, 16, labels=2)
    config = replace(config_for(store, model), freeze_mapping=True)
    after = weights.load_model(train(config, tmp_path / "run", progress=False).model).raw_generator
    before = weights.load(model)
    assert torch.equal(after.mapping.layers[0].weight, before.mapping.layers[0].weight)
    assert not torch.equal(after.mapping.label_embedding, before.mapping.label_embedding)


def test_what_cannot_be_frozen(tmp_path, store):
    with pytest.raises(InputError, match="give start_from"):
        tiny_config(store, freeze_d=1)
    model = write_model(tmp_path / "x.safetensors", 16)
    config = presets.continuing(tiny_config(store), model)
    with pytest.raises(InputError, match="discriminator has 2 blocks"):
        replace(config, freeze_d=3)
    shallow = replace(config.generator, mapping_layers=0)
    with pytest.raises(InputError, match="no mapping network"):
        replace(config, generator=shallow, freeze_mapping=True)
