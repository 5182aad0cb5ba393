"""A run that starts from a model: which of its weights are taken, which are changed to fit, and which begin anew.

Blocks of other resolutions are left out, or are new and faded in. Where channels or classes differ, the layers at the
images and at the classes are changed so that the first images are still those of the model. What has another shape for
any other reason begins anew.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor, nn

from stylegan import processes, sampling
from stylegan.errors import InputError
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.generator import Generator, GeneratorConfig
from stylegan.networks.layers import SLOPES, Dense, activate
from stylegan.resolutions import resolutions
from stylegan.training.config import TrainingConfig
from stylegan.weights import Model

LUMA = (0.299, 0.587, 0.114)  # of sRGB, as `stylegan prepare` makes images gray
_SHAPE = ("resolution", "channels", "label_count", "w_dim")  # options with sentences of their own, or none

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Fit:
    """What a network has taken of a model's tensors."""

    anew: tuple[str, ...]
    """Names of parameters that begin anew."""
    share: float
    """Share of the weights that come from the model."""


def start(
    config: TrainingConfig,
    networks: tuple[Generator, Discriminator, Generator],
    model: Model,
    class_names: tuple[str, ...] = (),
) -> tuple[str, ...]:
    """Give new networks (G, D and G's average) the weights of a model; what has been done, in sentences.

    class_names: of the run's data. Raises InputError where nothing fits, or what is to be frozen does not.
    """
    g, d, g_ema = networks
    old = model.generator
    shares = class_shares(old.config.label_count, g.config.label_count, model.label_names, class_names)
    average = tensors_for(g_ema, old, shares)
    raw = tensors_for(g, model.raw_generator or old, shares)
    if config.freeze_mapping:  # the average would otherwise move towards the frozen network
        raw |= {name: tensor for name, tensor in average.items() if name.startswith("mapping.")}
    of_g = fit(g, raw)
    fit(g_ema, average)
    if all(name in of_g.anew for name, _ in g.named_parameters() if name.endswith("conv1.weight")):
        raise InputError(f"the networks in {config.start_from} fit none of this run's; leave out start_from")

    of_d = None if model.discriminator is None else fit(d, critic_tensors_for(d, model.discriminator, shares, old))
    _check_frozen(config, old.config, of_g, of_d)
    return tuple(_sentences(config, model, shares, of_g, of_d))


def fit(network: nn.Module, tensors: Tensors) -> Fit:
    """Load the tensors that the network has, in their shapes; the others are left as they are."""
    own = network.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and tensor.shape == own[name].shape}
    network.load_state_dict(own | fitting)
    parameters = dict(network.named_parameters())
    taken = sum(p.numel() for name, p in parameters.items() if name in fitting)
    anew = tuple(name for name in parameters if name not in fitting)
    return Fit(anew, taken / sum(p.numel() for p in parameters.values()))


# --- what is frozen


def track_gradients(config: TrainingConfig, network: Generator | Discriminator) -> None:
    """Let a network's parameters track gradients, but for the frozen ones.

    Of D these are the blocks of `config.frozen_blocks`, fromRGB included (Mo et al., 2020). Of the mapping network
    they are the layers; the vectors of the classes, which belong to the data, are trained.
    """
    network.requires_grad_(True)
    if isinstance(network, Discriminator):
        for resolution in config.frozen_blocks:
            network.blocks[str(resolution)].requires_grad_(False)
    elif config.freeze_mapping:
        network.mapping.layers.requires_grad_(False)


def _check_frozen(config: TrainingConfig, old: GeneratorConfig, of_g: Fit, of_d: Fit | None) -> None:
    if config.freeze_d and of_d is None:
        raise InputError(f"{config.start_from} holds no discriminator whose blocks could be frozen; leave out freeze_d")
    prefixes = tuple(f"blocks.{resolution}." for resolution in config.frozen_blocks)
    anew = [name for name in of_d.anew if name.startswith(prefixes)] if of_d and prefixes else []
    if config.freeze_mapping:
        anew += [name for name in of_g.anew if name.startswith("mapping.layers.")]
        if config.generator.label_count and not (old.label_count or config.generator.embed_labels):
            raise InputError(
                "a frozen mapping network cannot learn classes that have no vectors; leave out freeze_mapping"
            )
    if anew:
        raise InputError(
            f"{anew[0]} is to be frozen, but {config.start_from} has none of its shape; leave out freeze_d and "
            "freeze_mapping, or the options that change widths"
        )


# --- channels


def channel_map(old: int, new: int) -> tuple[Tensor, Tensor]:
    """How images of `old` channels become images of `new`: a matrix [new, old] and an offset [new], in [-1, 1].

    Gray is the luma of RGB, and is repeated in it; alpha is left out, and is opaque where it is new.
    """
    if old == new:
        return torch.eye(old), torch.zeros(old)
    to_rgb = torch.ones(3, 1) if old == 1 else torch.eye(3, old)  # [3, old]
    from_rgb = torch.tensor([LUMA]) if new == 1 else torch.eye(new, 3)  # [new, 3]
    return from_rgb @ to_rgb, torch.tensor([0.0, 0.0, 0.0, 1.0])[:new] if new == 4 else torch.zeros(new)


def _of_images(tensors: Tensors, old: Generator, network: Generator) -> None:
    """Let every toRGB give the new channels, and, where images are summed, let those add nothing that were not in use.

    Of summed images the highest alone takes the offset, which else would be there several times.
    """
    new, drawn = network.config, old.synthesis.grown.resolution
    matrix, offset = channel_map(old.config.channels, new.channels)
    for r in resolutions(new.resolution):
        names = [f"synthesis.blocks.{r}.to_rgb.{part}" for part in ("weight", "bias")]
        if names[0] in tensors:
            weight, bias = (tensors[name] for name in names)
        elif new.sum_rgb:
            maps = network.synthesis.block(r).to_rgb.weight.shape[1]
            weight, bias = torch.zeros(old.config.channels, maps, 1, 1), torch.zeros(old.config.channels)
        else:
            continue
        if new.sum_rgb and (r > drawn or (not old.config.sum_rgb and r < drawn)):
            weight, bias = torch.zeros_like(weight), torch.zeros_like(bias)
        if old.config.channels != new.channels:
            weight, bias = torch.einsum("no,oihw->nihw", matrix, weight), matrix @ bias
            if not new.sum_rgb or r == new.resolution:
                bias = bias + offset
        tensors |= dict(zip(names, (weight, bias), strict=True))


# --- a lower resolution

# The toRGB and fromRGB of a resolution that training has left behind, or has passed over, do not know what has become
# of the layers beside them. They are fitted to what the whole network does, by least squares.


@torch.no_grad()
def to_rgb_of(generator: Generator, resolution: int) -> tuple[Tensor, Tensor]:
    """Weights and biases of a toRGB that draws the generator's images, made smaller, as well as it can."""
    features: list[Tensor] = []
    block = generator.synthesis.block(resolution)
    keep = block.register_forward_hook(lambda module, inputs, result: features.append(result))
    weight, bias = _least_squares((features.pop(), _smaller(x, resolution)) for x in _images(generator, resolution))
    keep.remove()
    return weight / block.to_rgb.scale, bias


@torch.no_grad()
def from_rgb_of(critic: Discriminator, generator: Generator, resolution: int) -> tuple[Tensor, Tensor]:
    """Weights and biases of a fromRGB that makes of the generator's images, made smaller, what the higher blocks make
    of them, in front of the activation."""
    slope = SLOPES[critic.config.activation] or 1.0

    def pairs() -> Iterable[tuple[Tensor, Tensor]]:
        for images in _images(generator, resolution):
            x = activate(critic.from_rgb(images.shape[3])(images), critic.config.activation)
            while x.shape[3] > resolution:
                x = critic.block(x.shape[3])(x)
            yield _smaller(images, resolution), torch.where(x > 0, x, x / slope)

    weight, bias = _least_squares(pairs())
    return weight / critic.from_rgb(resolution).scale, bias


def _images(generator: Generator, resolution: int) -> Iterable[Tensor]:
    """Images [1, C, R, R] of the first seeds; as many as give enough pixels of a lower resolution."""
    for seed in range(min(max(2**16 // resolution**2, 16), 64)):
        labels = sampling.labels_in_turn(generator, None, seed + 1)
        w = sampling.w_of_seeds(generator, [seed], None if labels is None else labels[-1:])
        yield generator.synthesis(w, noise=sampling.noise_input(generator, "random", [seed]))


def _smaller(images: Tensor, resolution: int) -> Tensor:
    while images.shape[3] > resolution:
        images = ops.downsample(images)
    return images


def _least_squares(pairs: Iterable[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The 1 x 1 convolution that makes the second of each pair [1, C, H, W] of the first: weight and bias."""
    products = toward = torch.zeros((), dtype=torch.double)
    for inputs, results in pairs:
        x = inputs[0].flatten(1).double()  # [channels, pixels]
        x = torch.cat([x, torch.ones_like(x[:1])])
        products, toward = products + x @ x.T, toward + x @ results[0].flatten(1).double().T
    little = products.diagonal().mean() * 1e-4  # so that what hardly varies is not relied on
    solution = torch.linalg.solve(products + little * torch.eye(len(products)), toward).float()
    return solution[:-1].T[:, :, None, None], solution[-1]


# --- classes


def class_shares(old: int, new: int, old_names: tuple[str, ...] = (), new_names: tuple[str, ...] = ()) -> Tensor:
    """What each class begins as: its shares of the old classes, [max(new, 1), max(old, 1)]; no classes count as one.

    A class begins as the old one of its name, or, where the names of either are not known, of its number; else as the
    mean of all.
    """
    shares = torch.full((max(new, 1), max(old, 1)), 1 / max(old, 1))
    named = len(old_names) == old and len(new_names) == new
    for number in range(new if old else 0):
        source = number if number < old else None
        if named:
            source = old_names.index(new_names[number]) if new_names[number] in old_names else None
        if source is not None:
            shares[number] = torch.eye(old)[source]
    return shares


def _of_classes(tensors: Tensors, old: Generator, network: Generator, shares: Tensor) -> None:
    """Change the class vectors, and the layers that see z and the class: the first ones behind them.

    Where there were no classes all begin as what there was. Where there are none any more, the layers see what they saw
    of the mean class, nearly: pixel norm depends on both.
    """
    before, now = old.config, network.config
    if not before.label_count and not now.label_count:
        return
    if (before.z_dim, before.mapping_layers > 0) != (now.z_dim, now.mapping_layers > 0):
        return  # nothing fits
    kept = before.label_count > 0 and now.label_count > 0 and before.embed_labels == now.embed_labels
    if kept and torch.equal(shares, torch.eye(before.label_count)):
        return
    vectors = torch.eye(before.label_count)  # of the old classes, [old, label_width]
    if before.label_count and before.embed_labels:
        vectors = tensors.pop("mapping.label_embedding")
    if now.label_count and now.embed_labels:
        tensors["mapping.label_embedding"] = shares @ vectors if kept else torch.zeros(now.label_count, now.z_dim)
        if kept:
            return

    # pixel norm divides by the length of z and class vector together, which is not what it was
    square = vectors.square().sum(dim=1).mean().item() if before.label_count else 0.0
    factor = _norm_factor(before, square)
    change = factor / _norm_factor(now, 0.0 if now.embed_labels or not now.label_count else 1.0)
    layers = _behind_z(old)
    for name, new_layer in _behind_z(network).items():
        if name not in layers:
            continue  # a new block
        layer = layers[name]
        of_z, of_class = tensors[f"{name}.weight"].split([before.z_dim, before.label_width], dim=1)
        rate = layer.scale / new_layer.scale * change
        new_columns = torch.zeros(len(of_z), now.label_width)
        if kept:
            new_columns = of_class @ shares.T * rate
        elif now.embed_labels and now.label_count:  # new weights, as the vectors are 0
            new_columns = new_layer.weight.detach()[: len(of_z), before.z_dim :].cpu()
        if before.label_count and not kept and layer.bias is not None:
            seen = of_class @ vectors.mean(dim=0) * (layer.scale * factor)
            tensors[f"{name}.bias"] = tensors[f"{name}.bias"] + seen / layer.lr_multiplier
        if len(new_columns) == len(of_z):
            tensors[f"{name}.weight"] = torch.cat([of_z * rate, new_columns], dim=1)


def _norm_factor(config: GeneratorConfig, square: float) -> float:
    """What pixel norm multiplies z by, whose own mean square is 1. square: of the class vector, its squared length."""
    if not config.normalize_z:
        return 1.0
    return ((config.z_dim + config.label_width) / (config.z_dim + square)) ** 0.5


def _behind_z(network: Generator) -> dict[str, Dense]:
    """The dense layers that see z and the class vector, by name: the first, or without mapping layers all."""
    dense = {name: layer for name, layer in network.named_modules() if isinstance(layer, Dense)}
    return {name: dense[name] for name in ["mapping.layers.0"]} if network.config.mapping_layers else dense


# --- a network's tensors, changed to fit


def tensors_for(network: Generator, old: Generator, shares: Tensor) -> Tensors:
    """The tensors of a generator, changed for the channels and classes of a new one; shares: see `class_shares`."""
    tensors: Tensors = dict(old.state_dict())
    top = network.config.resolution
    if top < old.synthesis.grown.resolution and not old.config.sum_rgb:
        _replace(tensors, f"synthesis.blocks.{top}.to_rgb", processes.on_first(lambda: to_rgb_of(old, top)))
    _of_images(tensors, old, network)
    _of_classes(tensors, old, network, shares)
    return tensors


def critic_tensors_for(network: Discriminator, old: Discriminator, shares: Tensor, generator: Generator) -> Tensors:
    """The tensors of a discriminator, likewise: it scores the new images as it did the old ones.

    generator: the average that it was trained with.
    """
    tensors: Tensors = dict(old.state_dict())
    top = network.config.resolution
    if top < generator.synthesis.grown.resolution:
        _replace(tensors, f"blocks.{top}.from_rgb", processes.on_first(lambda: from_rgb_of(old, generator, top)))
    matrix, offset = channel_map(network.config.channels, old.config.channels)  # [old, new]: the other way round
    for r in resolutions(min(network.config.resolution, old.config.resolution)):
        if old.config.channels == network.config.channels:
            continue
        of_old, of_new = old.from_rgb(r), network.from_rgb(r)
        weight, bias = tensors[f"blocks.{r}.from_rgb.weight"], tensors[f"blocks.{r}.from_rgb.bias"]
        tensors[f"blocks.{r}.from_rgb.bias"] = bias + (weight[:, :, 0, 0] * of_old.scale) @ offset
        mixed = torch.einsum("mohw,on->mnhw", weight, matrix)
        tensors[f"blocks.{r}.from_rgb.weight"] = mixed * (of_old.scale / of_new.scale)
    counts = old.config.label_count, network.config.label_count
    if any(counts):
        shares = shares if shares.shape == (max(counts[1], 1), max(counts[0], 1)) else class_shares(*counts)
        for name in ("weight", "bias"):
            tensors[f"blocks.4.dense1.{name}"] = shares @ tensors[f"blocks.4.dense1.{name}"]
    return tensors


def _replace(tensors: Tensors, layer: str, weight_and_bias: tuple[Tensor, Tensor]) -> None:
    tensors |= {f"{layer}.weight": weight_and_bias[0], f"{layer}.bias": weight_and_bias[1]}


# --- in words


def _sentences(
    config: TrainingConfig,
    model: Model,
    shares: Tensor,
    of_g: Fit,
    of_d: Fit | None,
) -> Iterable[str]:
    old, new = model.generator.config, config.generator
    and_of_d = f" and {of_d.share:.0%} of the discriminator's" if of_d else ""
    yield f"{of_g.share:.0%} of the generator's weights{and_of_d} are the model's"
    if of_d is None:
        yield "the model has no discriminator: one begins anew, and may undo what the generator has learned"

    first = config.schedule.initial_resolution
    old_blocks, new_blocks = model.generator.synthesis.blocks, [2**k for k in range(2, new.resolution.bit_length())]
    if added := [r for r in new_blocks if str(r) not in old_blocks]:
        fading = "faded in by the schedule" if first < added[0] else "not faded in"
        yield f"new blocks: {_sizes(added)}, {'adding nothing at first' if new.sum_rgb else fading}"
    if dropped := [int(r) for r in old_blocks if int(r) > new.resolution]:
        below = new.resolution < model.generator.synthesis.grown.resolution
        fitted = ["toRGB"] * (below and not old.sum_rgb) + ["fromRGB"] * (below and of_d is not None)
        behind = f"; {' and '.join(fitted)} below fitted to what they did" if fitted else ""
        yield f"blocks left out: {_sizes(dropped)}{behind}"
    if old.channels != new.channels:
        yield f"images of {old.channels} channels become {new.channels}: toRGB and fromRGB are changed to match"
    if old.label_count or new.label_count:
        yield _of_classes_in_words(old.label_count, new.label_count, shares)

    for what, found in (("generator", of_g), ("discriminator", of_d)):
        yield from _anew_in_words(what, found, [str(r) for r in new_blocks if str(r) in old_blocks])
    yield from _other_options("generator", old, new)
    if model.discriminator is not None:
        yield from _other_options("discriminator", model.discriminator.config, config.discriminator)
    if config.freeze_d:
        yield f"frozen: the discriminator's blocks of {_sizes(config.frozen_blocks)}, with their fromRGB"
    if config.freeze_mapping:
        yield "frozen: the mapping network's layers, which are those of the average"


def _sizes(numbers: Iterable[int]) -> str:
    return ", ".join(f"{r} x {r}" for r in numbers)


def _of_classes_in_words(old: int, new: int, shares: Tensor) -> str:
    if not old:
        return f"{new} classes, all of which begin as what the model drew without"
    if not new:
        return f"the model's {old} classes become none, which begins as the mean class"
    matched = int((shares.max(dim=1).values == 1).sum()) if old > 1 else new
    rest = f", {new - matched} as the mean of all" if matched < new else ""
    return f"{new} classes: {matched} begin as one of the model's {old}{rest}"


def _anew_in_words(what: str, found: Fit | None, common: list[str]) -> Iterable[str]:
    """What begins anew although the model has a part of that name."""
    anew = [name.split(".") for name in (found.anew if found else ())]
    if any("mapping" in name for name in anew):
        yield f"{what}: layers of the mapping network do not fit and begin anew"
    blocks = [int(r) for r in common if any("blocks" in name and name[name.index("blocks") + 1] == r for name in anew)]
    if blocks:
        yield f"{what}: layers in the blocks of {_sizes(blocks)} do not fit and begin anew"


def _other_options(what: str, old, new) -> Iterable[str]:
    """Options of a network that the run has otherwise."""
    for field in fields(old):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if before != now and field.name not in _SHAPE and not is_dataclass(before):
            yield f"{what}.{field.name} is {now}, the model's {before}: it draws or scores otherwise from the start"
