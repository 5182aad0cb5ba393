"""The explorer: what it computes, without a page."""

import io
import runpy
import shutil
import struct
import tomllib
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import tiny_generator, write_store
from PIL import Image

from stylegan import directions, finders, run_files, sampling, weights
from stylegan import recipe as recipes
from stylegan.data.pyramid import pyramid
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.explorer import picture, sheets, space, uploads
from stylegan.explorer.models import Shelf
from stylegan.explorer.picture import Explorer, Recipe
from stylegan.images import to_pil, to_uint8
from stylegan.recipe import draw, seeds_of
from stylegan.weights import Model

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Gradio looks for a free port

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HEADLESS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
HEADLESS += ["--disable-component-update", "--disable-sync"]
SEEN = Recipe(psi=0.7, cutoff=6)  # what the page of a 16 x 16 network begins with


def explorer_of(generator, store=None, **options) -> Explorer:
    find = finders.by_pca if generator.has_w else finders.by_sefa
    return Explorer("tiny", generator, find(generator, 3), None if store is None else open_store(store), **options)


@pytest.fixture(scope="module")
def explorer(store) -> Explorer:
    return explorer_of(tiny_generator(), store)


def drawn(generator, w, noise_seed=0) -> np.ndarray:
    with torch.no_grad():
        image = generator.synthesis(w, noise=sampling.noise_of_seeds([noise_seed], generator))
    return np.asarray(to_pil(to_uint8(image)[0]))


# --- what it computes


def test_a_recipe_is_followed_in_order(explorer):
    g, (coarse, _, fine) = explorer.generator, explorer.ranges.values()
    a, b = (g.truncate(sampling.w_of_seeds(g, [seed]), 0.5, 3) for seed in (4, 9))
    recipe = Recipe(
        seed=4, psi=0.5, cutoff=3, noise_seed=2, other_seed=9, mixed=(1.0, 0.0, 0.25), strengths=(0, 2.0, 0)
    )
    expected = a.clone()
    expected[:, coarse] = b[:, coarse]
    expected[:, fine] = 0.75 * a[:, fine] + 0.25 * b[:, fine]
    expected += 2 * explorer.directions.scales[1] * explorer.directions.vectors[1]
    assert torch.allclose(picture.w_of(explorer, recipe), expected, atol=1e-6)
    assert np.array_equal(picture.picture(explorer, recipe), drawn(g, picture.w_of(explorer, recipe), 2))

    some = picture.w_of(explorer, replace(recipe, edited=("middle",)))
    middle = explorer.ranges["middle"]
    assert torch.allclose(some[:, middle], expected[:, middle], atol=1e-6)
    assert torch.equal(some[:, fine], picture.w_of(explorer, replace(recipe, strengths=()))[:, fine])

    vectors = explorer.directions.vectors
    apart = picture.w_of(explorer, replace(recipe, held=("pca0",))) - picture.w_of(
        explorer, replace(recipe, strengths=())
    )
    assert (apart[0] @ vectors[0]).abs().max() < 1e-5 and (apart[0] @ vectors[1]).min() > 0.1

    found = torch.randn(1, 6, 8)  # is neither truncated nor of a seed
    assert torch.equal(picture.w_of(explorer, Recipe(psi=0.1, found=found)), found)
    text = picture.describe(explorer, recipe)
    assert text == "16 × 16 · seed 4 · ψ 0.5 · 100% coarse styles of seed 9 · 25% fine styles of seed 9 · pca1 +2"


def test_every_kind_of_generator(store):
    conditional = explorer_of(tiny_generator(label_count=3))
    assert not np.array_equal(*(picture.picture(conditional, Recipe(label=label)) for label in (0, 2)))
    assert np.array_equal(*(picture.picture(conditional, Recipe(label=label)) for label in (0, None)))
    with pytest.raises(InputError, match="choose one, from 0 to 2"):
        picture.picture(conditional, Recipe(label=3))
    options = {"use_styles": False, "const_input": False, "use_noise": False}
    traditional = explorer_of(tiny_generator(mapping_layers=0, **options))
    assert traditional.ranges == {}
    assert not np.array_equal(*(picture.picture(traditional, Recipe(strengths=(s, 0, 0))) for s in (0, 3)))
    with pytest.raises(InputError, match="no W to truncate in"):
        picture.picture(traditional, Recipe(psi=0.5))
    assert explorer_of(tiny_generator(4)).ranges == {}
    wide = explorer_of(tiny_generator(aspect=(4, 3), channels=1))
    assert picture.picture(wide, Recipe()).size == (16, 12)


@pytest.mark.parametrize("seed", [None, -1, 2**32])
def test_no_seed(seed):
    with pytest.raises(InputError, match="whole number"):
        Recipe(seed=seed)


def test_what_is_opened(tmp_path, store):
    weights.save(tmp_path / "tiny.safetensors", Model(tiny_generator()))
    opened = picture.open_explorer(tmp_path / "tiny.safetensors", data=store)
    assert opened.name == "tiny" and opened.store.count == 40 and opened.trunk is None
    assert opened.directions.method == "pca" and len(opened.directions.names) == 8
    directions.save(tmp_path / "two.safetensors", finders.by_sefa(opened.generator, 2))
    own = picture.open_explorer(tmp_path / "tiny.safetensors", directions_file=tmp_path / "two.safetensors")
    assert own.directions.names == ("sefa0", "sefa1")
    grey = write_store(tmp_path / "grey", channels=1)
    with pytest.raises(InputError, match="1 channels, the model draws 3"):
        picture.open_explorer(tmp_path / "tiny.safetensors", data=grey)


def test_models_of_one_name_stay_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("a/run", "b/run"):
        Path(folder).mkdir(parents=True)
        weights.save(run_files.claim(run_files.path_of(Path(folder), "model", 0)), Model(tiny_generator()))
    weights.save(Path("a/faces.safetensors"), Model(tiny_generator()))
    Path("portraits").mkdir()  # a folder of pictures, say
    shelf = Shelf(["a/run", "b/run", "portraits", "a/faces.safetensors", "faces"])
    paths = {entry.key: entry.path for entry in shelf.entries()}
    assert paths["run-0"].parent == Path("a/run") and paths["run-2-0"].parent == Path("b/run")
    assert paths["faces"] == Path("a/faces.safetensors") and paths["faces-2"] == weights.find("faces")
    assert paths["portraits"].parent == weights.PRETRAINED and shelf.first == "run-0"


def test_previews_have_the_colors_of_the_picture(explorer):
    """The ridge regression is numpy's; and a picture near by is previewed better than by its mean color."""
    slow = replace(explorer, trunk=picture.trunk(explorer.generator, 8))
    recipe, near = Recipe(psi=0.7), Recipe(psi=0.72)
    small = torch.nn.functional.avg_pool2d(picture.draw(slow, recipe).double() / 127.5 - 1, 2)[0].flatten(1).T
    features = picture._features(slow, recipe).detach().double().numpy()
    ridge = np.sqrt(1e-2 * np.square(features).sum(axis=0).mean()) * np.eye(features.shape[1])
    padded = np.concatenate([features, ridge]), np.concatenate([small.numpy(), np.zeros((len(ridge), 3))])
    colors = picture.colors_of(slow, recipe, picture.draw(slow, recipe))
    assert np.allclose(colors, np.linalg.lstsq(*padded, rcond=None)[0], atol=1e-5)

    image = np.asarray(picture.preview(slow, near, colors), float)
    truth = np.asarray(picture.picture(slow, near).reduce(2), float)
    assert image.shape == (8, 8, 3)
    assert np.abs(image - truth).mean() < 0.7 * np.abs(truth - truth.mean(axis=(0, 1))).mean()


@pytest.mark.parametrize("sum_rgb", [False, True])
def test_a_slow_network_gets_a_trunk(sum_rgb):
    generator = tiny_generator(32, sum_rgb=sum_rgb)
    assert picture.fast_resolution(generator, patience=60) == 32
    assert picture.fast_resolution(generator, patience=0) == 4
    trunk = picture.trunk(generator, 8)
    assert trunk.synthesis(trunk.w_avg.expand(1, 8, -1)).shape == (1, 8, 8, 8)
    assert isinstance(generator.synthesis.blocks["8"].to_rgb, type(generator.synthesis.blocks["4"].to_rgb))


def test_a_walk_passes_its_seeds(explorer):
    recipe = Recipe(seed=1, psi=0.5, noise_seed=0, strengths=(1.0, 0, 0))
    frames = [frame for frame, _ in picture.walk(explorer, recipe, [2, 3], "linear", 5)]
    for frame, seed in zip(frames[::2], (1, 2, 3), strict=True):
        assert np.array_equal(np.asarray(to_pil(frame)), picture.picture(explorer, replace(recipe, seed=seed)))
    with pytest.raises(InputError, match="1 to 4 seeds"):
        picture.walk(explorer, recipe, [1] * 5, "cubic", 5)
    assert seeds_of(" 3,4 5") == [3, 4, 5]
    for text in ("", "3-1", "x", "²"):
        with pytest.raises(InputError, match="seeds"):
            seeds_of(text)


@pytest.mark.parametrize("mirrored", [False, True])
def test_the_nearest_are_those_of_brute_force(tmp_path, explorer, mirrored):
    """Against float64; and an image that is in the store, mirrored or not, is found at distance 0."""
    recipe = Recipe(psi=0.7)
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (30, 16, 16, 3)).astype(np.uint8)
    own = np.asarray(picture.picture(explorer, recipe))
    images[17] = own[:, ::-1] if mirrored else own
    with StoreWriter(tmp_path / "store", 16, 3, made={}) as writer:
        for i, image in enumerate(images):
            writer.add(pyramid(image), f"{i}.png")
    found = sheets.nearest(replace(explorer, store=open_store(tmp_path / "store")), recipe, 5)
    both = (np.square(images.astype(float) - each).mean(axis=(1, 2, 3)) ** 0.5 for each in (own, own[:, ::-1]))
    truth = np.minimum(*both)
    assert [text for _, text in found] == [f"{i}: {truth[i]:.1f}" for i in np.argsort(truth)[:5]]
    assert found[0][1] == "17: 0.0" and np.array_equal(found[0][0], images[17])


def test_what_is_saved_draws_the_picture(tmp_path, explorer):
    recipe = Recipe(seed=3, psi=0.5, mixed=(1.0, 0, 0))
    image, latents = picture.save(explorer, recipe, tmp_path)
    with Image.open(image) as saved:
        assert np.array_equal(saved, picture.picture(explorer, recipe))
    w, _ = uploads.read_latent(explorer, latents, None)
    assert torch.equal(w, picture.w_of(explorer, recipe))
    again = draw(explorer.generator, recipes.Recipe(latents=Path(latents)))[0]
    assert np.array_equal(to_pil(again), picture.picture(explorer, recipe))
    np.save(tmp_path / "zs.z.npy", sampling.z_of_seeds([8, 9], 8).numpy())
    z, noise = uploads.read_latent(explorer, tmp_path / "zs.z.npy", None)
    assert noise == "const"
    assert torch.equal(z, sampling.w_of_seeds(explorer.generator, [8]))


def test_a_photograph_is_looked_for_from_the_models_encoder():
    explorer = picture.open_explorer(weights.find("faces"))
    w = explorer.generator.truncate(sampling.w_of_seeds(explorer.generator, [3]), 0.7)
    photograph = sampling.draw(explorer.generator, w, "const")
    (_, _, first), *_, (step, found, _) = uploads.find(explorer, photograph, None, "w+", 2)
    assert first > 20 and step == 2 and found.shape == w.shape
    (_, _, best), *_ = uploads.find(explorer, photograph, None, "w", 2)  # of 500 samples
    assert first > best


def test_uploads_that_cannot_be_used(tmp_path, explorer):
    for name, content, reason in (
        ("broken.png", BROKEN, "truncated"),
        ("text.jpg", b"no picture", "not an image of a known format"),
        ("huge.png", png_header(20_000, 20_000), "decompression bomb"),
        ("empty.png", b"", "empty"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"^{name} cannot be projected: {reason}"):
            uploads.read_photograph(explorer, tmp_path / name)
    (tmp_path / "x.npy").write_bytes(b"no numbers")
    with pytest.raises(InputError, match=r"^x\.npy cannot be read"):
        uploads.read_latent(explorer, tmp_path / "x.npy", None)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ending = struct.pack(">I", zlib.crc32(chunk)) + struct.pack(">I", 0) + b"IDAT"
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + ending


BROKEN = png(np.random.RandomState(0).randint(0, 256, (40, 40, 3)).astype(np.uint8))[:2000]


# --- a Space


def test_a_space_is_one_folder(tmp_path, monkeypatch):
    pytest.importorskip("gradio")
    extras = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    metadata = extras["dependencies"] + [
        f'{each}; extra == "{extra}"' for extra, needed in extras["optional-dependencies"].items() for each in needed
    ]
    monkeypatch.setattr(space.metadata, "requires", lambda _: metadata)
    weights.save(tmp_path / "tiny.safetensors", Model(tiny_generator(), weights.Provenance(licence="CC BY 4.0")))
    found = finders.by_sefa(tiny_generator(), 2)
    directions.save(tmp_path / "two.safetensors", found)
    folder = tmp_path / "new" / "space"
    space.write_space(folder, tmp_path / "tiny.safetensors", tmp_path / "two.safetensors")
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["README.md", "app.py", "directions.safetensors", "requirements.txt", "stylegan", "tiny.safetensors"]
    )
    needed = (folder / "requirements.txt").read_text().split()
    assert needed == extras["dependencies"] + ["imageio-ffmpeg>=0.5", "gradio>=6"]
    readme = (folder / "README.md").read_text()
    assert readme.startswith('---\ntitle: "tiny"\nsdk: gradio\n') and "- licence: CC BY 4.0" in readme
    opened = []
    monkeypatch.setattr(picture, "open_explorer", lambda *a, **k: opened.append((a, k)))
    monkeypatch.setattr("stylegan.explorer.page.serve", lambda explorer: SimpleNamespace(block_thread=lambda: None))
    monkeypatch.setattr("stylegan.explorer.page.wait", lambda blocks: None)
    runpy.run_path(str(folder / "app.py"))
    files = {"directions_file": folder / "directions.safetensors"}
    assert opened == [((folder / "tiny.safetensors",), files)]
    assert weights.load(folder / "tiny.safetensors").config.resolution == 16
    with pytest.raises(InputError, match="exists already"):
        space.write_space(folder, tmp_path / "tiny.safetensors")
    with pytest.raises(InputError, match="no model"):
        space.write_space(tmp_path / "other", tmp_path / "nothing")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "tiny.safetensors", "two.safetensors"]
