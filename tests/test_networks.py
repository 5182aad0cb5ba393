"""The networks against plain references in float64, and the properties they must have."""

import math

import pytest
import torch
from conftest import TINY_MAPS, tiny_discriminator, tiny_generator
from torch.autograd import gradcheck, gradgradcheck

from stylegan import bench, presets, sampling
from stylegan.config import from_dict, to_dict
from stylegan.errors import InputError
from stylegan.networks import layers, ops
from stylegan.networks.discriminator import Discriminator, DiscriminatorConfig
from stylegan.networks.generator import Generator, GeneratorConfig, Growth
from stylegan.networks.layers import FeatureMaps, build
from stylegan.training import losses
from stylegan.training.losses import LossConfig


def random(*shape) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def close(a, b, tolerance=1e-10):
    return (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [4, 7, 16])
def test_fast_paths_equal_their_references(size, layout):
    x = random(3, 5, size, size).contiguous(memory_format=layout)
    weight = random(6, 5, 3, 3)
    assert close(ops.blur(x), ops.blur_reference(x))
    assert close(ops.upsample_conv(x, weight), ops.upsample_conv_reference(x, weight))
    if size % 2 == 0:
        bias = random(6)
        assert close(ops.conv_downsample(x, weight, bias), ops.conv_downsample_reference(x, weight, bias))
    scale, bias = random(3, 5), random(3, 5) + 1
    assert close(ops.adain(x, scale, bias), ops.adain_reference(x, scale, bias))


@pytest.mark.parametrize(("batch", "group", "features"), [(8, 4, 1), (3, 4, 1), (8, 2, 3), (12, 4, 2), (4, 1, 1)])
def test_minibatch_stddev(batch, group, features):
    x = random(batch, 6, 4, 4)
    ours = ops.minibatch_stddev(x, group, features)
    assert ours.shape == (batch, 6 + features, 4, 4)
    assert close(ours, ops.minibatch_stddev_reference(x, group, features))
    with pytest.raises(ValueError, match="divide"):
        ops.minibatch_stddev(random(7, 6, 4, 4), 4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_blur_derivatives(layout):
    x = random(2, 3, 6, 6).contiguous(memory_format=layout).requires_grad_()
    assert gradcheck(ops.blur, (x,)) and gradgradcheck(ops.blur, (x,))


def test_adain_of_a_map_without_variance():
    """The learned constant has none: the result is the bias, to the last digit."""
    x = torch.full((2, 3, 4, 4), 123.456)
    scale, bias = torch.randn(2, 3) * 100, torch.randn(2, 3)
    assert torch.equal(ops.adain(x, scale, bias), bias[:, :, None, None].expand(2, 3, 4, 4))


def test_normalisations():
    x = random(2, 8, 6, 6) * 7 + 3
    norm = ops.instance_norm(x)
    assert norm.mean(dim=(2, 3)).abs().max() < 1e-12
    assert (norm.var(dim=(2, 3), correction=0) - 1).abs().max() < 1e-8
    assert (ops.pixel_norm(x).square().mean(dim=1) - 1).abs().max() < 1e-8


def test_statistics_of_bfloat16_keep_their_digits():
    """They are float32: eight bits of a mean would be wrong in the third decimal."""
    x = torch.randn(64, 16, 4, 4, generator=torch.Generator().manual_seed(6)).to(torch.bfloat16)
    scale = (x.square().float().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    assert torch.equal(ops.pixel_norm(x), x * scale.to(torch.bfloat16))
    mean = ops._mean_of_maps(x)
    assert mean.dtype == torch.float32 and (mean - x.double().mean(dim=(2, 3), keepdim=True)).abs().max() < 2e-3
    faded = ops.fade_in(x[:32], x[32:], torch.tensor(0.3, dtype=torch.float64))
    assert torch.equal(faded, torch.lerp(x[:32].float(), x[32:].float(), 0.3).to(torch.bfloat16))


def test_demodulation_is_a_kernel_for_each_image():
    """Maps of unit deviation, scaled and convolved, have mean square 2, whatever the scale; as if every image had
    a kernel of its own, of norm sqrt 2."""
    x, weight, scale = random(3, 16, 24, 24), random(8, 16, 3, 3) * 5, random(3, 16) * 4
    y = torch.nn.functional.conv2d(x * scale[:, :, None, None], weight, padding=1)
    ours = ops.demodulate(y, weight, scale)
    kernels = weight * scale[:, None, :, None, None]
    kernels = kernels / kernels.flatten(2).norm(dim=2)[:, :, None, None, None] * 2**0.5
    for image, kernel, own in zip(x, kernels, ours, strict=True):
        assert close(own, torch.nn.functional.conv2d(image[None], kernel, padding=1)[0], 1e-9)
    assert close(ours, ops.demodulate_reference(y, weight, scale))
    inner = ours[:, :, 1:-1, 1:-1]  # zeros around the border lower it there
    assert (inner.square().mean(dim=(2, 3)) / 2 - 1).abs().max() < 0.5 and abs(inner.square().mean() / 2 - 1) < 0.1


def test_demodulation_excludes_instance_norm():
    for options in ({"use_demodulation": True}, TRADITIONAL | {"use_demodulation": True}):
        with pytest.raises(InputError, match="use_demodulation takes the place"):
            GeneratorConfig(resolution=16, **options)


# --- the networks written a second time, from the fact sheet, step by step


def reference_images(g: Generator, w: torch.Tensor, resolution: int, fade: float, planes) -> torch.Tensor:
    config, state = g.config, {k: v.double() for k, v in g.synthesis.state_dict().items()}

    def conv(x, name, gain, up=False, scale=None):
        weight = state[f"{name}.weight"]
        fan_in = weight[0].numel()
        weight = weight * (gain / math.sqrt(fan_in) if config.equalized else 1)
        if up:
            x = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        y = torch.nn.functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if config.use_demodulation and scale is not None:
            kernels = weight * scale[:, None, :, None, None]  # [N, outputs, inputs, 3, 3]
            y = y / ((kernels**2).sum(dim=(2, 3, 4)) / 2 + 5e-9).sqrt()[:, :, None, None]
        return y

    def epilogue(x, name, style_w, plane):
        if config.use_noise:
            x = x + plane.double() * state[f"{name}.noise.strength"].view(1, -1, 1, 1)
        x = x + state[f"{name}.bias"].view(1, -1, 1, 1)
        x = torch.where(x > 0, x, x * (0.2 if config.activation == "lrelu" else 0))
        if config.use_pixel_norm:
            x = x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        if config.use_instance_norm:
            x = x - x.mean(dim=(2, 3), keepdim=True)
            x = x / (x.square().mean(dim=(2, 3), keepdim=True) + config.norm_epsilon).sqrt()
        if not config.use_styles:
            return x, None
        weight = state[f"{name}.style.affine.weight"]
        multiplier = 1 / math.sqrt(weight.shape[1]) if config.equalized else 1
        style = style_w.double() @ weight.T * multiplier + state[f"{name}.style.affine.bias"]
        half = style.shape[1] // 2
        return x * (style[:, :half, None, None] + 1) + style[:, half:, None, None], style[:, :half] + 1

    def to_rgb(x, r):
        return conv(x, f"blocks.{r}.to_rgb", 1) + state[f"blocks.{r}.to_rgb.bias"].view(1, -1, 1, 1)

    if not config.use_styles:
        w = w.expand(-1, len(planes), -1)
    r, i, image, before = 4, 0, None, None
    if config.const_input:
        x = state["blocks.4.const"].expand(len(w), -1, -1, -1)
    else:
        weight = state["blocks.4.dense.weight"]
        scale = math.sqrt(2) / 4 / math.sqrt(weight.shape[1]) if config.equalized else 1
        x = (w[:, 0].double() @ weight.T * scale).view(len(w), -1, 4, 4)
    while True:
        x, scale = epilogue(x, f"blocks.{r}.layer0", w[:, i], planes[i])
        x = conv(x, f"blocks.{r}.conv1", math.sqrt(2), scale=scale)
        x, scale = epilogue(x, f"blocks.{r}.layer1", w[:, i + 1], planes[i + 1])
        before = image
        image = to_rgb(x, r)
        if config.sum_rgb and before is not None:
            enlarged = before.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            image = image + (ops.blur_reference(enlarged) if config.use_blur else enlarged)
        if r == resolution:
            break
        r, i = r * 2, i + 2
        x = conv(x, f"blocks.{r}.conv0", math.sqrt(2), up=True, scale=scale)
        if config.activate_before_blur:
            x = x + state[f"blocks.{r}.conv0.bias"].view(1, -1, 1, 1)
            x = torch.where(x > 0, x, x * (0.2 if config.activation == "lrelu" else 0))
        if config.use_blur:
            x = ops.blur_reference(x)
    if fade:
        coarse = before.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        image = image + (coarse - image) * fade
    return image


TRADITIONAL = {
    "use_styles": False,
    "const_input": False,
    "use_noise": False,
    "use_instance_norm": False,
    "use_pixel_norm": True,
    "mapping_layers": 0,
}
OPTIONS = [
    {},
    {"channels": 1},
    {"channels": 4},
    {"use_noise": False},
    {"const_input": False},
    {"use_blur": False},
    {"use_instance_norm": False, "use_pixel_norm": True},
    {"use_instance_norm": False, "use_demodulation": True},
    {"activate_before_blur": True, "norm_epsilon": 1e-2},
    {"sum_rgb": True},
    {"sum_rgb": True, "use_blur": False, "channels": 1},
    {"use_instance_norm": False, "use_demodulation": True, "equalized": False, "const_input": False},
    {"activation": "relu"},
    {"equalized": False},
    {"const_input": False, "use_blur": False, "use_noise": False, "equalized": False},
    {"feature_maps": FeatureMaps(base=100, decay=0.5, maximum=12), "w_dim": 6},
    TRADITIONAL,
    TRADITIONAL | {"use_blur": False, "use_noise": True},
    TRADITIONAL | {"use_pixel_norm": False, "activation": "relu"},
    TRADITIONAL | {"use_instance_norm": True, "mapping_layers": 2},
    TRADITIONAL | {"equalized": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(o) or "default")
def test_generator_equals_the_reference(options):
    g = tiny_generator(**options).double()
    w = torch.randn(3, g.config.num_layers, g.config.w_dim, dtype=torch.float64)
    assert g.config.num_layers == (6 if g.config.use_styles else 1)
    for resolution, fade in ((16, 0.0), (16, 0.3), (8, 0.7), (4, 0.0)):
        planes = [torch.randn(3, 1, r, r, dtype=torch.float64) for r in g.synthesis.layer_resolutions(resolution)]
        ours = g.synthesis(w, resolution=resolution, fade=fade, noise=planes)
        assert ours.shape == (3, g.config.channels, resolution, resolution)
        assert close(ours, reference_images(g, w, resolution, fade, planes))


@pytest.mark.parametrize("labels", [0, 5])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mapping_layers": 4, "mapping_width": 12, "w_dim": 6},
        {"mapping_layers": 1, "mapping_activation": "relu"},
        {"equalized": False, "mapping_lr_multiplier": 0.5},
        {"normalize_z": False},
        {"embed_labels": False},
        {"embed_labels": False, "mapping_layers": 0},
    ],
    ids=lambda o: "-".join(o) or "default",
)
def test_mapping_equals_the_reference(options, labels):
    if options.get("mapping_layers") == 0:
        options = options | {"w_dim": 8 + labels}
    g = tiny_generator(label_count=labels, **options).double()
    config, state = g.config, {k: v.double() for k, v in g.mapping.state_dict().items()}
    z, chosen = random(4, 8), torch.tensor([0, 4, 2, 2])
    x = z
    if labels:
        x = torch.cat([z, state["label_embedding"][chosen] if config.embed_labels else torch.eye(5)[chosen]], dim=1)
    if config.normalize_z:
        x = x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
    multiplier = config.mapping_lr_multiplier
    for i in range(config.mapping_layers):
        weight = state[f"layers.{i}.weight"]
        he = math.sqrt(2) / math.sqrt(weight.shape[1]) if config.equalized else 1
        x = x @ weight.T * (he * multiplier) + state[f"layers.{i}.bias"] * multiplier
        x = torch.where(x > 0, x, (0.2 if config.mapping_activation == "lrelu" else 0) * x)
    w = g.mapping(z, chosen if labels else None)
    assert w.shape == (4, 6, config.w_dim) and all(close(w[:, layer], x) for layer in range(6))
    if labels:  # class numbers and one-hot rows say the same
        assert torch.equal(w, g.mapping(z, torch.nn.functional.one_hot(chosen, 5).double()))


def test_without_mapping_layers_w_is_normalised_z():
    g = tiny_generator(mapping_layers=0)
    z = torch.randn(3, 8)
    assert torch.equal(g.mapping(z)[:, 2], ops.pixel_norm(z))


def test_every_resolution_from_4_to_1024():
    thin = FeatureMaps(base=8, maximum=4)
    g = Generator(GeneratorConfig(z_dim=4, w_dim=4, mapping_width=4, mapping_layers=1, feature_maps=thin))
    d = Discriminator(DiscriminatorConfig(feature_maps=thin))
    assert g.config.num_layers == 18
    w = g.mapping(torch.randn(1, 4))
    with torch.no_grad():
        for k in range(2, 11):
            images = g.synthesis(w, resolution=2**k)
            assert images.shape == (1, 3, 2**k, 2**k)
            assert d(images).shape == (1,)


def generator_parameters(config: GeneratorConfig) -> int:
    """Counted by the official formulas, layer by layer."""
    maps = [min(8192 // 2**stage, 512) for stage in range(11)]
    count, inputs = 0, 512
    for _ in range(config.mapping_layers):
        count += inputs * 512 + 512
    for k in range(2, 11):
        n = maps[k - 1]
        if k > 2:
            count += 9 * maps[k - 2] * n
        else:
            count += 16 * n if config.const_input else 512 * 16 * n
        count += 9 * n * n  # the second convolution
        count += 2 * (n + (n if config.use_noise else 0) + (512 * 2 * n + 2 * n if config.use_styles else 0))
        count += 3 * n + 3  # toRGB
    return count


@pytest.mark.parametrize("name", presets.PAPER)
def test_parameter_counts(name):
    config = presets.PAPER[name](presets.Shape(1024))
    with torch.device("meta"):
        g, d = Generator(config.generator), Discriminator(config.discriminator)
    count = sum(p.numel() for p in g.parameters())
    assert count == generator_parameters(config.generator)
    assert sum(p.numel() for p in d.parameters()) == 23_087_249  # fact sheet, section 1
    if name in ("config-e", "config-f"):
        assert count == 26_219_627  # figure 1: 26.2 million
    if name in ("config-a", "config-b"):
        assert round(count / 1e6, 1) == 23.1  # figure 1


def test_initial_weights():
    torch.manual_seed(0)
    g = Generator(GeneratorConfig(resolution=8, feature_maps=FeatureMaps(maximum=64)))
    parameters = {name: p.detach() for name, p in g.named_parameters()}
    assert parameters["mapping.layers.3.weight"].std() == pytest.approx(100, rel=0.01)
    assert parameters["synthesis.blocks.8.conv1.weight"].std() == pytest.approx(1, rel=0.02)
    assert (parameters["synthesis.blocks.4.const"] == 1).all()
    for name, parameter in parameters.items():
        if "bias" in name or "strength" in name:
            assert (parameter == 0).all()


# --- properties


def test_truncation():
    g = tiny_generator(64)
    w = g.mapping(torch.randn(4, 8))
    assert g.truncate(w, 1.0) is w
    truncated = g.truncate(w, 0.5)
    assert torch.equal(truncated[:, 8:], w[:, 8:])  # by default up to 32 x 32
    assert torch.allclose(truncated[:, 0] - g.w_avg, 0.5 * (w[:, 0] - g.w_avg), atol=1e-5)
    assert torch.allclose(g.truncate(w, 0.0, 10), g.w_avg.expand_as(w))
    centre = torch.randn(8)
    assert torch.allclose(g.truncate(w, 0.0, 10, center=centre), centre.expand_as(w))


def test_noise_inputs():
    g = tiny_generator()
    w = g.mapping(torch.randn(2, 8))
    fixed = g.synthesis(w, noise="const")
    assert torch.equal(fixed, g.synthesis(w, noise="const"))
    assert not torch.equal(g.synthesis(w), g.synthesis(w))
    planes = [getattr(g.synthesis, f"noise{i}") for i in range(6)]
    assert torch.equal(fixed, g.synthesis(w, noise=planes))
    zeros = [torch.zeros_like(plane) for plane in planes]
    assert torch.equal(g.synthesis(w, noise="none"), g.synthesis(w, noise=zeros))
    with pytest.raises(ValueError, match="planes"):
        g.synthesis(w, noise=planes[:2])
    with pytest.raises(ValueError, match="plane has shape"):
        g.synthesis(w, noise=[*planes[:5], planes[5][:, :, :1]])


def test_fade_is_the_weight_of_the_coarser_image():
    g, d = tiny_generator(), tiny_discriminator()
    w = g.mapping(torch.randn(2, 8))
    fine, coarse = (g.synthesis(w, resolution=r, noise="const") for r in (16, 8))
    assert torch.allclose(g.synthesis(w, fade=1.0, noise="const"), ops.upsample(coarse), atol=1e-5)
    mixed = g.synthesis(w, fade=0.25, noise="const")
    assert torch.allclose(mixed, 0.75 * fine + 0.25 * ops.upsample(coarse), atol=1e-5)
    assert torch.allclose(d(fine, fade=1.0), d(ops.downsample(fine)), atol=1e-5)


def test_what_has_been_grown_is_drawn_by_default():
    g = tiny_generator()
    w = g.mapping(torch.randn(1, 8))
    g.synthesis.grown = Growth(8, 0.5)
    assert torch.equal(g.synthesis(w, noise="const"), g.synthesis(w, resolution=8, fade=0.5, noise="const"))
    sharp = g.synthesis(w, resolution=8, noise="const")  # what is asked for is drawn, 0 as well
    assert torch.equal(g.synthesis(w, fade=0.0, noise="const"), sharp)
    assert not torch.equal(g.synthesis(w, noise="const"), sharp)


def test_labels_select_the_score():
    d = tiny_discriminator(label_count=3)
    images = torch.randn(4, 3, 16, 16)
    scores = torch.stack([d(images, torch.full((4,), k)) for k in range(3)], dim=1)
    assert torch.allclose(d(images, torch.tensor([2, 0, 1, 1])), scores[range(4), [2, 0, 1, 1]])
    with pytest.raises(ValueError, match="labels"):
        d(images)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"activation": "relu"},
        {"equalized": False},
        {"use_blur": False},
        {"use_blur": False, "activate_first": True},
        {"group_size": 1},
        {"group_size": 2, "stddev_features": 4},
        {"group_size": 8},
        {"feature_maps": FeatureMaps(base=100, decay=0.5, maximum=12), "channels": 1},
        {"label_count": 3},
    ],
    ids=lambda o: "-".join(o) or "default",
)
def test_discriminator_equals_the_reference(options):
    d = tiny_discriminator(**options).double()
    config, state, images = d.config, d.state_dict(), random(8, d.config.channels, 16, 16)
    labels = torch.arange(8) % 3 if config.label_count else None

    def layer(x, name, gain=2**0.5):
        weight = state[f"{name}.weight"]
        weight = weight * (gain / math.sqrt(weight[0].numel()) if config.equalized else 1)
        if weight.ndim == 2:
            return x.flatten(1) @ weight.T + state[f"{name}.bias"]
        x = torch.nn.functional.conv2d(x, weight, padding=weight.shape[-1] // 2)
        return x + state[f"{name}.bias"].view(1, -1, 1, 1)

    def act(x):
        return torch.where(x > 0, x, (0.2 if config.activation == "lrelu" else 0) * x)

    def down(x):
        return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4

    for fade in (0.0, 0.4):
        x = act(layer(images, "blocks.16.from_rgb"))
        for r in (16, 8):
            x = act(layer(x, f"blocks.{r}.conv0"))
            x = ops.blur_reference(x) if config.use_blur else x
            x = layer(x, f"blocks.{r}.conv1")
            x = down(act(x)) if config.activate_first else act(down(x))
            if r == 16 and fade:
                x = x + (act(layer(down(images), "blocks.8.from_rgb")) - x) * fade
        if config.group_size > 1:
            x = ops.minibatch_stddev_reference(x, config.group_size, config.stddev_features)
        x = act(layer(x, "blocks.4.conv"))
        scores = layer(act(layer(x, "blocks.4.dense0")), "blocks.4.dense1", gain=1)
        expected = scores[range(8), labels] if config.label_count else scores[:, 0]
        assert close(d(images, labels, fade=fade), expected)


# --- speed and memory


def one_step(g, d):
    """Images, losses with R1, and gradients of both networks."""
    torch.manual_seed(2)
    z, reals = torch.randn(8, 8), torch.rand(8, 3, 16, 16) * 2 - 1
    fakes = g.synthesis(g.mapping(z), fade=0.3, noise="const")
    loss = losses.logistic(lambda x: d(x, fade=0.3), reals, fakes, LossConfig(r1_gamma=5), 1.0, None)
    loss.total.mean().backward()
    gradients = [p.grad.clone() for network in (g, d) for p in network.parameters() if p.grad is not None]
    g.zero_grad()
    d.zero_grad()
    return fakes.detach(), loss.total.detach(), gradients


def assert_same_step(ours, theirs, relative: float):
    """Images and losses to `relative`, gradients to ten times that."""
    assert close(ours[0], theirs[0], relative) and close(ours[1], theirs[1], relative)
    assert all(tensor.dtype == torch.float32 for tensor in (ours[0], ours[1], *ours[2]))
    scale = max(gradient.norm() for gradient in theirs[2])
    for a, b in zip(ours[2], theirs[2], strict=True):
        assert (a - b).norm() <= 10 * relative * b.norm() + relative / 10 * scale


def test_fast_forms_give_the_step_of_the_plain_ones():
    g, d = tiny_generator(), tiny_discriminator()
    fast = one_step(g, d)
    with bench.reference_paths():
        assert_same_step(fast, one_step(g, d), 1e-5)


def test_recomputing_gives_the_same_step_to_the_bit():
    g, d = tiny_generator(), tiny_discriminator()
    kept = one_step(g, d)
    g.synthesis.recompute_from = d.recompute_from = 8
    forgotten = one_step(g, d)
    assert all(torch.equal(a, b) for a, b in zip(kept[2], forgotten[2], strict=True))


@pytest.mark.filterwarnings("ignore::UserWarning:torch", "ignore:.*non-leaf Tensor:UserWarning")
def test_compiled_networks_give_the_same_step():
    g, d = tiny_generator(), tiny_discriminator()
    eager = one_step(g, d)
    layers.compile_blocks(g.mapping, *g.synthesis.blocks.values(), *d.blocks.values(), backend="aot_eager")
    assert_same_step(one_step(g, d), eager, 1e-5)
    assert not any("_orig_mod" in name for name in g.state_dict())


@pytest.mark.parametrize("options", [{}, {"use_styles": False, "const_input": False, "use_noise": False}])
@pytest.mark.parametrize("recompute", [False, True])
def test_bfloat16_gives_nearly_the_same_step(options, recompute):
    """Images to two digits, as bfloat16 has, and gradients that point the same way; all of them float32."""
    g, d = tiny_generator(**options), tiny_discriminator()
    exact = one_step(g, d)
    g.synthesis.compute_dtype = d.compute_dtype = torch.bfloat16
    if recompute:
        g.synthesis.recompute_from = d.recompute_from = 8
    seen = []
    hooks = [
        block.register_forward_hook(lambda block, inputs, x: seen.append(x.dtype))
        for block in g.synthesis.blocks.values()
    ]
    rounded = one_step(g, d)
    assert set(seen) == {torch.bfloat16} and len(hooks) == 3
    assert close(rounded[0], exact[0], 0.03) and not torch.equal(rounded[0], exact[0])
    assert all(tensor.dtype == torch.float32 for tensor in (rounded[0], rounded[1], *rounded[2]))
    ours, theirs = (torch.cat([gradient.flatten() for gradient in step[2]]) for step in (rounded, exact))
    assert torch.cosine_similarity(ours, theirs, dim=0) > 0.98


# --- what a traditional generator cannot do


def test_traditional_generators_have_no_styles():
    g = tiny_generator(**TRADITIONAL)
    w = g.mapping(torch.randn(2, 8))
    assert w.shape == (2, 1, 8) and g.truncate(w, 1.0) is w
    with pytest.raises(InputError, match="no W to truncate"):
        g.truncate(w, 0.7)
    with pytest.raises(InputError, match="no styles to mix"):
        sampling.mix(w[:1], w, slice(0, 2))
    with pytest.raises(InputError, match="cannot be mixed"):
        sampling.w_of_crossed_seeds(g, [1], 2)
    with pytest.raises(InputError, match="const_input"):
        GeneratorConfig(use_styles=False)
    deep = tiny_generator(**TRADITIONAL | {"mapping_layers": 2})  # this one has a W
    w = deep.mapping(torch.randn(2, 8))
    assert torch.allclose(deep.truncate(w, 0.0), deep.w_avg.expand(2, 1, 8))


# --- configurations


def test_config_survives_json():
    config = GeneratorConfig(resolution=64, feature_maps=TINY_MAPS, activation="relu")
    assert from_dict(GeneratorConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"depth": 3}, "unknown option depth"),
        ({"feature_maps": {"bass": 3}}, "unknown option feature_maps.bass"),
        ({"resolution": 48}, "power of two"),
        ({"resolution": 2048}, "power of two"),
        ({"resolution": "64"}, "option resolution"),
        ({"channels": 2}, "channels"),
        ({"activation": "gelu"}, "option activation"),
        ({"use_noise": 1}, "option use_noise"),
        ({"mapping_layers": 0, "z_dim": 8, "w_dim": 16}, "w_dim"),
        ({"feature_maps": {"maximum": 0}}, "feature_maps"),
        ({"mapping_lr_multiplier": float("nan")}, "mapping_lr_multiplier"),
    ],
)
def test_bad_options_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        from_dict(GeneratorConfig, values)


def test_bad_arguments_are_refused():
    g, d = tiny_generator(), tiny_discriminator()
    w = g.mapping(torch.randn(1, 8))
    with pytest.raises(ValueError, match="shape"):
        g.synthesis(w[:, :3])
    with pytest.raises(InputError, match="powers of two"):
        g.synthesis(w, resolution=32)
    with pytest.raises(InputError, match="fade"):
        g.synthesis(w, resolution=4, fade=0.5)
    with pytest.raises(InputError, match="noise"):
        g.synthesis(w, noise="loud")
    with pytest.raises(ValueError, match="shape"):
        d(torch.randn(1, 1, 16, 16))


# --- weights


def test_weights_are_scaled_once_in_a_pass_and_anew_in_the_next(monkeypatch):
    d = tiny_discriminator()
    images = torch.rand(8, 3, 16, 16) * 2 - 1

    def step():
        critic = losses.Critic(d, None, 0.3)
        losses.logistic(critic, images, images.flip(0), LossConfig(r1_gamma=5), 1.0, None).total.mean().backward()
        gradients = [p.grad.clone() for p in d.parameters() if p.grad is not None]
        d.zero_grad()
        return gradients

    plain = step()
    made, scaled = [], layers.Conv._scaled

    def counting(self, dtype):
        result = scaled(self, dtype)
        made.append((id(self), id(result)))
        return result

    monkeypatch.setattr(layers.Conv, "_scaled", counting)
    with layers.weights_scaled_once():
        once = step()
    assert len(set(made)) < len(made) and len(set(made)) == len({conv for conv, _ in made})
    for a, b in zip(once, plain, strict=True):  # added up in another order
        assert (a - b).norm() <= 1e-5 * b.norm()
    with torch.no_grad():
        d.blocks["16"].conv0.weight.mul_(2)
    with layers.weights_scaled_once():
        assert not torch.allclose(step()[0], once[0])


def test_weights_lie_in_memory_as_convolutions_read_them():
    g, d = tiny_generator(), tiny_discriminator()
    for network in (g, d, build(Generator, g.config, {k: v.contiguous() for k, v in g.state_dict().items()})):
        for conv in (module for module in network.modules() if isinstance(module, layers.Conv)):
            weight = conv.weight.transpose(0, 1) if conv.resample == "up" else conv.weight
            assert weight.is_contiguous(memory_format=torch.channels_last)
