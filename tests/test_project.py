"""Projection: a generator's own samples are found again, and the pieces against plain arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from safetensors.torch import load_file
from test_cli import refused, run

from stylegan import projection, recipe, sampling, weights
from stylegan.errors import InputError
from stylegan.images import from_uint8, to_uint8
from stylegan.networks.generator import Growth
from stylegan.projection import ProjectConfig

SHORT = ProjectConfig(steps=60, candidates=32, distance="none")


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(16)


def target(generator, seed=5):
    with torch.no_grad():
        return generator.synthesis(sampling.w_of_seeds(generator, [seed]), noise="const")


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_sample_is_found_again(generator, space):
    goal = target(generator)
    steps = list(projection.projecting(generator, goal, replace(SHORT, space=space, start="average")))
    assert [p.step for p in steps] == list(range(61))
    assert steps[-1].loss < steps[0].loss / 30
    last = steps[-1]
    assert torch.allclose(generator.synthesis(last.w, noise=last.noise), last.images, atol=1e-5)
    assert torch.equal(last.w[:, 0], last.w[:, 5]) == (space == "w")
    assert projection.psnr(to_uint8(last.images), to_uint8(goal)) > 20


def test_the_start_is_the_best_of_the_samples(generator):
    goal = target(generator)
    best, average = (
        next(projection.projecting(generator, goal, replace(SHORT, start=start, perturbation=0)))
        for start in ("best", "average")
    )
    assert best.loss < average.loss
    w = sampling.sample_w(generator)
    losses = [((sampling.draw(generator, one.expand(1, 6, -1)).float() - to_uint8(goal)) ** 2).mean() for one in w[:32]]
    assert int(np.argmin(losses)) in np.argsort([float((best.w[0, 0] - one).norm()) for one in w[:32]])[:3]


def test_same_seed_same_result_alone_or_with_others(generator):
    both = torch.cat([target(generator, 5), target(generator, 6)])
    config = replace(SHORT, steps=10)
    one, again, two = (projection.project(generator, goal, config) for goal in (both[:1], both[:1], both))
    assert torch.equal(one.w, again.w)
    assert torch.allclose(one.w, two.w[:1], atol=1e-3)
    other = projection.project(generator, both[:1], replace(config, seed=1))
    assert not torch.allclose(one.w, other.w, atol=1e-3)


def test_optimised_noise_fits_better_and_stays_like_noise(generator):
    # a target with noise of its own, so that w alone cannot reach it
    w = sampling.w_of_seeds(generator, [5])
    with torch.no_grad():
        goal = generator.synthesis(w, noise=sampling.noise_of_seeds([5], generator))
    fixed = projection.project(generator, goal, SHORT)
    free, held = (
        projection.project(generator, goal, replace(SHORT, noise="optimized", noise_weight=weight))
        for weight in (0, 1e5)
    )
    assert free.loss < held.loss < fixed.loss
    assert [tuple(plane.shape) for plane in held.noise] == [(1, 1, r, r) for r in (4, 4, 8, 8, 16, 16)]
    for plane in held.noise:
        assert float(plane.mean()) == pytest.approx(0, abs=1e-5)
        assert float(plane.square().mean()) == pytest.approx(1, abs=1e-4)
    correlated = [float(sum(projection.autocorrelation(plane) for plane in p.noise)) for p in (free, held)]
    assert correlated[1] < correlated[0] / 10
    assert all(parameter.grad is None for parameter in generator.parameters())


def test_autocorrelation_is_the_mean_product_with_the_neighbors():
    plane = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = projection.autocorrelation(plane)
    for image, value in zip(plane[:, 0].double().numpy(), found.tolist(), strict=True):
        total = 0.0
        while len(image) >= 8:
            n = len(image)
            across = sum(image[y, x] * image[y, x - 1] for y in range(n) for x in range(n)) / n**2
            down = sum(image[y, x] * image[y - 1, x] for y in range(n) for x in range(n)) / n**2
            total += across**2 + down**2
            image = image.reshape(n // 2, 2, n // 2, 2).mean(axis=(1, 3)) * 2
        assert value == pytest.approx(total, rel=1e-4)
    smooth = torch.linspace(-1.7, 1.7, 16).expand(1, 1, 16, 16)
    assert projection.autocorrelation(smooth) > 20 * found.max()
    assert not projection.autocorrelation(torch.ones(1, 1, 4, 4))


def test_psnr():
    a = torch.full((2, 3, 4, 4), 100, dtype=torch.uint8)
    b = a.clone()
    b[1] += 10
    assert projection.psnr(a, b).tolist() == [float("inf"), pytest.approx(20 * np.log10(255 / 10))]


def test_a_traditional_generator_is_projected_onto_the_sphere_of_z():
    g = tiny_generator(16, use_styles=False, const_input=False, mapping_layers=0, use_noise=False)
    goal = target(g)
    found = projection.project(g, goal, SHORT)
    assert found.w.shape == (1, 1, 8)
    assert float(found.w.square().mean()) == pytest.approx(1, abs=1e-5)
    assert torch.allclose(g.mapping(found.w[:, 0]), found.w, atol=1e-5)  # it is a z
    assert found.loss < 0.02


def test_a_class_and_a_growing_network():
    g = tiny_generator(16, label_count=3)
    g.synthesis.grown = Growth(8, 0.0)
    with torch.no_grad():
        goal = g.synthesis(sampling.w_of_seeds(g, [1], torch.tensor([2])), noise="const")
    assert goal.shape[3] == 8
    of_class = projection.project(g, goal, replace(SHORT, steps=2), label=2)
    assert not torch.equal(of_class.w, projection.project(g, goal, replace(SHORT, steps=2)).w)
    with pytest.raises(InputError, match="class 3 is unknown; this model has 0 to 2"):
        projection.project(g, goal, SHORT, label=3)


def test_refusals(generator, monkeypatch, tmp_path):
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path))
    goal = target(generator)
    for wrong in (goal[:, :1], goal[:, :, :8, :8], goal[:0]):
        with pytest.raises(InputError, match=r"draws \[N, 3, 16, 16\]"):
            projection.project(generator, wrong, SHORT)
    with pytest.raises(InputError, match="knows no classes"):
        projection.project(generator, goal, SHORT, label=0)
    with pytest.raises(InputError, match="stylegan fetch lpips"):
        projection.project(generator, goal, replace(SHORT, distance="lpips"))
    assert projection.project(generator, goal, replace(SHORT, distance="auto", steps=1)).step == 1
    for bad in (
        {"steps": -1},
        {"start": "nearest"},
        {"learning_rate": 0.0},
        {"perturbation": -1.0},
        {"noise_weight": float("nan")},
    ):
        with pytest.raises(InputError):
            ProjectConfig(**bad)


def test_the_command(generator, tmp_path, capsys):
    model, out, video = tmp_path / "m.safetensors", tmp_path / "out", tmp_path / "way.gif"
    weights.save(model, weights.Model(generator))
    rng = np.random.RandomState(0)
    for name in ("a", "b"):
        Image.fromarray(rng.randint(0, 256, (40, 20, 3)).astype(np.uint8)).save(tmp_path / f"{name}.png")
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    options = ("--steps", "5", "--candidates", "8", "--noise", "optimised", "--distance", "none", "--device", "cpu")
    assert run("project", model, *files, *options, "--out", out, "--video", video) == 0
    assert capsys.readouterr().out.count(" dB") == 2
    assert {path.name for path in out.iterdir()} == {
        "a-target.png", "a-projected.png", "b-target.png", "b-projected.png", "comparison.png", "latents.safetensors",
    }  # fmt: skip
    with Image.open(video) as picture:
        assert picture.n_frames == 6 + 30
    with Image.open(out / "b-target.png") as picture:  # the middle square, box-filtered
        assert picture.size == (16, 16)
        pixels = from_uint8(torch.tensor(np.array(picture)).permute(2, 0, 1)[None])
    assert torch.equal(projection.read_image(files[1], generator), pixels)

    held = load_file(out / "latents.safetensors")
    assert held["w"].shape == (2, 6, 8) and held["noise5"].shape == (2, 1, 16, 16)
    planes = recipe.noise_of_file(out / "latents.safetensors", generator)
    drawn = sampling.draw(generator, held["w"], planes)
    with Image.open(out / "a-projected.png") as picture:
        assert np.abs(drawn[0].permute(1, 2, 0).numpy().astype(int) - np.array(picture)).max() <= 1
    with pytest.raises(InputError, match="another model"):
        recipe.noise_of_file(out / "latents.safetensors", tiny_generator(8))
    assert run("generate", model, "--latents", out / "latents.safetensors", "--out", tmp_path / "drawn") == 0

    (tmp_path / "text.png").write_text("no image")
    broken = tmp_path / "broken"
    assert "text.png" in refused(capsys, "project", model, tmp_path / "text.png", "--out", broken)
    assert "No such file" in refused(capsys, "project", model, tmp_path / "nowhere.png", "--out", broken)
    assert ".mp4 or .gif" in refused(capsys, "project", model, files[0], "--video", tmp_path / "v.txt", "--out", broken)
    assert "name an image file" in refused(capsys, "project", model, "--out", broken)
    assert not broken.exists()
