"""The official networks' numbers: the same images, scores, losses and gradients from the same weights."""

import csv

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import GOLDEN, relative_error

from stylegan.data.loader import to_reals
from stylegan.images import to_uint8
from stylegan.interop import nvidia, nvidia_files
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.sampling import cross, mix
from stylegan.training import losses
from stylegan.training.losses import LossConfig
from stylegan.training.optimizer import Adam
from stylegan.training.schedule import BATCH_SIZES, ScheduleConfig, groups, state_at
from stylegan.training.steps import crossovers
from stylegan.weights import load_model, save

TOLERANCE = 1e-4  # relative
STYLE_BASED = ("a_res16", "c_res64_label10", "d_res128_fused")
TRADITIONAL = ("e2_res32_tuned_baseline", "f_res32_progan")
style_based = pytest.mark.parametrize("case", STYLE_BASED, indirect=True)
every_case = pytest.mark.parametrize("case", [*STYLE_BASED, *TRADITIONAL], indirect=True)


def full_size(images: torch.Tensor, lod: int) -> torch.Tensor:
    """The official generator always returns its full resolution."""
    return F.interpolate(images, scale_factor=2**lod, mode="nearest")


def tensors(path) -> dict[str, torch.Tensor]:
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="module", params=["as read", "through our own file"])
def trip(request):
    return request.param


@pytest.fixture(scope="module")
def case(request, shared_golden, trip, tmp_path_factory):
    """Numbers, our Gs and D of the official file, and the labels (None where the case has none)."""
    numbers = tensors(shared_golden / f"{request.param}.npz")
    model = load_model(shared_golden / f"{request.param}.pkl")
    if trip == "through our own file":
        path = tmp_path_factory.mktemp("trip") / "model.safetensors"
        save(path, model)
        model = load_model(path)
    labels = {k: numbers[k] if numbers[k].shape[1] else None for k in ("labels", "labels2")}
    return numbers, model.generator, model.discriminator, labels


@style_based
def test_mapping(case):
    numbers, gs, _, labels = case
    for z, name, given in (("z", "dlatents", "labels"), ("z2", "dlatents2", "labels2")):
        assert relative_error(gs.mapping(numbers[z], labels[given]), numbers[name]) <= TOLERANCE
    if labels["labels"] is not None:
        assert relative_error(gs.mapping(numbers["z"]), numbers["dlatents_nolabel"]) <= TOLERANCE


def test_input_of_traditional_generators(shared_golden):
    """The tuned baseline's w is the normalised z; the Progressive GAN has a z alone."""
    numbers = tensors(shared_golden / "e2_res32_tuned_baseline.npz")
    g = nvidia.generator_from(nvidia_files.read(shared_golden / "e2_res32_tuned_baseline.pkl").g)
    assert relative_error(g.mapping(numbers["z"]), numbers["dlatents"]) <= TOLERANCE
    assert relative_error(g(numbers["z"]), numbers["G/images_psi1"]) <= TOLERANCE
    numbers = tensors(shared_golden / "f_res32_progan.npz")
    g = nvidia.generator_from(nvidia_files.read(shared_golden / "f_res32_progan.pkl").g)
    assert relative_error(g(numbers["z"]), numbers["G/images"]) <= TOLERANCE


@style_based
def test_truncation(case):
    numbers, gs, *_ = case
    layers = gs.config.num_layers
    assert relative_error(gs.w_avg, numbers["dlatent_avg"]) <= TOLERANCE
    variants = {
        "psi0.5_cutAll": (0.5, layers),
        "psi0.7_cut8": (0.7, 8),
        "psi0.3_cut3": (0.3, 3),
        "psi-0.5_cut2": (-0.5, 2),
        "psi0.5_cut0": (0.5, 0),
        "psi1_cut8": (1, 8),
        "default(psi0.7_cut8)": (0.7, None),
    }
    for variant, (psi, cutoff) in variants.items():
        w = gs.truncate(numbers["dlatents"], psi, cutoff)
        assert relative_error(w, numbers[f"trunc/{variant}/dlatents"]) <= TOLERANCE
        if (images := numbers.get(f"trunc/{variant}/images")) is not None:
            assert relative_error(gs.synthesis(w, noise="const"), images) <= TOLERANCE


def test_a_file_saved_in_mid_growth(shared_golden, trip, tmp_path):
    """It draws what it had grown to."""
    numbers, model = tensors(shared_golden / "a_res16.npz"), load_model(shared_golden / "a_res16_lod0p75.pkl")
    if trip == "through our own file":
        save(tmp_path / "model.safetensors", model)
        model = load_model(tmp_path / "model.safetensors")
    assert model.generator.synthesis.grown == (16, 0.75)
    images = model.generator.synthesis(numbers["dlatents"], noise="const")
    assert relative_error(images, torch.lerp(numbers["images/lod0"], numbers["images/lod1"], 0.75)) <= TOLERANCE


@every_case
def test_synthesis_at_every_fade(case):
    numbers, gs, *_, labels = case
    w = gs.mapping(numbers["z"], labels["labels"])
    lods = [float(name.removeprefix("images/lod")) for name in numbers if name.startswith("images/lod")]
    assert len(lods) >= 4
    for lod in lods:
        level = int(lod)
        images = gs.synthesis(w, resolution=gs.config.resolution >> level, fade=lod - level, noise="const")
        assert relative_error(full_size(images, level), numbers[f"images/lod{lod:g}"]) <= TOLERANCE


@style_based
def test_style_mixing(case):
    numbers, gs, *_ = case
    crossings = [name for name in numbers if name.startswith("mix/")]
    assert crossings
    for name in crossings:
        layer = int(name.split("/")[1][1:])
        w = mix(numbers["dlatents"], numbers["dlatents2"], slice(layer, None))
        assert relative_error(gs.synthesis(w, noise="const"), numbers[name]) <= TOLERANCE


@every_case
def test_discriminator_at_every_fade(case):
    numbers, _, d, labels = case
    names = [name for name in numbers if name.startswith("D/") and not name.startswith("D/fake8")]
    assert len(names) >= 16
    for name in names:
        _, source, lod = name.split("/")
        lod, level = float(lod[3:]), int(float(lod[3:]))
        if source == "fake":
            images = numbers[f"images/lod{lod:g}"]
        else:
            images = numbers["reals_uint8"][: int(source[4:])].float() * (2 / 255) - 1
        given = labels["labels"]
        if given is not None:
            given = torch.cat([given, labels["labels2"]])[: len(images)]
        scores = d(F.avg_pool2d(images, 2**level), given, fade=lod - level)
        assert relative_error(scores, numbers[name][:, 0]) <= TOLERANCE, name


def test_every_layer(shared_golden):
    """Each style-modulated activation of case a, layer by layer."""
    numbers = tensors(shared_golden / "a_res16.npz")
    gs = nvidia.generator_from(nvidia_files.read(shared_golden / "a_res16.pkl").gs)
    seen = {}
    for resolution, block in gs.synthesis.blocks.items():
        names = ("Const", "Conv") if resolution == "4" else ("Conv0_up", "Conv1")
        for layer, name in zip((block.layer0, block.layer1), names, strict=True):
            key = f"act/{resolution}x{resolution}/{name}/style_mod"
            layer.register_forward_hook(lambda module, args, output, key=key: seen.__setitem__(key, output))
    gs.synthesis(numbers["dlatents"], noise="const")
    assert len(seen) == 6
    for key, activation in seen.items():
        assert relative_error(activation, numbers[key]) <= TOLERANCE, key


# --- losses, penalties and gradients


LOSSES = ("loss_a_res16_lod0", "loss_a_res16_lod0.5", "loss_a_res16_lod1.5", "loss_c_res64_label10_lod0")


@pytest.fixture(scope="module", params=LOSSES)
def loss_case(request, shared_golden):
    """Numbers, our G and D in float64, the fakes and scores of the losses, the reals, the resolution."""
    numbers = {
        k: v.double() if v.is_floating_point() else v
        for k, v in tensors(shared_golden / f"{request.param}.npz").items()
    }
    name = request.param.removeprefix("loss_").rsplit("_", 1)[0]
    file = nvidia_files.read(shared_golden / f"{name}.pkl")
    g, d = nvidia.generator_from(file.g).double(), nvidia.discriminator_from(file.d).double()
    lod = float(numbers["lod"])
    resolution, fade = g.config.resolution >> int(lod), lod - int(lod)
    labels = {k: numbers[f"labels_for_{k}_loss"] if g.config.label_count else None for k in "GD"}

    def fakes(step: str) -> torch.Tensor:
        w = g.mapping(numbers["latents"], labels[step])
        return g.synthesis(w, resolution=resolution, fade=fade, noise="const")

    def score(images: torch.Tensor, step: str = "D") -> torch.Tensor:
        return d(images, labels[step], fade=fade)

    reals = to_reals(numbers["reals_uint8"], fade).double()
    return numbers, g, d, fakes, score, reals, resolution


def compare_gradients(network, prefix: str, numbers, convert, resolution: int) -> None:
    expected = {}
    for name, value in numbers.items():
        if name.startswith(prefix):
            local = name.removeprefix(prefix)
            local = local.split("/", 1)[1] if local.startswith("G_") else local
            ours, gradient = convert(local, value.numpy(), resolution)
            expected[ours] = gradient
    parameters = dict(network.named_parameters())
    assert expected and set(expected) <= set(parameters)
    scale = max(gradient.norm() for gradient in expected.values())
    for name, parameter in parameters.items():
        ours = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        truth = expected.get(name, torch.zeros_like(parameter))
        # relative L2, down to the rounding of the reference itself where a gradient all but vanishes
        assert (ours - truth).norm() <= 1e-3 * truth.norm() + 1e-7 * scale, name


# Single activations that lie within the reference's float32 rounding of the kink of leaky ReLU and took the other
# slope there: (which call of `activate`, place). Gradients of everything below jump by some 1e-3 with such a unit;
# in float64, with these turned around, all of them agree to 1e-4.
TURNED = {
    "loss_a_res16_lod0.5": [(12, 49014), (15, 50795), (20, 4591)],
    "loss_c_res64_label10_lod0": [(17, 42685), (17, 262936), (19, 284620), (23, 32054)],
}


class TurnedLeakyRelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, turned):
        ctx.save_for_backward((x >= 0) ^ turned)
        return torch.where(x >= 0, x, 0.2 * x)

    @staticmethod
    def backward(ctx, gradient):
        return torch.where(ctx.saved_tensors[0], gradient, 0.2 * gradient), None


@pytest.fixture
def turn_kinks(request, monkeypatch):
    """Replaces the activation in both networks; call what it gives before each pass."""
    kinks, calls = TURNED.get(request.node.callspec.params["loss_case"], []), [0]

    def activate(x, kind):
        x, turned = x.contiguous(), torch.zeros(x.shape, dtype=torch.bool)
        for place in (place for call, place in kinks if call == calls[0]):
            assert abs(x.view(-1)[place]) < 3e-6 * x.square().mean().sqrt()  # at the kink indeed
            turned.view(-1)[place] = True
        calls[0] += 1
        return TurnedLeakyRelu.apply(x, turned)

    monkeypatch.setattr("stylegan.networks.generator.activate", activate)
    monkeypatch.setattr("stylegan.networks.discriminator.activate", activate)
    return lambda: calls.__setitem__(0, 0)


def test_generator_losses(loss_case, turn_kinks):
    numbers, g, d, fakes, score, _, _ = loss_case
    for name, kind in (("G_logistic_nonsaturating", "logistic"), ("G_wgan", "wgan-gp")):
        g.zero_grad()
        turn_kinks()
        d.requires_grad_(False)
        loss = losses.generator_loss(score(fakes("G"), "G"), LossConfig(kind=kind)).mean()
        loss.backward()
        d.requires_grad_(True)
        assert abs(loss - numbers[f"loss/{name}"].mean()) <= TOLERANCE * abs(loss)
        compare_gradients(g, f"grad/{name}/", numbers, nvidia.generator_variable, g.config.resolution)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("D_logistic", LossConfig(r1_gamma=0)),
        ("D_logistic_simplegp", LossConfig(r1_gamma=10)),
        ("D_logistic_simplegp_r1_10_r2_5", LossConfig(r1_gamma=10, r2_gamma=5)),
        ("D_wgan", LossConfig(kind="wgan-gp", gp_weight=0)),
        ("D_wgan_gp", LossConfig(kind="wgan-gp")),
    ],
)
def test_discriminator_losses(loss_case, name, config):
    numbers, g, d, fakes, score, reals, resolution = loss_case
    d.zero_grad()
    scale = config.gradient_scale(resolution, g.config.resolution)
    images = fakes("D").detach()
    terms = losses.DISCRIMINATOR_LOSSES[config.kind](
        score, reals, images, config, scale, numbers["mixing_factors"].flatten()
    )
    loss = terms.total.mean()
    loss.backward()
    assert abs(loss - numbers[f"loss/{name}"].mean()) <= TOLERANCE * abs(loss)
    assert relative_error(terms.real_scores, numbers["real_scores"][:, 0]) <= TOLERANCE
    assert relative_error(terms.fake_scores, numbers["fake_scores"][:, 0]) <= TOLERANCE
    if name == "D_logistic_simplegp":  # the sheet's per-sample numbers are the squared norms
        penalty = numbers["r1_penalty_per_sample"]
        ratio = terms.penalty / penalty
        assert relative_error(ratio, torch.full_like(ratio, ratio.mean().item())) <= TOLERANCE
        assert ratio.mean().item() == pytest.approx(1, rel=TOLERANCE) or ratio.mean().item() == pytest.approx(
            config.r1_gamma / 2, rel=TOLERANCE
        )
    if any(key.startswith(f"grad/{name}/") for key in numbers):
        compare_gradients(d, f"grad/{name}/", numbers, nvidia.discriminator_variable, d.config.resolution)


def test_reals_and_w_average(loss_case):
    numbers, g, _, _, _, reals, resolution = loss_case
    level = (g.config.resolution // resolution).bit_length() - 1
    assert relative_error(full_size(reals, level), numbers["reals_processed"]) <= TOLERANCE
    labels = numbers["labels_for_D_loss"] if g.config.label_count else None
    mean = g.mapping(numbers["latents"], labels)[:, 0].mean(dim=0)
    moved = torch.lerp(numbers["dlatent_avg_before"], mean, 1 - 0.995)
    assert relative_error(moved, numbers["dlatent_avg_after"]) <= TOLERANCE


def test_mixing_in_training(shared_golden):
    numbers = tensors(shared_golden / "style_mixing_training.npz")
    gs = nvidia.generator_from(nvidia_files.read(shared_golden / "c_res64_label10.pkl").gs)
    w1 = gs.mapping(numbers["z"], numbers["labels"])
    w2 = gs.mapping(numbers["z2_injected"], numbers["labels"])
    names = [name for name in numbers if name.endswith("/dlatents")]
    assert len(names) > 20
    for name in names:
        lod, coin, place = (float(part.lstrip("lodcinfra")) for part in name.split("/")[0].split("_"))
        layers = gs.config.num_layers - 2 * int(lod)
        crossover = crossovers(torch.full((4,), coin), torch.full((4,), place), 0.9, layers)
        assert crossover[0] == numbers[name.replace("dlatents", "num_layers_from_z1")]
        assert relative_error(cross([w1, w2], crossover[:, None]), numbers[name]) <= TOLERANCE, name


# --- the reduced copy, which travels with the project


@pytest.fixture(scope="module")
def reduced():
    """Case a without the discriminator's 16 x 16 block."""
    numbers = tensors(GOLDEN / "a_res16.npz")
    maps = FeatureMaps(base=512, maximum=64)
    g = Generator(GeneratorConfig(resolution=16, z_dim=64, w_dim=64, mapping_width=64, feature_maps=maps))
    variables = {k.removeprefix("Gs/"): v for k, v in numbers.items() if k.startswith("Gs/")}
    w_avg = variables.pop("dlatent_avg")
    weights = dict(nvidia.generator_variable(k, v.numpy(), 16) for k, v in variables.items())
    g.load_state_dict(weights | {"w_avg": w_avg})
    d = Discriminator(DiscriminatorConfig(resolution=8, feature_maps=maps))
    variables = {k.removeprefix("D/"): v for k, v in numbers.items() if k.startswith("D/") and "/lod" not in k}
    d.load_state_dict(dict(nvidia.discriminator_variable(k, v.numpy(), 16) for k, v in variables.items()))
    return numbers, g, d


def test_reduced_generator(reduced):
    numbers, g, _ = reduced
    assert relative_error(g.mapping(numbers["z"]), numbers["dlatents"]) <= TOLERANCE
    for lod in (0, 0.5, 1, 1.5, 2):
        level = int(lod)
        images = g.synthesis(numbers["dlatents"], resolution=16 >> level, fade=lod - level, noise="const")
        assert relative_error(full_size(images, level), numbers[f"images/lod{lod:g}"]) <= TOLERANCE
    for variant, psi, cutoff in (("psi0.5_cutAll", 0.5, 6), ("psi0.3_cut3", 0.3, 3), ("psi-0.5_cut2", -0.5, 2)):
        w = g.truncate(numbers["dlatents"], psi, cutoff)
        assert relative_error(w, numbers[f"trunc/{variant}/dlatents"]) <= TOLERANCE
    w = mix(numbers["dlatents"], numbers["dlatents2"], slice(3, None))
    assert relative_error(g.synthesis(w, noise="const"), numbers["mix/k3/images"]) <= TOLERANCE


def test_reduced_discriminator(reduced):
    numbers, _, d = reduced
    for lod in (1, 1.5, 2):
        level = int(lod)
        reals = numbers["reals_uint8"].float() * (2 / 255) - 1
        for name, images in (("fake", numbers[f"images/lod{lod:g}"]), ("real8", reals), ("real3", reals[:3])):
            scores = d(F.avg_pool2d(images, 2**level), fade=lod - level)
            assert relative_error(scores, numbers[f"D/{name}/lod{lod:g}"][:, 0]) <= TOLERANCE


def test_reals_and_conversion():
    numbers = tensors(GOLDEN / "data_pipeline.npz")
    for fade in (0, 0.3, 0.999):
        reals = to_reals(numbers["input_uint8"], fade)
        assert relative_error(reals, numbers[f"process_reals/lod{fade:g}"]) <= 1e-6
    assert torch.equal(to_uint8(numbers["convert/in_float"]), numbers["convert/to_uint8"])


def test_adam():
    with np.load(GOLDEN / "adam.npz") as numbers:
        gradients, expected, rate = numbers["grads"], numbers["values_after_each_step"], float(numbers["lrate"])
    skipped = [step for step in range(len(gradients)) if not np.isfinite(gradients[step]).all()]
    assert skipped == [4]
    start = expected[4] - expected[3]
    assert not start.any()  # the official optimiser skips that step
    value = torch.nn.Parameter(torch.zeros(8))
    optimizer = Adam([value], lr=rate, betas=(0.0, 0.99))
    offset = None
    for step, gradient in enumerate(gradients):
        if step not in skipped:
            value.grad = torch.from_numpy(gradient)
            optimizer.step()
        if offset is None:
            offset = expected[0] - value.detach().numpy()
            assert len({round(float(x), 4) for x in offset}) == 1  # all eight began at the same value
        assert np.abs(value.detach().numpy() + offset - expected[step]).max() <= 1e-6


# --- the schedule

SCHEDULES = [("res64_1gpu", 64, 1), ("res256_8gpu", 256, 8), ("res1024_1gpu", 1024, 1), ("res1024_8gpu", 1024, 8)]


def rows(name: str) -> list[dict[str, float]]:
    with (GOLDEN / name).open() as file:
        return [{k: v if k == "event" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize(("name", "resolution", "gpus"), SCHEDULES)
def test_schedule_equals_the_official_table(name, resolution, gpus):
    config = ScheduleConfig(batch_size=BATCH_SIZES[gpus])
    table = rows(f"schedule_{name}.csv")
    assert len(table) > 200
    for row in table:
        state = state_at(config, resolution, int(row["cur_nimg"]))
        lod = np.log2(resolution / state.resolution) + state.fade
        assert lod == pytest.approx(row["lod"], abs=1e-9)
        assert state.resolution == row["resolution"]
        assert state.batch_size == row["minibatch"]
        assert state.learning_rate == row["G_lrate"] == row["D_lrate"]
        assert state.tick_images == row["tick_kimg"] * 1000


@pytest.mark.parametrize(("name", "resolution", "gpus"), SCHEDULES)
def test_events_equal_the_official_ones(name, resolution, gpus):
    """Optimiser resets, network snapshots and the end fall on the same image."""
    config = ScheduleConfig(batch_size=BATCH_SIZES[gpus])
    events, stage, tick, tick_start = [], None, 0, 0
    for images_seen, state in groups(config, resolution):
        if state.stage != stage:
            stage = state.stage
            events.append(("optimizer_reset", images_seen))
        after = images_seen + config.repeats * state.batch_size
        done = after >= config.total_kimg * 1000
        if after >= tick_start + state.tick_images or done:
            tick, tick_start = tick + 1, after
            if tick == 1 or tick % 10 == 0 or done:
                events.append(("network_snapshot", after))
    events.append(("end", after))
    assert events == [(row["event"], row["cur_nimg"]) for row in rows(f"schedule_events_{name}.csv")]
