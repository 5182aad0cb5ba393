"""Editing directions against numpy's linear algebra, planes that are known, and pictures that must change."""

import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from safetensors.torch import load_file
from test_cli import refused, run

from stylegan import directions, finders, sampling, weights
from stylegan.classifiers.model import load_classifiers
from stylegan.errors import InputError
from stylegan.explorer.picture import open_explorer
from stylegan.metrics.metric import latents_and_logits
from stylegan.metrics.stream import Sampler


def unit(vector) -> np.ndarray:
    vector = np.asarray(vector, dtype=np.float64)
    return vector / np.linalg.norm(vector)


def some(count: int = 3, w_dim: int = 8) -> directions.Directions:
    vectors = torch.linalg.qr(torch.randn(w_dim, w_dim, generator=torch.Generator().manual_seed(1)))[0][:count]
    names = tuple(f"way{i}" for i in range(count))
    return directions.Directions(names, vectors, torch.arange(1.0, count + 1), torch.zeros(count), "pca", "tiny")


# --- applying


def test_edit_moves_the_chosen_layers_and_no_others():
    w, direction = torch.randn(2, 6, 8), torch.randn(8)
    assert torch.equal(directions.shift(w, direction, 0.0), w)
    assert torch.equal(directions.shift(w, direction, 0.0, [1, 2]), w)
    assert torch.allclose(directions.shift(w, direction, 2.0) - w, 2 * direction.expand(2, 6, 8), atol=1e-6)
    before = w.clone()
    for layers in (slice(1, 3), [1, 2], range(1, 3)):
        moved = directions.shift(w, direction, -1.5, layers)
        assert torch.equal(moved[:, [0, 3, 4, 5]], w[:, [0, 3, 4, 5]])
        assert torch.allclose(moved[:, 1:3] - w[:, 1:3], -1.5 * direction.expand(2, 2, 8), atol=1e-6)
    each = directions.shift(w, direction, torch.tensor([1.0, 3.0])[:, None, None])
    assert torch.equal(each[1], directions.shift(w, direction, 3.0)[1])
    assert torch.equal(w, before)


def test_orthogonalized_leaves_the_others_scores_alone():
    draw = torch.Generator().manual_seed(2)
    vector, others = torch.randn(16, generator=draw), torch.randn(4, 16, generator=draw)
    others[3] = others[0] + 1e-3 * torch.randn(16, generator=draw)  # hard to tell apart
    found = directions.orthogonalized(vector.double(), others.double())
    assert (others.double() @ found).abs().max() < 1e-12 and found.norm() == pytest.approx(1, abs=1e-12)
    basis, _ = np.linalg.qr(others.double().numpy().T)
    expected = vector.double().numpy() - basis @ (basis.T @ vector.double().numpy())
    assert found.numpy() == pytest.approx(unit(expected), abs=1e-9)
    one = directions.orthogonalized(vector, others[:1])  # InterFaceGAN's n1 - (n1 . n2) n2
    n1, n2 = unit(vector), unit(others[0])
    assert one.numpy() == pytest.approx(unit(n1 - (n1 @ n2) * n2), abs=1e-6)
    with pytest.raises(InputError, match="hold fewer"):
        directions.orthogonalized(others[0] + others[1], others[:2])


def test_a_step_is_one_deviation_and_may_hold_others():
    ways = some()
    assert torch.allclose(ways.step("way1"), 2 * ways.vectors[1])
    bent = replace(ways, vectors=torch.stack([ways.vectors[0], (ways.vectors[0] + ways.vectors[1]) / 2**0.5]))
    assert torch.allclose(bent.step("way1", hold=["way0"]), 2 * ways.vectors[1], atol=1e-6)
    with pytest.raises(InputError, match="no direction hat; the file has way0, way1"):
        ways.step("hat")


# --- finding


def test_pca_is_that_of_numpy():
    g = tiny_generator()
    found = finders.by_pca(g, 3, count=2000)
    w = sampling.sample_w(g, 2000).double().numpy()
    assert w.shape == (2000, 8)
    truth = np.linalg.svd(w - w.mean(axis=0), full_matrices=False)[2][:3]
    assert np.abs((found.vectors.numpy() * truth).sum(axis=1)) == pytest.approx(1, abs=1e-6)
    assert all(row[np.abs(row).argmax()] > 0 for row in found.vectors.numpy())
    more = sampling.sample_w(g).double().numpy()
    assert found.scales.numpy() == pytest.approx((more @ found.vectors.numpy().T).std(axis=0, ddof=1), rel=1e-5)
    assert (np.diff(found.scales) < 0).all() and found.names == ("pca0", "pca1", "pca2")
    assert (more @ found.vectors.numpy().T).mean(axis=0) + found.offsets.numpy() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("layers", [None, [1, 4]])
def test_sefa_is_that_of_numpy_and_changes_styles_most(layers):
    g = tiny_generator()
    found = finders.by_sefa(g, 8, layers)

    def styles(w):  # the affine maps themselves, not their matrices
        epilogues = [e for block in g.synthesis.blocks.values() for e in (block.layer0, block.layer1)]
        return torch.cat([torch.cat(epilogues[i].style(w), dim=1) for i in layers or range(6)], dim=1)

    with torch.no_grad():
        a = (styles(torch.eye(8)) - styles(torch.zeros(1, 8))).T.double().numpy()
    _, singular, truth = np.linalg.svd(a)
    assert np.abs((found.vectors.numpy() * truth).sum(axis=1)) == pytest.approx(1, abs=1e-4)
    assert np.linalg.norm(a @ found.vectors.numpy().T, axis=0) == pytest.approx(singular, rel=1e-4)
    assert found.layers == tuple(layers or ())
    with pytest.raises(InputError, match="has 0 to 5"):
        finders.by_sefa(g, 2, [6])
    with pytest.raises(InputError, match="1 to 8"):
        finders.by_sefa(g, 9)


def test_sefa_of_a_traditional_generator_is_that_of_its_input_layer():
    g = tiny_generator(use_styles=False, const_input=False)
    a = (g.synthesis.blocks["4"].dense.weight * g.synthesis.blocks["4"].dense.scale).detach().double().numpy()
    truth = np.linalg.svd(a)[2][0]
    assert abs(finders.by_sefa(g, 1).vectors[0].numpy() @ truth) == pytest.approx(1, abs=1e-5)
    plain = tiny_generator(use_styles=False, const_input=False, mapping_layers=0)
    with pytest.raises(InputError, match="no W"):
        finders.by_pca(plain)
    assert finders.by_sefa(plain, 1).vectors.shape == (1, 8)


def test_labels_give_the_normal_of_their_plane():
    g = tiny_generator()
    w = sampling.sample_w(g, 3000).double()
    white = (w - w.mean(dim=0)) / w.std(dim=0)
    truth = unit(torch.linspace(-1, 1, 8))
    above = (white @ torch.from_numpy(truth) > 0.3).double()
    known = above.clone()
    known[::3] = float("nan")
    found = finders.by_labels(g, white[:, None].expand(-1, 6, -1).float(), {"up": above, "some": known})
    assert found.names == ("up", "some")
    assert found.vectors.numpy() @ truth == pytest.approx(1, abs=0.01)
    assert found.offsets.numpy() == pytest.approx(-0.3, abs=0.05)
    with pytest.raises(InputError, match="labels of never"):
        finders.by_labels(g, white.float(), {"never": torch.zeros(3000)})


class Brightness(torch.nn.Module):
    """A classifier of images: lighter than `threshold`; and one that says yes to all."""

    names, channels = ("light", "all"), 3
    threshold = 0.0

    def check(self, config):
        pass

    def forward(self, images):
        light = images.mean(dim=(1, 2, 3)) - self.threshold
        return torch.stack([light, light.abs() + 1], dim=1)


def test_svm_of_a_classifier():
    g, judge = tiny_generator(8), Brightness()
    numbers = [np.arange(i, i + 50) for i in range(0, 400, 50)]
    judge.threshold = float(latents_and_logits(Sampler(g), judge, numbers, 400)[2][:, 0].median())
    found = finders.by_svm(g, judge, count=400, progress=False)
    assert found.names == ("light",)  # all images have the other: no plane
    effect = directions.judged(g, found, judge, sampling.w_of_seeds(g, range(20)), (-2, 0, 2)).mean(dim=2)
    assert effect.shape == (1, 3, 2)
    assert effect[0, 0, 0] < effect[0, 1, 0] < effect[0, 2, 0]
    judge.threshold = -10.0
    with pytest.raises(InputError, match="no hyperplane"):
        finders.by_svm(g, judge, count=50, progress=False)


def test_directions_of_the_portraits_do_what_they_are_called():
    """Found on few samples of the bundled model; dark_background is judged by the pixels, the others by the classifiers
    on other samples. benchmarks/directions.py does it in full, with a judge of its own.
    """
    g, judge = weights.load("portraits-32"), load_classifiers("portraits-32")
    found = finders.by_svm(g, judge, count=1500, batch=50, progress=False)
    chosen = ("lipstick", "glasses", "hat", "long_hair", "dark_hair", "dark_skin", "dark_background", "dark_clothes")
    index = [found.index(name) for name in chosen]
    few = replace(found, names=chosen, **{k: getattr(found, k)[index] for k in ("vectors", "scales", "offsets")})
    w = g.truncate(sampling.w_of_seeds(g, range(40)), 0.7)
    effect = directions.judged(g, few, judge, w, (-2, 0, 2)).mean(dim=2)
    rising = [(effect[i, :, judge.names.index(name)].diff() > 0).all() for i, name in enumerate(chosen)]
    assert sum(rising) >= 7

    def corners(strength):
        moved = directions.shift(w, few.step("dark_background"), strength)
        return sampling.draw(g, moved)[:, :, :4, :4].float().mean()

    assert corners(-2) > corners(0) + 5 > corners(2) + 10


# --- files


def test_file_round_trip_and_refusals(tmp_path):
    g, file = tiny_generator(), tmp_path / "d.safetensors"
    ways = replace(some(), layers=(0, 1))
    directions.save(file, ways)
    back = directions.load(file, g)
    for name in ("vectors", "scales", "offsets"):
        assert torch.equal(getattr(back, name), getattr(ways, name))
    assert (back.names, back.method, back.model, back.layers) == (ways.names, "pca", "tiny", (0, 1))
    with pytest.raises(InputError, match="w of 8 numbers"):
        directions.load(file, tiny_generator(w_dim=4))
    with pytest.raises(InputError, match="2 layers"):
        directions.save(file, replace(ways, layers=(5,)))
        directions.load(file, tiny_generator(4))
    weights.save(file, weights.Model(g))
    with pytest.raises(InputError, match="not a file of directions"):
        directions.load(file)
    file.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a file of directions"):
        directions.load(file)
    with pytest.raises(InputError, match="there is no file"):
        directions.load(tmp_path / "nowhere")


def test_directions_of_another_model_are_refused(tmp_path):
    g, file = tiny_generator(), tmp_path / "d.safetensors"
    found = finders.by_sefa(g, 2)
    directions.save(file, replace(found, model="tiny"))
    assert directions.load(file, g).fingerprint == weights.fingerprint(g)
    other = tiny_generator()
    with torch.no_grad():
        other.mapping.layers[0].bias[0] += 1
    with pytest.raises(InputError, match=rf"found in tiny.*{weights.fingerprint(g)}.*{weights.fingerprint(other)}"):
        directions.load(file, other)
    assert directions.load(file).names == found.names
    directions.save(file, replace(found, fingerprint=""))  # as older files
    assert directions.load(file, other).names == found.names


def test_boundaries_of_others(tmp_path):
    g = tiny_generator()
    np.save(tmp_path / "smile.npy", np.arange(8.0)[None])
    np.save(tmp_path / "two.npy", np.eye(8)[:2].astype(np.float32))
    found = finders.by_import(g, [tmp_path / "smile.npy", tmp_path / "two.npy"])
    assert found.names == ("smile", "two0", "two1")
    assert found.vectors[0].numpy() == pytest.approx(unit(np.arange(8)), abs=1e-6)
    for bad in (np.zeros((1, 8)), np.ones((1, 9)), np.ones((2, 2, 8)), np.array(["x"] * 8)):
        np.save(tmp_path / "bad.npy", bad)
        with pytest.raises(InputError, match=r"bad\.npy"):
            finders.by_import(g, [tmp_path / "bad.npy"])


def test_csv_of_labels(tmp_path):
    file = tmp_path / "labels.csv"
    file.write_text("seed, hat,old\n3,1,\n\n4,0,-1\n9,1,1\n")
    kind, seeds, labels = finders.read_labels(file)
    assert (kind, seeds) == ("seed", [3, 4, 9])
    assert labels["hat"].tolist() == [1, 0, 1] and labels["old"].isnan().tolist() == [True, False, False]
    for text in ("", "\n", "seed\n1\n", "image,hat\n1,1\n", "seed,hat\n", "seed,hat,hat\n1,1,1\n"):
        file.write_text(text)
        with pytest.raises(InputError, match="begin with a line"):
            finders.read_labels(file)
    for text in ("seed,hat\n1,2\n", "seed,hat\n-1,1\n", "seed,hat\n1\n"):
        file.write_text(text)
        with pytest.raises(InputError, match="line 2"):
            finders.read_labels(file)


# --- the commands


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save(path, weights.Model(tiny_generator()))
    return path


def test_from_finding_to_editing(model, tmp_path, capsys):
    file, strip, out = tmp_path / "d.safetensors", tmp_path / "strip.png", tmp_path / "out"
    assert run("directions", "find", model, file, "--method", "pca", "--components", "2", "--count", "500") == 0
    assert "pca0, pca1" in capsys.readouterr().out
    assert run("directions", "show", model, file, "--out", strip, "--seeds", "0,1", "--strengths", "-2", "0", "2") == 0
    with Image.open(strip) as picture:
        assert picture.width > 3 * 80 and picture.height > 4 * 80
    assert run("edit", model, file, "pca0=2", "pca1=-1", "--seeds", "0-2", "--hold", "pca1", "--out", out) == 2
    assert run("edit", model, file, "pca0=2", "--seeds", "0-2", "--hold", "pca1", "--layers", "0-3", "--out", out) == 0
    assert {path.name for path in out.iterdir()} == {
        "edited0000.png", "edited0001.png", "edited0002.png", "comparison.png", "latents.safetensors",
    }  # fmt: skip
    g, found = weights.load(model), directions.load(file)
    w = g.truncate(sampling.w_of_seeds(g, range(3)), 0.7)
    edited = load_file(out / "latents.safetensors")["w"]
    assert torch.allclose(edited, directions.shift(w, found.step("pca0", ["pca1"]), 2, range(4)), atol=1e-5)

    labels = tmp_path / "labels.csv"
    labels.write_text("row,odd\n0,1\n1,0\n2,1\n")
    options = ("--method", "labels", "--labels", labels, "--latents", out / "latents.safetensors")
    assert run("directions", "find", model, file, *options) == 0
    assert directions.load(file).names == ("odd",)
    again = tmp_path / "again"
    assert run("edit", model, file, "odd=0", "--latents", out / "latents.safetensors", "--out", again) == 0
    assert torch.equal(load_file(again / "latents.safetensors")["w"], edited)


def test_refusals_of_the_commands(model, tmp_path, capsys):
    file = tmp_path / "d.safetensors"
    directions.save(file, some())
    for arguments, part in [
        (("directions", "find", model, tmp_path / "no" / "d.safetensors"), "no folder"),
        (("directions", "find", model, file, "--method", "svm"), "no classifiers"),
        (("directions", "find", model, file, "--method", "labels"), "--labels FILE"),
        (("directions", "find", model, file, "--method", "import"), "--boundaries"),
        (("directions", "find", model, file, "--method", "pca", "--components", "0"), "components is 0"),
        (("directions", "find", model, file, "--method", "sefa", "--layers", "4-6"), "0 to 5"),
        (("directions", "find", model, file, "--method", "sefa", "--count", "10"), "sefa takes no --count"),
        (("directions", "find", model, file, "--method", "pca", "--seed", "-1"), "seed is -1"),
        (("directions", "show", model, file, "--strengths"), "strengths are"),
        (("directions", "show", model, file, "--strengths", "nan"), "strengths are"),
        (("directions", "show", model, file, "--names", "hat"), "there is no direction hat"),
        (("directions", "show", model, model), "not a file of directions"),
        (("edit", model, file, "way0"), "smiling=2"),
        (("edit", model, file, "way0=nan"), "smiling=2"),
        (("edit", model, file, "hat=1"), "there is no direction hat"),
        (("edit", model, file, "way0=1", "--layers", "x"), "no layers"),
        (("edit", model, file, "way0=1", "--class", "1"), "no classes"),
    ]:
        assert part in refused(capsys, *arguments)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.safetensors"]


@pytest.mark.parametrize("method", ["svm", "labels"])
def test_what_is_missing_is_said_before_the_work(monkeypatch, method, tmp_path):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setattr(finders, "latents_and_logits", None)
    with pytest.raises(InputError, match=r"stylegan\[metrics\]"):
        finders.find_directions(
            "portraits-32", finders.FindConfig(method, labels=tmp_path if method == "labels" else None)
        )


def test_a_folder_of_the_name_of_a_bundled_model_hides_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "portraits").mkdir()  # of pictures, say
    assert (
        directions.load("portraits").names
        == directions.load(weights.PRETRAINED / "portraits-directions.safetensors").names
    )
    assert run("info", "portraits") == 0 and "kind             model" in capsys.readouterr().out
    assert run("evaluate", "portraits", "--metrics", "ppl_wend", "--count", "2", "--distance", "mobilenet-v2") == 0
    assert (tmp_path / "metrics.jsonl").exists() and not (weights.PRETRAINED / "metrics.jsonl").exists()
    (tmp_path / "portraits" / "run.json").touch()
    assert "is a run without a model so far" in refused(capsys, "generate", "portraits")


def test_a_bundled_model_brings_its_directions():
    """By its name, for the program and the explorer alike; a smaller one's classifiers judge its samples."""
    generator = weights.load("portraits")
    found = directions.load("portraits", generator)
    assert directions.default_of("portraits") == "portraits" and directions.default_of("portraits-32") is None
    judge = load_classifiers("portraits")
    assert found.names == tuple(judge.names) and judge.resolution < generator.config.resolution
    assert open_explorer(weights.find("portraits")).directions.names == found.names  # as the page opens models
    with pytest.raises(InputError, match="find its own"):
        directions.load("portraits", weights.load("faces"))
