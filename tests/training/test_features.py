"""The second discriminator, on frozen features: what it sees, what it teaches, and that its runs resume exactly."""

from dataclasses import replace

import pytest
import torch
from conftest import same, tensors_of, tiny_config, write_store

from stylegan.errors import InputError
from stylegan.metrics.extractors import load_extractor
from stylegan.run_files import read_stats
from stylegan.training import state_file
from stylegan.training.features import STAGES, FeatureCritic, FeaturesConfig, new_critic
from stylegan.training.loop import train
from stylegan.training.state import new_state

CPU = torch.device("cpu")
ON = FeaturesConfig(weight=1.0, size=32, width=8)


@pytest.fixture(scope="module")
def critic() -> FeatureCritic:
    return new_critic(replace(ON, size=None), CPU, seed=1).critic


def photographs(count: int, size: int, channels: int = 3) -> torch.Tensor:
    """Smooth random images in [-1, 1]."""
    coarse = torch.randn(count, channels, 8, 8, generator=torch.Generator().manual_seed(2))
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bilinear").tanh()


# --- what it sees


def test_the_stages_are_those_that_the_scores_features_come_from():
    """Of the frozen network: its last stage, taken to the end, gives the extractor's features."""
    extractor = load_extractor("mobilenet-v2")
    x = photographs(2, 64)
    stages = extractor.stages(x, tuple(STAGES))
    assert [stage.shape[1] for stage in stages] == [channels for channels, _ in STAGES.values()]
    assert [64 // stage.shape[3] for stage in stages] == [4, 8, 16, 32]
    last = torch.einsum("oi,nihw->nohw", extractor.w61[:, :, 0, 0], stages[-1]) + extractor.b61[:, None, None]
    low, high = extractor.operations[61][5]
    assert torch.allclose(last.clamp(low, high).mean(dim=(2, 3)), extractor.features(x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("channels", "size", "seen"), [(1, 16, 64), (3, 64, 64), (4, 128, 128), (3, 256, 128)])
def test_images_of_every_shape_become_projections_of_about_unit_variance(critic, channels, size, seen):
    features = list(critic.features(photographs(4, size, channels)))
    assert [stage.shape for stage in features] == [(4, 8, seen // n, seen // n) for n in (4, 8, 16, 32)]
    assert all(0.2 < stage.std() < 5 for stage in features)


def test_alpha_is_not_seen(critic):
    image = photographs(1, 64, 4)
    other = torch.cat([image[:, :3], -image[:, 3:]], dim=1)
    assert all(torch.equal(a, b) for a, b in zip(critic(image), critic(other), strict=True))


def test_the_losses_are_hinges_of_the_scores(critic):
    reals, fakes = photographs(4, 64), torch.rand(4, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        of_reals, of_fakes = critic(reals), critic(fakes)
        expected = sum((1 - s).clamp(min=0).mean(dim=(1, 2)) for s in of_reals)
        expected = expected + sum((1 + s).clamp(min=0).mean(dim=(1, 2)) for s in of_fakes)
        assert torch.allclose(critic.loss_d(reals, fakes), expected, rtol=1e-4, atol=1e-4)
        assert torch.allclose(critic.loss_g(fakes), -sum(s.mean(dim=(1, 2)) for s in of_fakes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("count", "group_size"), [(1, 4), (4, 4), (2, 2)])
def test_the_heads_are_told_how_much_a_group_differs(count, group_size):
    """Groups are strided, as the discriminator's: of 8 images in groups of 4, places 0, 2, 4, 6 and 1, 3, 5, 7."""
    critic = new_critic(replace(ON, stddev_features=count), CPU, seed=1, group_size=group_size).critic
    images = photographs(8, 64)
    with torch.no_grad():
        for head, features, scores in zip(critic.heads, critic.features(images), critic(images), strict=True):
            for i in range(8):
                group = features[i % (8 // group_size) :: 8 // group_size].double()
                deviations = (group - group.mean(dim=0)).square().mean(dim=0).sqrt()  # [8, r, r]
                maps = [(8 / count) ** 0.5 * (part.mean(dim=0) - 0.8) for part in deviations.chunk(count)]
                alone = head(torch.cat([features[i], torch.stack(maps).float()])[None])
                torch.testing.assert_close(alone[0, 0], scores[i], rtol=1e-3, atol=1e-4)


def test_samples_that_are_all_alike_are_told_from_others():
    """What no look at a single image can: the fakes are the first real one, over and over."""
    losses = []
    for count in (0, 4):
        trained = new_critic(replace(ON, width=16, stddev_features=count), CPU, seed=4, group_size=4)
        for step in range(150):
            reals = photographs(64, 32)[torch.randint(64, (8,), generator=torch.Generator().manual_seed(step))]
            trained.critic.estimate_norms()
            loss = trained.critic.loss_d(reals, reals[:1].expand_as(reals)).mean()
            loss.backward()
            trained.step()
        losses.append(loss.item())
    assert losses[0] > 7 and losses[1] < 4  # 8 where nothing can be told


def test_groups_need_more_than_one_image(store):
    with pytest.raises(InputError, match=r"set discriminator.group_size above 1"):
        config = tiny_config(store)
        discriminator = replace(config.discriminator, group_size=1)
        replace(config, discriminator=discriminator, features=replace(ON, stddev_features=4))
    with pytest.raises(InputError, match=r"must divide features.width, 8"):
        replace(ON, stddev_features=3)


def test_layers_are_divided_by_their_largest_singular_value():
    critic = new_critic(ON, CPU, seed=3).critic
    for _ in range(50):
        critic.estimate_norms()
    for head in critic.heads:
        for layer in (head[0], head[2], head[4]):
            assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, rel=0.05)


def test_bfloat16_says_nearly_the_same(critic):
    """In D's step, where the frozen network computes in it too, and in G's, gradients included."""
    half = new_critic(replace(ON, size=None), CPU, seed=1, compute_dtype=torch.bfloat16).critic
    reals, fakes = photographs(4, 64), photographs(4, 64).flip(3).requires_grad_()
    losses = [each.loss_d(reals, fakes.detach()) for each in (critic, half)]
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(*losses, rtol=0.05, atol=0.05)
    (exact,), (near,) = (torch.autograd.grad(each.loss_g(fakes).sum(), fakes) for each in (critic, half))
    assert not exact.equal(near) and torch.nn.functional.cosine_similarity(exact.ravel(), near.ravel(), dim=0) > 0.98


def test_looking_changes_nothing(critic):
    """The estimate of the norms moves once a step only, so that micro-batches see the same networks."""
    before = {name: value.clone() for name, value in critic.state_dict().items()}
    critic(photographs(2, 64))
    assert same(before, critic.state_dict())


def test_it_learns_to_tell_reals_from_fakes_and_its_gradient_makes_fakes_more_real():
    trained = new_critic(replace(ON, size=64), CPU, seed=4)
    critic, reals = trained.critic, photographs(8, 64)
    fakes = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(5)) * 2 - 1
    first = critic.loss_d(reals, fakes).mean().item()
    for _ in range(40):
        critic.estimate_norms()
        critic.loss_d(reals, fakes).mean().backward()
        trained.step()
    assert critic.loss_d(reals, fakes).mean().item() < 0.7 * first
    assert critic.loss_g(reals).mean() < critic.loss_g(fakes).mean()
    moved = fakes.clone().requires_grad_()
    critic.loss_g(moved).sum().backward()
    assert critic.loss_g(fakes - 0.01 * moved.grad.sign()).mean() < critic.loss_g(fakes).mean()


# --- in a run


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("features") / "store")


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory):
    run = tmp_path_factory.mktemp("features") / "run"
    return train(tiny_config(store, features=ON), run, progress=False), run


def test_it_is_trained_and_changes_the_generator(whole, store, tmp_path):
    plain = train(tiny_config(store), tmp_path / "plain", progress=False)
    assert not same(tensors_of(whole[0]), tensors_of(plain))
    lines = read_stats(whole[1])
    assert all({"loss_d_features", "loss_g_features"} <= set(line) for line in lines)
    assert "loss_g_features" not in read_stats(tmp_path / "plain")[0]
    saved = state_file.load(max(whole[1].glob("state-*.pt")))["features"]["heads"]
    start = new_critic(ON, CPU, tiny_config(store).seed).critic.heads.state_dict()
    assert saved.keys() == start.keys()
    assert not any(torch.equal(saved[name], start[name]) for name in saved if name.endswith("original"))
    assert "features" not in state_file.load(max((tmp_path / "plain").glob("state-*.pt")))


@pytest.mark.parametrize("count", [0, 4])
def test_resuming_is_exact(whole, store, tmp_path, count):
    config = tiny_config(store, features=replace(ON, stddev_features=count))
    if count:
        whole = (train(config, tmp_path / "whole", progress=False),)
    for kimg in (0.16, 0.25, 0.4):
        part = replace(config, schedule=replace(config.schedule, total_kimg=kimg))
        outcome = train(part, tmp_path / "run", progress=False)
    assert same(tensors_of(outcome), tensors_of(whole[0]))


@pytest.mark.parametrize("count", [0, 4])
def test_micro_batches_see_the_same_critic(store, tmp_path, count):
    config = tiny_config(store, features=replace(ON, stddev_features=count), micro_batch=4)
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.016))
    train(config, tmp_path / "parts", progress=False)
    train(replace(config, micro_batch=0), tmp_path / "run", progress=False)
    ours, theirs = read_stats(tmp_path / "parts")[0], read_stats(tmp_path / "run")[0]
    for name in ("loss_d", "loss_g", "loss_d_features", "loss_g_features"):
        assert ours[name] == pytest.approx(theirs[name], rel=1e-2, abs=1e-3), name


def test_a_state_that_does_not_fit_is_refused(whole, store):
    saved = state_file.load(max(whole[1].glob("state-*.pt")))
    state = new_state(tiny_config(store, features=replace(ON, width=12)), CPU, saved["data"])
    with pytest.raises(InputError, match="critic on features does not fit"):
        state.restore(saved)


def test_older_states_go_on_with_a_new_critic(whole, store):
    saved = state_file.load(max(whole[1].glob("state-*.pt")))
    del saved["features"]
    state = new_state(tiny_config(store, features=ON), CPU, saved["data"])
    state.restore(saved)
    assert same(state.features.critic.heads.state_dict(), new_critic(ON, CPU, 0).critic.heads.state_dict())
