"""One iteration: moving average, a step of D, a step of G."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from stylegan import processes, randomness, sampling
from stylegan.data.loader import to_reals
from stylegan.networks import ops
from stylegan.networks.generator import Growth, NoiseInput
from stylegan.networks.layers import weights_scaled_once
from stylegan.randomness import draw_of_key, draw_uniform_of_key
from stylegan.training import ema, graphs, losses, path_length
from stylegan.training.augment import augmented, tally
from stylegan.training.batches import Reals
from stylegan.training.losses import LossConfig
from stylegan.training.monitor import Means
from stylegan.training.schedule import State
from stylegan.training.state import TrainState
from stylegan.training.transfer import track_gradients


def iteration(state: TrainState, now: State, reals: list[Reals], means: Means) -> None:
    """Train on one batch, as the schedule's `now` says.

    reals: this process's share of the batch, in micro-batches. means: what is reported is added to.
    """
    if now.stage != state.stage:
        state.begin_stage(now.stage)
    update_average(state, now)
    step_discriminator(state, now, reals, means)
    state.images_seen += now.batch_size
    step_generator(state, now, reals, means)


def update_average(state: TrainState, now: State) -> None:
    """Let the moving average follow; it sees the generator as it was before this iteration."""
    config = state.config
    beta = ema.decay(now.batch_size, config.ema_kimg, state.images_seen, config.ema_rampup)
    ema.update(state.g_ema, state.g, beta)
    state.growth = Growth(now.resolution, now.fade)


def step_discriminator(state: TrainState, now: State, reals: list[Reals], means: Means) -> None:
    """One step of D on a batch of reals and fakes with the same labels."""
    config = state.config.loss.at(state.images_seen).at_step(state.images_seen // now.batch_size)
    w_sum = torch.zeros_like(state.g.w_avg)
    if state.features is not None:
        state.features.critic.estimate_norms()
    adapting, seen = state.augmentation is not None and state.augmentation.adapts_at(now.resolution), []
    for micro in reals:
        inputs = _on_device(state, micro.sample_index, _strength(state, now), micro.labels, micro.images)
        quantities, sum_of_part = _run(state, _pass_of_d, state.critics, now, config, *inputs)
        means.add(**quantities)
        if adapting:
            seen.append(_tally(state, now, micro, quantities, means))
        w_sum += sum_of_part
    _optimize(state, "d", now, means)
    if state.features is not None:
        state.features.step()
    _update_w_avg(state, w_sum / now.batch_size)
    if adapting:
        state.augmentation.adjust(state.images_seen, now.batch_size, sum(seen))


def step_generator(state: TrainState, now: State, reals: list[Reals], means: Means) -> None:
    """One step of G on a batch of other fakes; of the reals it looks at places and labels only, but for a relativistic
    loss, which compares each fake with one, of its class."""
    relative = state.config.loss.kind == "relativistic"
    w_sum = torch.zeros_like(state.g.w_avg)
    state.critics.requires_grad_(False)
    for micro in reals:
        others = (micro.labels, micro.images) if relative else (micro.labels_of_g, None)
        inputs = _on_device(state, micro.sample_index, _strength(state, now), *others)
        quantities, sum_of_part = _run(state, _pass_of_g, state.g, now, state.config.loss, *inputs)
        means.add(**quantities)
        w_sum += sum_of_part
    state.critics.requires_grad_(True)
    track_gradients(state.config, state.d)
    _regularize_path_length(state, now, reals, means)
    _optimize(state, "g", now, means)
    _update_w_avg(state, w_sum / now.batch_size)


def _on_device(state: TrainState, *tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.to(state.device, non_blocking=True) for tensor in tensors]


def _run(
    state: TrainState,
    work: Callable[..., graphs.Result],
    network: nn.Module,
    now: State,
    config: LossConfig,
    *inputs: Tensor | None,
) -> graphs.Result:
    """Do a pass, which adds to the network's gradients, or replay its graph."""
    keys, bound = _keys(state), partial(work, state, config)
    if state.graphs is None:
        return bound(now, keys, *inputs)
    given = tuple(tensor is not None for tensor in inputs)
    return state.graphs.run((work.__name__, config, given), bound, network, now, keys, *inputs)


def _keys(state: TrainState) -> graphs.Keys:
    return partial(randomness.key, state.config.seed, state.images_seen)


def _strength(state: TrainState, now: State) -> Tensor | None:
    """The strength of augmentation, []; None where images are left as they are."""
    strength = 0.0 if state.augmentation is None else state.augmentation.strength_at(now.resolution)
    return torch.full((), strength, device=state.device) if strength > 0 else None


# --- the passes

# A pass does all that a step does with one micro-batch on the device, up to the gradients. Numbers that change from one
# iteration to the next reach it through its arguments only: `now.fade`, which may be a tensor, and the keys of random
# numbers. Else a graph of it would go on with those it was recorded with.


def _pass_of_d(
    state: TrainState,
    config: LossConfig,
    now: State,
    keys: graphs.Keys,
    index: Tensor,
    strength: Tensor | None,
    labels: Tensor | None,
    images: Tensor,
) -> graphs.Result:
    with torch.no_grad():
        w, w_first = _draw_w(state, now, "D", keys, index, labels)
        fakes = _synthesize(state, w, now, "D", keys, index)
        fakes = augmented(state.config.augment, fakes, strength, keys, "fakes of D", index)
        reals = augmented(state.config.augment, to_reals(images, now.fade), strength, keys, "reals of D", index)
    loss_of = losses.DISCRIMINATOR_LOSSES[config.kind]
    with weights_scaled_once():
        loss = loss_of(
            losses.Critic(state.d, labels, now.fade),
            reals,
            fakes,
            config,
            config.gradient_scale(now.resolution, state.config.generator.resolution),
            draw_uniform_of_key((), keys("gradient penalty"), index),
        )
        (loss.total.sum() / now.batch_size).backward()
    quantities = {
        "loss_d": loss.total,
        "score_real": loss.real_scores,
        "score_fake": loss.fake_scores,
        "sign_real": loss.real_scores.sign(),  # r_t of Karras et al., 2020, "Training GANs with limited data"
        "penalty": loss.penalty,
    }
    if state.features is not None:
        loss_on_features = state.features.critic.loss_d(reals, fakes)
        (loss_on_features.sum() / now.batch_size).backward()
        quantities["loss_d_features"] = loss_on_features
    return quantities, w_first.sum(dim=0)


def _pass_of_g(
    state: TrainState,
    config: LossConfig,
    now: State,
    keys: graphs.Keys,
    index: Tensor,
    strength: Tensor | None,
    labels: Tensor | None,
    images: Tensor | None,
) -> graphs.Result:
    """images: reals, for a relativistic loss."""
    w, w_first = _draw_w(state, now, "G", keys, index, labels)
    fakes = _synthesize(state, w, now, "G", keys, index)
    fakes = augmented(state.config.augment, fakes, strength, keys, "fakes of G", index)
    scores = state.d(fakes, labels, fade=now.fade)
    if images is not None:
        with torch.no_grad():
            reals = augmented(state.config.augment, to_reals(images, now.fade), strength, keys, "reals of G", index)
            real_scores = state.d(reals, labels, fade=now.fade)
        scores = scores - real_scores
    quantities = {"loss_g": losses.generator_loss(scores, config)}
    loss = quantities["loss_g"]
    if state.features is not None:
        quantities["loss_g_features"] = state.features.critic.loss_g(fakes)
        loss = loss + state.config.features.weight * quantities["loss_g_features"]
    (loss.sum() / now.batch_size).backward()
    return quantities, w_first.detach().sum(dim=0)


def _regularize_path_length(state: TrainState, now: State, reals: list[Reals], means: Means) -> None:
    """Where it is their turn, add the gradients that the path lengths of other fakes give G.

    A whole batch is held against the mean as it was before, so that its division into parts changes nothing.
    """
    config = state.config.path_length
    weight = config.weight_at_step(state.images_seen // now.batch_size)
    if not weight:
        return
    total = torch.zeros_like(state.path_length)
    for micro in reals:
        with ops.twice_differentiable():  # where activations are computed again, backward is when
            lengths = _path_lengths(state, now, *_on_device(state, micro.sample_index, micro.labels_of_g))
            penalty = path_length.penalty_of(lengths, state.path_length)
            (penalty.sum() * (weight / now.batch_size)).backward()
        means.add(path_length=lengths, path_penalty=penalty)
        total += lengths.detach().sum()
    processes.all_reduce_sum([total])
    state.path_length = path_length.moved(state.path_length, total / now.batch_size, config.decay)


def _path_lengths(state: TrainState, now: State, index: Tensor, labels: Tensor | None) -> Tensor:
    """Path lengths [n] of fakes of one style each."""
    config, keys, step = state.config.generator, _keys(state), "path length"
    z = draw_of_key((config.z_dim,), keys(f"z of {step}"), index)
    y = draw_of_key((config.channels, now.resolution, now.resolution), keys(f"pixels of {step}"), index)

    def images_of(w: Tensor) -> Tensor:
        return _synthesize(state, w[:, None].expand(-1, config.num_layers, -1), now, step, keys, index)

    return path_length.lengths_of(images_of, state.g.mapping(z, labels)[:, 0], y)


def _draw_w(
    state: TrainState, now: State, step: str, keys: graphs.Keys, index: Tensor, labels: Tensor | None
) -> tuple[Tensor, Tensor]:
    """w [n, num_layers, w_dim] of a fake, styles mixed for a share of the images, and the first w [n, w_dim]."""
    config, mapping = state.config, state.g.mapping
    z = draw_of_key((config.generator.z_dim,), keys(f"z of {step}"), index)
    if config.mixing_probability == 0:
        w = mapping(z, labels)
        return w, w[:, 0]
    second = draw_of_key((config.generator.z_dim,), keys(f"second z of {step}"), index)
    twice = None if labels is None else torch.cat([labels, labels])
    w, w_second = mapping(torch.cat([z, second]), twice).chunk(2)
    deciding = index if config.mixing_per == "image" else torch.zeros_like(index)
    crossover = crossovers(
        draw_uniform_of_key((), keys(f"mixing coin of {step}"), deciding),
        draw_uniform_of_key((), keys(f"crossover of {step}"), deciding),
        config.mixing_probability,
        layers=len(state.g.synthesis.layer_resolutions(now.resolution)),
    )
    return sampling.cross([w, w_second], crossover[:, None]), w[:, 0]


def crossovers(coin: Tensor, place: Tensor, probability: float, layers: int) -> Tensor:
    """Where each image changes from its first latent to its second (section 3.1): int64 [N], in [1, layers].

    coin, place: uniform numbers [N]. With the given probability the place is uniform in [1, layers - 1]; else it
    is `layers`, which leaves the image to its first latent. layers: those in use at the current resolution.
    """
    crossover = 1 + (place * (layers - 1)).long().clamp(max=layers - 2)
    return torch.where(coin < probability, crossover, layers)


def _synthesize(state: TrainState, w: Tensor, now: State, step: str, keys: graphs.Keys, index: Tensor) -> Tensor:
    """Fakes [n, C, R, R] with fresh noise for every sample and layer."""
    sizes = state.g.synthesis.layer_resolutions(now.resolution)
    noise: NoiseInput = "none"
    if state.config.generator.use_noise:
        areas = [r * r for r in sizes]
        numbers = draw_of_key((sum(areas),), keys(f"noise of {step}"), index)
        parts = zip(numbers.split(areas, dim=1), sizes, strict=True)
        noise = [part.reshape(-1, 1, r, r) for part, r in parts]
    return state.g.synthesis(w, resolution=now.resolution, fade=now.fade, noise=noise)


# --- after the passes


def _tally(state: TrainState, now: State, micro: Reals, quantities: dict[str, Tensor], means: Means) -> Tensor:
    """What D makes of a micro-batch, which the strength of augmentation is judged by."""
    held_out = None
    if micro.held_out is not None:
        index, strength, images, labels = _on_device(state, micro.sample_index, _strength(state, now), *micro.held_out)
        with torch.no_grad():
            shown = to_reals(images, now.fade)
            shown = augmented(state.config.augment, shown, strength, _keys(state), "held-out images of D", index)
            held_out = state.d(shown, labels, fade=now.fade)
        means.add(score_held_out=held_out)
    return tally(quantities["score_real"], quantities["score_fake"], held_out, state.augmentation.sums)


def _optimize(state: TrainState, name: str, now: State, means: Means) -> None:
    """Average the gradients over the processes and step, unless any of them is not finite."""
    network, optimizer = (state.g, state.g_adam) if name == "g" else (state.d, state.d_adam)
    gradients = [p.grad for p in network.parameters() if p.grad is not None]
    processes.all_reduce_sum(gradients)
    norm = nn.utils.get_total_norm(gradients, foreach=True)
    state.count_skipped(name)
    for group in optimizer.param_groups:
        group["lr"] = now.learning_rate * group["lr_multiplier"]
    optimizer.step_if(torch.isfinite(norm))
    means.add(**{f"gradient_norm_{name}": norm})
    network.zero_grad(set_to_none=True)


def _update_w_avg(state: TrainState, mean: Tensor) -> None:
    processes.all_reduce_sum([mean])
    state.g.w_avg.lerp_(mean, 1 - state.config.w_avg_beta)
