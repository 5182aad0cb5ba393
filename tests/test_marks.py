"""Pictures say how they were made, and are drawn again by it; their pixels are what they were without."""

import json
import re
import struct
import zlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image

from stylegan import cli, directions, images, marks, recipe, sampling, videos, weights
from stylegan.describe import describe
from stylegan.errors import InputError
from stylegan.explorer import picture
from stylegan.networks.generator import Growth
from stylegan.recipe import Recipe


def run(*words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(map(str, words)))
    return stopped.value.code or 0


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    weights.save(path, weights.Model(tiny_generator()))
    return path


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def chunks(path):
    """The chunks of a PNG file, kind by kind, their checksums compared."""
    content, at = Path(path).read_bytes(), 8
    while at < len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        yield kind, body
        at += 12 + length


def test_png_bytes(tmp_path):
    image = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    made = {"seed": 5, "words": 'ä "quoted" \0', "model": "0123"}
    images.save_image(image, tmp_path / "plain.png")
    images.save_image(image, tmp_path / "marked.png", made=made)
    assert marks.read(tmp_path / "marked.png") == made
    plain, marked = list(chunks(tmp_path / "plain.png")), list(chunks(tmp_path / "marked.png"))
    assert [chunk for chunk in marked if chunk[0] not in (b"tEXt", b"iTXt")] == plain  # nothing else differs
    texts = [body for kind, body in marked if kind == b"iTXt"]
    assert json.loads(texts[0].removeprefix(b"stylegan-made\0\0\0\0\0")) == made
    key, packet = texts[1].split(b"\0\0\0\0\0")
    assert key == b"XML:com.adobe.xmp" and marks.GENERATED.encode() in packet
    with pytest.raises(InputError, match="does not say how it was made"):
        marks.read(tmp_path / "plain.png")


def test_damaged_and_hostile_marks(tmp_path):
    images.save_image(torch.zeros(3, 8, 8), tmp_path / "p.png", made={"seed": 5})
    content = (tmp_path / "p.png").read_bytes()
    bomb = marks.KEY.encode() + b"\0\1\0\0\0" + zlib.compress(bytes(marks.LONGEST + 1))
    cases = {
        "cut.png": content[:60],
        "json.png": content.replace(b'{"seed":5}', b'{"seed":5 '),
        "list.png": content.replace(b'{"seed":5}', b"[    12345"),
        "bomb.png": content[:8] + struct.pack(">I4s", len(bomb), b"iTXt") + bomb + bytes(4),
        "box.mp4": b"\0\0\0\x08ftyp\0\0\0\x04uuid",
        "empty.gif": b"GIF89a",
        "text.png": b"nothing",
    }
    for name, damaged in cases.items():
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(InputError, match=name):
            marks.read(tmp_path / name)
    with pytest.raises(InputError, match="there is no file"):
        marks.read(tmp_path / "none.png")


def test_generated_pictures_are_drawn_again(tmp_path, model):
    options = ["--seeds", "3-8", "--psi", "0.6", "--cutoff", "3", "--batch", "4", "--device", "cpu"]
    assert run("generate", model, *options, "--out", tmp_path / "a") == 0
    assert run("generate", model, *options, "--out", tmp_path / "plain", "--no-metadata") == 0
    for name in ("seed0003.png", "seed0008.png"):
        assert (pixels(tmp_path / "a" / name) == pixels(tmp_path / "plain" / name)).all()
        again = ["--like", tmp_path / "a" / name, "--out", tmp_path / "again", "--device", "cpu"]
        assert run("generate", model, *again) == 0
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
        with pytest.raises(InputError, match="does not say"):
            marks.read(tmp_path / "plain" / name)
    told = describe(tmp_path / "a/seed0008.png")
    assert told["seed"] == 8 and told["psi"] == 0.6 and told["cutoff"] == 3 and told["noise"] == "random"
    assert told["model"] == weights.fingerprint(weights.load(model)) and told["program"].startswith("stylegan ")
    assert marks.read(tmp_path / "a/grid.png")["seeds"] == [3, 4, 5, 6, 7, 8]


@pytest.mark.parametrize(
    "drawn",
    [
        Recipe(range(3), label=1),
        Recipe(range(3)),
        Recipe(range(3), mix=2, noise_seed=9),
        Recipe(range(3), noise="const", psi=-1.5, cutoff=99),
        Recipe(range(3), noise="none"),
    ],
    ids=["class", "classes in turn", "mixed", "const", "no noise"],
)
def test_every_kind_of_recipe(tmp_path, drawn):
    generator = tiny_generator(label_count=2)
    recipe.write_images(generator, drawn, tmp_path)
    for i in range(3):
        path = tmp_path / f"seed{i:04d}.png"
        again = recipe.draw_again(generator, marks.read(path), path)
        assert (np.asarray(images.to_pil(again)) == pixels(path)).all()
    assert any((pixels(a) != pixels(b)).any() for a, b in pairwise(sorted(tmp_path.glob("seed*"))))


@pytest.mark.parametrize("kind", ["z", "w"])
def test_latents_are_kept_as_w(tmp_path, kind):
    generator = tiny_generator()
    z = sampling.z_of_seeds([4, 5], 8)
    latents = z if kind == "z" else generator.mapping(z).detach()
    recipe.write_images(generator, Recipe(latents=latents, psi=0.5), tmp_path)
    for i in range(2):
        made = marks.read(tmp_path / f"{i:04d}.png")
        assert made["latent"] == i and made["w"]["shape"] == [6, 8]
        again = recipe.draw_again(generator, made)
        assert (np.asarray(images.to_pil(again)) == pixels(tmp_path / f"{i:04d}.png")).all()


def test_edited_pictures(tmp_path, model):
    found = directions.Directions(("up",), torch.full((1, 8), 8**-0.5), torch.ones(1), torch.zeros(1), "pca")
    directions.save(tmp_path / "d.safetensors", found)
    words = ["edit", model, tmp_path / "d.safetensors", "up=2", "--seeds", "0-2", "--out", tmp_path / "e"]
    assert run(*words, "--device", "cpu") == 0
    made = marks.read(tmp_path / "e/edited0001.png")
    assert made["seed"] == 1 and made["edits"] == {"up": 2.0} and describe(tmp_path / "e/edited0001.png")["seed"] == 1
    again = recipe.draw_again(weights.load(model), made)
    assert (np.asarray(images.to_pil(again)) == pixels(tmp_path / "e/edited0001.png")).all()


def test_what_cannot_be_drawn_again(tmp_path, model, capsys):
    generator = weights.load(model)
    recipe.write_images(generator, Recipe([1, 2]), tmp_path)
    other = tmp_path / "other.safetensors"
    weights.save(other, weights.Model(tiny_generator(w_dim=4)))
    made = marks.read(tmp_path / "seed0001.png")
    out = ("--out", tmp_path / "out", "--device", "cpu")
    assert run("generate", other, "--like", tmp_path / "seed0001.png", *out) == 2
    assert "of another model" in capsys.readouterr().err
    assert run("generate", model, "--like", tmp_path / "seed0001.png", "--psi", "0.5", *out) == 2
    assert "leave out" in capsys.readouterr().err
    assert run("generate", model, "--like", tmp_path / "grid.png", *out) == 2
    assert "several images" in capsys.readouterr().err
    moved = tmp_path / "moved.safetensors"
    for change in (
        lambda g: g.w_avg.add_(1),
        lambda g: g.synthesis.noise3.mul_(2),
        lambda g: setattr(g.synthesis, "grown", Growth(8)),
    ):
        changed = tiny_generator()
        change(changed)
        weights.save(moved, weights.Model(changed))
        assert run("generate", moved, "--like", tmp_path / "seed0001.png", *out) == 2
        assert "average of w" in capsys.readouterr().err
    assert run("generate", model, "--like", tmp_path / "seed0001.png", "--frame", 1, *out) == 2
    assert "no video" in capsys.readouterr().err
    assert run("generate", model, "--frame", 1, *out) == 2
    assert not (tmp_path / "out").exists()
    for change in ({"noise": "loud"}, {"batch": [2, 5]}, {"psi": "much"}, {"psi": float("nan")}, {"seed": -1}):
        with pytest.raises(InputError):
            recipe.draw_again(generator, made | change)
    for w in (3, {"shape": [6, 8], "float32": "????"}, {"shape": [6, 9], "float32": ""}):
        with pytest.raises(InputError, match="damaged"):
            recipe.draw_again(generator, made | {"w": w})
    with pytest.raises(InputError, match="noise planes of its own"):
        recipe.draw_again(generator, made | {"noise": "planes"})


@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_films(tmp_path, ending):
    pytest.importorskip("imageio_ffmpeg")
    made = {"video": "interpolation", "seeds": list(range(100))}  # longer than one block of a GIF file
    frames = [(torch.full((3, 16, 16), 40 * i, dtype=torch.uint8), "") for i in range(3)]
    videos.write(tmp_path / f"plain{ending}", frames)
    videos.write(tmp_path / f"made{ending}", frames, made=made)
    assert marks.read(tmp_path / f"made{ending}") == made and describe(tmp_path / f"made{ending}")["video"]
    plain, marked = ((tmp_path / f"{name}{ending}").read_bytes() for name in ("plain", "made"))
    assert marked.startswith(plain.removesuffix(b";")) and len(marked) > len(plain)  # what was there is untouched
    with pytest.raises(InputError, match="does not say"):
        marks.read(tmp_path / f"plain{ending}")
    if ending == ".gif":
        with Image.open(tmp_path / "made.gif") as film:
            assert film.n_frames == 3
    else:
        import imageio_ffmpeg

        assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "made.mp4"))[0] == 3
        assert marks.GENERATED.encode() in marked


FRAMES = [0, 3, 11]


@pytest.mark.parametrize(
    "words",
    [
        [
            "interpolation",
            "--seeds",
            "3-6",
            "--psi",
            "0.6",
            "--grid",
            "2",
            "1",
            "--path",
            "spherical",
            "--noise",
            "const",
        ],
        ["interpolation", "--noise-seed", "4", "--grid", "2", "1"],
        ["style-mixing", "--grid", "2", "2", "--styles", "fine", "--destinations", "7,8", "--enlarge", "3"],
        ["truncation", "--seeds", "1,2"],
        ["noise", "--seeds", "1"],
        ["paper", "--psi", "0.8"],
    ],
    ids=lambda words: words[0],
)
def test_frames_are_drawn_again(tmp_path, model, monkeypatch, words):
    """As they are handed to the encoder, which changes them; and again from the frame itself."""
    pytest.importorskip("imageio_ffmpeg")
    seen = []
    true = videos.picture_of
    monkeypatch.setattr(videos, "picture_of", lambda *some: seen.append(true(*some)) or seen[-1])
    film = tmp_path / "f.mp4"
    options = ["--seconds", "1", "--fps", "12", "--device", "cpu"]
    assert run("video", words[0], model, film, *words[1:], *options) == 0
    assert len(seen) == 12
    monkeypatch.undo()
    for number in FRAMES:
        again = ["generate", model, "--like", film, "--frame", number, "--out", tmp_path / "a", "--device", "cpu"]
        assert run(*again) == 0
        drawn = tmp_path / f"a/f-{number:06d}.png"
        assert (pixels(drawn) == np.asarray(seen[number])).all()
    assert run("generate", model, "--like", drawn, "--out", tmp_path / "b", "--device", "cpu") == 0
    assert (tmp_path / "b" / drawn.name).read_bytes() == drawn.read_bytes()
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in pairwise(seen))


def test_what_frames_need(tmp_path, model, capsys):
    pytest.importorskip("imageio_ffmpeg")
    film, again = tmp_path / "f.mp4", ["--out", tmp_path / "out", "--device", "cpu"]
    made = {"video": "truncation", "given": {"seeds": [1]}, "options": {"seconds": 0.1}}
    made |= recipe.record_of_sheet(Recipe([1]), weights.load(model))
    frame = (torch.zeros(3, 16, 16, dtype=torch.uint8), "")
    for change, extra, reason in (
        ({}, [], "say which frame"),
        ({}, ["--frame", "3"], "^stylegan: this video has frames 0 to 2"),
        ({"options": {"seconds": "much"}}, ["--frame", "0"], "damaged"),
        ({"options": {"data": "/etc"}}, ["--frame", "0"], "damaged"),
        ({"given": {"latents": "x.npy"}}, ["--frame", "0"], "damaged"),
        ({"given": None}, ["--frame", "0"], "does not keep"),
        ({"psi": 0.3}, ["--frame", "0"], "another truncation"),
        ({"video": "dream"}, ["--frame", "0"], "there is no video dream"),
    ):
        videos.write(film, [frame], made=made | change)
        assert run("generate", model, "--like", film, *extra, *again) == 2
        assert re.search(reason, capsys.readouterr().err), reason
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["uncurated"],
        ["style-mixing", "--destinations", "3-6", "--seeds", "1,2"],
        ["truncation", "--seeds", "1,2", "--psis", "1", "0"],
    ],
    ids=lambda words: words[0],
)
def test_figures_are_drawn_again(tmp_path, model, words):
    """Every cell, that is: the whole picture, and the file."""
    pytest.importorskip("matplotlib")
    assert run("figure", words[0], model, *words[1:], "--out", tmp_path / "f.png", "--device", "cpu") == 0
    assert run("generate", model, "--like", tmp_path / "f.png", "--out", tmp_path / "b", "--device", "cpu") == 0
    assert (pixels(tmp_path / "b/f.png") == pixels(tmp_path / "f.png")).all()
    assert marks.read(tmp_path / "b/f.png") == marks.read(tmp_path / "f.png")


def test_other_pictures_say_it_too(tmp_path, model):
    """Sheets of directions, comparisons, projections, and what the explorer saves, which is drawn again."""
    found = directions.Directions(("up",), torch.full((1, 8), 8**-0.5), torch.ones(1), torch.zeros(1), "pca")
    directions.save(tmp_path / "d.safetensors", found)
    shown = ["directions", "show", model, tmp_path / "d.safetensors", "--out", tmp_path / "s.png", "--device", "cpu"]
    assert run(*shown) == 0 and marks.read(tmp_path / "s.png")["directions"] == "d.safetensors"
    images.save_image(torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8), tmp_path / "photo.png")
    project = ["project", model, tmp_path / "photo.png", "--steps", "2", "--out", tmp_path / "p", "--device", "cpu"]
    assert run(*project) == 0
    assert marks.read(tmp_path / "p/photo-projected.png")["projected"] and marks.read(tmp_path / "p/comparison.png")
    with pytest.raises(InputError, match="does not say"):
        marks.read(tmp_path / "p/photo-target.png")  # which no model made
    explorer = picture.open_explorer(model)
    for chosen in (picture.Recipe(seed=3, psi=0.5, mixed=(1.0, 0, 0)), picture.Recipe(seed=4, noise="const")):
        saved, _ = picture.save(explorer, chosen, tmp_path)
        again = recipe.draw_again(explorer.generator, marks.read(saved))
        assert (np.asarray(images.to_pil(again)) == pixels(saved)).all()


def test_figures(tmp_path, model):
    assert run("figure", "truncation", model, "--seeds", "1,2", "--out", tmp_path / "t.png", "--device", "cpu") == 0
    made = marks.read(tmp_path / "t.png")
    assert made["figure"] == "truncation" and made["seeds"] == [1, 2]


def test_figures_with_text(tmp_path):
    pytest.importorskip("matplotlib")
    from stylegan.figures import noise_layers, save_figure

    figure = noise_layers(tiny_generator(), Recipe([1]))
    save_figure(figure, tmp_path / "f.png", made={"figure": "noise-layers"})
    save_figure(figure, tmp_path / "f.pdf", made={"figure": "noise-layers"})
    assert marks.read(tmp_path / "f.png") == {"figure": "noise-layers"}
    assert b"noise-layers" in (tmp_path / "f.pdf").read_bytes()
