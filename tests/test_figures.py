"""The paper's figures: each shows what it says, as drawn independently."""

import json
import sys

import numpy as np
import pytest
import torch
from conftest import tiny_discriminator, tiny_generator, write_store
from PIL import Image

from stylegan import figures, plots, sampling
from stylegan.classifiers.model import AttributeClassifiers, save_classifiers
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.images import enlarge, to_uint8
from stylegan.recipe import Recipe, batches

TRADITIONAL = {"use_styles": False, "const_input": False, "use_noise": False, "mapping_layers": 0}


def cells(figure, rows: int, columns: int) -> np.ndarray:
    """The images of a labeled table: int [rows, columns, 16, 16, 3], at their own size."""
    (picture,) = figure.axes[0].images
    pixels = np.asarray(picture.get_array()).astype(int)
    left, right, bottom, top = picture.get_extent()
    factor = pixels.shape[1] // int(right - left)
    assert (pixels.shape[0], factor) == ((bottom - top) * factor, pixels.shape[1] / (right - left))
    small = pixels[::factor, ::factor]
    assert (np.kron(small, np.ones((factor, factor, 1), int)) == pixels).all()  # every pixel is a whole square
    starts = [i * 17 for i in range(max(rows, columns))]  # a gap of 1
    assert small.shape == (rows * 17 - 1, columns * 17 - 1, 3)
    return np.array([[small[y : y + 16, x : x + 16] for x in starts[:columns]] for y in starts[:rows]])


def drawn(generator, w, noise="const") -> np.ndarray:
    with torch.no_grad():
        return to_uint8(generator.synthesis(w, noise=noise)).permute(0, 2, 3, 1).int().numpy()


def assert_alike(ours, truth):
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(truth).astype(int)).max() <= 1


# --- styles


def test_style_mixing():
    g = tiny_generator()
    figure = figures.style_mixing(g, Recipe([1, 2], psi=0.7, noise="const"), destinations=[3, 4, 5, 6, 7, 8])
    table = cells(figure, 7, 3)
    top, left = (g.truncate(sampling.w_of_seeds(g, seeds), 0.7) for seeds in ([1, 2], [3, 4, 5, 6, 7, 8]))
    assert_alike(table[0, 1:], drawn(g, top))
    assert_alike(table[1:, 0], drawn(g, left))
    for row, layers in enumerate([(0, 2)] * 3 + [(2, 4)] * 2 + [(4, 6)]):  # three rows coarse, two middle, one fine
        w = left[row].repeat(2, 1, 1)
        w[:, slice(*layers)] = top[:, slice(*layers)]
        assert_alike(table[row + 1, 1:], drawn(g, w))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["Source A", "Source B", *(f"{n} styles\n({r}) from B" for n, r in
                     (("Coarse", 4), ("Middle", 8), ("Fine", 16)))]  # fmt: skip


def test_truncation_passes_through_the_average():
    g = tiny_generator()
    table = cells(figures.truncation(g, Recipe([1, 2], noise="const")), 2, 6)
    w = sampling.w_of_seeds(g, [1, 2])
    assert_alike(table[:, 0], drawn(g, w))
    assert_alike(table[:, 3], drawn(g, g.w_avg.expand(2, 6, 8)))  # psi 0
    assert_alike(table[:, 5], drawn(g, 2 * g.w_avg - w))  # psi -1: the anti-face
    assert np.abs(table[0, 0] - table[1, 0]).max() > 10


@pytest.mark.parametrize("aspect", [(1, 1), (4, 3)])
def test_uncurated_truncates_low_resolutions_only(aspect):
    g = tiny_generator(aspect=aspect)
    height = 16 * aspect[1] // aspect[0]
    sheet = figures.uncurated(g, Recipe(psi=0.5))
    assert sheet.shape == (3, 3 * height * 16, (16 + 8 + 4) * 2 * 16)
    z = torch.tensor(np.random.RandomState(5).randn(42, 8), dtype=torch.float32)  # the official stream
    w = g.mapping(z).clone()
    w[:, :4] = g.w_avg + 0.5 * (w[:, :4] - g.w_avg)  # 16 x 16 keeps its variety
    truth = torch.tensor(drawn(g, w, sampling.noise_of_seeds(range(42), g))).permute(0, 3, 1, 2)
    truth = truth[:, :, (16 - height) // 2 : (16 + height) // 2]
    assert_alike(sheet[:, : height * 16, : 16 * 16], enlarge(truth[0], 16))
    assert_alike(sheet[:, : height * 8, 512 : 512 + 128], enlarge(truth[6], 8))
    assert_alike(sheet[:, -height * 4 :, -64:], enlarge(truth[41], 4))
    with pytest.raises(InputError, match="42"):
        figures.uncurated(g, Recipe(range(41)))


def test_large_images_are_filtered_down():
    images = torch.randint(0, 256, (42, 1, 256, 256), dtype=torch.uint8)
    sheet = figures.mosaic(images)
    assert sheet.shape == (1, 3 * 256, (1 + 1 / 2 + 1 / 4) * 2 * 256)
    assert torch.equal(sheet[:, :256, :256], images[0])
    boxes = images[41].double().view(1, 64, 4, 64, 4).mean(dim=(2, 4))
    assert (sheet[:, -64:, -64:] - boxes).abs().max() <= 0.5001


def test_reals(tmp_path):
    store = write_store(tmp_path / "store", count=50)
    sheet = figures.reals(store)
    first = torch.tensor(open_store(store).images()[0]).permute(2, 0, 1)
    assert torch.equal(sheet[:, :256, :256], enlarge(first, 16))
    with pytest.raises(InputError, match="holds 40"):
        figures.reals(write_store(tmp_path / "small"))


# --- noise


def test_deviation_over_noise():
    g = tiny_generator()
    w = sampling.w_of_seeds(g, [3, 4])
    map_ = figures.noise_deviation(g, w, 10, batch=4)
    images = [torch.cat(list(batches(g, Recipe(latents=w[i].expand(10, -1, -1))))) for i in (0, 1)]
    truth = (torch.stack(images).clamp(-1, 1) * 127.5).double().var(dim=1, correction=0).mean(dim=1).sqrt()
    assert map_.shape == (2, 16, 16) and (map_ - truth).abs().max() < 1e-3 * truth.max() and truth.max() > 1
    with torch.no_grad():
        for block in g.synthesis.blocks.values():
            for layer in (block.layer0, block.layer1):
                layer.noise.strength.zero_()
    assert figures.noise_deviation(g, w, 10).max() < 1e-4  # no noise, no deviation


def test_noise_detail():
    g = tiny_generator()
    figure = figures.noise_detail(g, Recipe([3], psi=1.0, noise="const"), count=5)
    (image, details, map_), w = cells(figure, 1, 3)[0], sampling.w_of_seeds(g, [3])
    deviation = figures.noise_deviation(g, w, 5)[0].numpy()
    assert_alike(image, drawn(g, w)[0])
    assert_alike(map_, np.repeat((deviation * 255 / deviation.max())[:, :, None], 3, axis=2))
    (box,) = figure.axes[0].patches
    x, y = (int(value) for value in box.get_xy())
    assert (box.get_width(), box.get_height()) == (4, 4)
    sums = {(i, j): deviation[j : j + 4, i : i + 4].sum() for i in range(13) for j in range(13)}
    assert sums[x, y] == pytest.approx(max(sums.values()), rel=1e-5)  # where noise changes most
    fourth = drawn(g, w.expand(4, -1, -1), sampling.noise_of_seeds(range(4), g))[3]
    assert_alike(details[8:, 8:], np.kron(fourth[y : y + 4, x : x + 4], np.ones((2, 2, 1))))


def test_noise_of_some_layers():
    g = tiny_generator()
    figure = figures.noise_layers(g, Recipe([3, 4], psi=1.0))
    table = cells(figure, 4, 4)
    w, planes = sampling.w_of_seeds(g, [3, 4]), sampling.noise_of_seeds([3, 4], g)
    zeros = [torch.zeros_like(plane) for plane in planes]
    truth = [drawn(g, w, noise) for noise in (planes, "none", zeros[:4] + planes[4:], planes[:4] + zeros[4:])]
    for column, images in enumerate(truth):
        assert_alike(table[::2, column], images)
    gain = int(figure.axes[0].texts[-1].get_text().removeprefix("Difference × "))
    assert_alike(table[1::2], np.clip(128 + gain * (table[::2] - table[::2, 1:2]), 0, 255))
    assert (table[1::2, 1] == 128).all() and np.abs(table[1::2, 3] - 128).max() > 60


def test_what_traditional_generators_cannot_show():
    g = tiny_generator(**TRADITIONAL)
    assert figures.uncurated(g).shape == (3, 768, 896)
    for figure, match in (
        (figures.style_mixing, "no styles"),
        (figures.truncation, "no W"),
        (figures.noise_detail, "no noise inputs"),
        (figures.noise_layers, "no noise inputs"),
    ):
        with pytest.raises(InputError, match=match):
            figure(g, Recipe([1, 2, 3]))


def test_conditional_generators_show_a_class_or_all_in_turn():
    g = tiny_generator(label_count=3)

    def shown(*labels: int | None) -> list[np.ndarray]:
        return [cells(figures.truncation(g, Recipe([1], label=label)), 1, 6)[0, 0] for label in labels]

    one, two, in_turn = shown(0, 1, None)
    assert np.abs(one - two).max() > 5 and np.array_equal(one, in_turn)
    both = cells(figures.truncation(g, Recipe([1, 1], noise_seed=1)), 2, 6)[:, 0]
    assert np.abs(both[0] - both[1]).max() > 5  # classes 0 and 1
    with pytest.raises(InputError, match="choose one"):
        figures.uncurated(g, Recipe(label=3))


# --- training


def write_run(path, metrics, stats=()):
    path.mkdir()
    lines = [json.dumps({"metric": "fid50k", "latents": 1, **line}) for line in metrics]
    (path / "metrics.jsonl").write_text("\n".join([*lines, '{"metric": "fid50k", "val']))
    (path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stats))
    return path


def test_training(tmp_path):
    stats = [(4, 0.0), (8, 0.5), (8, 0.0), (8, 0.0)]
    b = write_run(
        tmp_path / "config-b",
        [
            {"images_seen": 2000, "values": {"fid": 6.0}},
            {"images_seen": 1000, "values": {"fid": 9.0}},
            {"images_seen": 2000, "values": {"fid": 50.0}, "latents": 2},  # of table 2
            {"images_seen": 2000, "metric": "ppl_zfull", "values": {"ppl_zfull": 400.0}},
        ],
        [{"images_seen": 500 * (i + 1), "resolution": r, "fade": f} for i, (r, f) in enumerate(stats)],
    )
    f = write_run(tmp_path / "config-f", [{"images_seen": 1000, "values": {"fid": 4.0, "kid": 1.0}}])
    quality, path = figures.training([b, f]).axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in quality.lines}
    assert curves["config-b"] == [[1, 9], [2, 6]] and curves["config-f"] == [[1, 4]]
    assert quality.lines[-1].get_xdata() == [1.5, 1.5]  # full resolution
    assert path.lines[0].get_label() == "config-b, Z full" and path.lines[0].get_xydata().tolist() == [[2, 400]]
    assert quality.get_ylabel() == "FID" and path.get_ylabel() == "path length"

    (only,) = figures.training([write_run(tmp_path / "kid", [{"images_seen": 1, "values": {"kid": 2.0}}])]).axes
    assert only.get_ylabel() == "KID"
    for run in (write_run(tmp_path / "none", []), tmp_path / "nowhere"):
        with pytest.raises(InputError, match="measured"):
            figures.training([run])


# --- entanglement


def test_straight_and_bent_factors():
    torch.manual_seed(0)
    latents = torch.randn(3000, 5)
    scores = torch.stack([latents[:, 1], latents[:, 1] + latents[:, 3]], dim=1) * 0.1 + 0.5
    points, explained = plots._along_the_scores(latents, scores)
    assert explained == pytest.approx(1, abs=1e-6)
    centred = latents - latents.mean(dim=0)
    assert torch.allclose(points[:, 0], centred[:, 1], atol=1e-4)
    assert torch.allclose(points[:, 1], centred[:, 3], atol=1e-4)  # the second score's part across the first
    flat = torch.cat([latents, latents[:, :2]], dim=1)  # more numbers than dimensions
    assert plots._along_the_scores(flat, scores)[1] == pytest.approx(1, abs=1e-6)
    bent = torch.stack([(latents[:, 0] * latents[:, 1] > 0).float(), latents[:, 2].abs()], dim=1)
    assert plots._along_the_scores(latents, bent)[1] < 0.02


def test_entanglement(tmp_path):
    store = write_store(tmp_path / "store", count=60)
    judges = [tiny_discriminator(group_size=1) for _ in range(2)]
    with torch.no_grad():
        judges[1].load_state_dict({k: v + 0.1 * torch.randn_like(v) for k, v in judges[0].state_dict().items()})
    classifiers = AttributeClassifiers(["old", "happy"], judges)
    save_classifiers(tmp_path / "c.safetensors", classifiers)
    how = {"data": store, "attributes": ["happy", "old"], "classifiers": str(tmp_path / "c.safetensors")}
    figure = figures.entanglement(tiny_generator(), **how, count=50)
    scatters, sheets = figure.axes[:3], figure.axes[3:]
    assert scatters[0].get_title() == "(a) Training set" and scatters[2].get_title().startswith("(c) W, $R^2$")
    reals = torch.tensor(open_store(store).images()[:50]).permute(0, 3, 1, 2).float() * 2 / 255 - 1
    logits = classifiers(reals)[:, [1, 0]].numpy()
    below = (logits[:, None] > logits[None]).mean(axis=1)  # the share of training images that are less happy, less old
    assert np.allclose(scatters[0].collections[0].get_offsets(), below, atol=1e-6)
    assert scatters[1].collections[0].get_offsets().shape == (50, 2)
    shown = np.asarray(sheets[0].images[0].get_array())[::2, ::2].reshape(9, 16, 9, 16, 3).transpose(0, 2, 1, 3, 4)
    true = {image.tobytes() for image in open_store(store).images()[:50]}
    found = {image.tobytes() for row in shown for image in row}
    assert len(found & true) > 10 and found - true == {bytes([255]) * 768}  # white where there is none

    assert len(figures.entanglement(tiny_generator(**TRADITIONAL), **how, count=50).axes) == 4  # has no W
    with pytest.raises(InputError, match="two attributes"):
        figures.entanglement(tiny_generator(), data=store, attributes=["old"])
    with pytest.raises(InputError, match="know old, happy"):
        figures.entanglement(tiny_generator(), **how | {"attributes": ["old", "rich"]})
    with pytest.raises(InputError, match="32 x 32"):  # the bundled ones
        figures.entanglement(tiny_generator(), data=store, attributes=["hat", "beard"])


# --- files


def test_files(tmp_path):
    g = tiny_generator()
    labeled, image = figures.truncation(g), figures.uncurated(g)
    figures.save_figure(labeled, tmp_path / "t.png")
    figures.save_figure(labeled, tmp_path / "t.pdf")
    figures.save_figure(image, tmp_path / "u.png")
    with Image.open(tmp_path / "t.png") as picture:
        pixels = np.asarray(labeled.axes[0].images[0].get_array())
        shown = np.asarray(picture.convert("RGB"))
        assert_alike(shown[-pixels.shape[0] :, -pixels.shape[1] :], pixels)  # not resampled
    assert (tmp_path / "t.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "u.png") as picture:
        assert picture.size == (image.shape[2], image.shape[1])
    for figure, name in ((labeled, "x.jpg"), (image, "x.pdf")):
        with pytest.raises(InputError, match=r"\.png"):
            figures.save_figure(figure, tmp_path / name)
    assert not list(tmp_path.glob("*x.*"))


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InputError, match=r"stylegan\[figures\]"):
        figures.truncation(tiny_generator())
    figures.uncurated(tiny_generator())  # has no text
    monkeypatch.setattr(figures, "draw", None)  # nothing is drawn first
    for name in set(figures.FIGURES) - {"uncurated", "reals", "training", "entanglement"}:
        with pytest.raises(InputError, match=r"stylegan\[figures\]"):
            figures.make(name, [tiny_generator()])


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_images(channels, tmp_path):
    g = tiny_generator(channels=channels)
    for figure in (figures.truncation, figures.noise_detail, figures.noise_layers):
        figures.save_figure(figure(g, Recipe([1])), tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.width > 1000
