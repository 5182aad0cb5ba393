"""Dragging: points arrive, what is masked stays; the pieces against plain arithmetic; files; the command."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from PIL import Image
from safetensors.torch import load_file
from test_cli import refused, run

from stylegan import dragging, sampling, weights
from stylegan.dragging import Drag, DragConfig, Point
from stylegan.errors import InputError


@pytest.fixture(scope="module")
def generator():
    return tiny_generator(16)


def test_a_point_arrives_and_the_way_is_told(generator):
    w = sampling.w_of_seeds(generator, [3])
    drag = Drag((Point(6, 8, 8, 8),))
    config = DragConfig(steps=60, learning_rate=0.1, features=8)
    states = list(dragging.dragging(generator, w, drag, config))
    assert [state.step for state in states] == list(range(len(states)))
    assert torch.equal(states[0].w, w) and torch.equal(states[0].image, generator.synthesis(w, noise="const"))
    assert states[0].distances.tolist() == [2.0] and not states[0].arrived
    assert states[-1].arrived and float(states[-1].distances) <= 0.25 + 1e-6  # a 64th of the side is a pixel of 64 x 64
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert torch.allclose(states[-1].w[:, 4:], w[:, 4:], atol=1e-4)  # the layers above the block
    assert not torch.allclose(states[-1].w[:, :4], w[:, :4], atol=1e-2)


def test_features_are_those_of_the_block_that_draws(generator):
    w = sampling.w_of_seeds(generator, [3])
    images, maps = generator.synthesis.with_features(w, 16, noise="const")
    assert torch.equal(images, generator.synthesis(w, noise="const"))
    assert torch.equal(generator.synthesis.blocks["16"].to_rgb(maps), images)
    assert generator.synthesis.with_features(w, 8, noise="const")[1].shape[2:] == (8, 8)
    with pytest.raises(ValueError, match="no block"):
        generator.synthesis.with_features(w, 32, noise="const")


def test_what_is_outside_the_mask_changes_less(generator):
    w = sampling.w_of_seeds(generator, [3])
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[4:12, 2:12] = True
    changes = []
    for chosen, weight in ((None, 0.0), (mask, 50.0)):
        config = DragConfig(steps=12, learning_rate=0.05, features=8, mask_weight=weight, tolerance=1e-3)
        *_, last = dragging.dragging(generator, w, Drag((Point(5, 8, 9, 8),), chosen), config)
        before = sampling.draw(generator, w).float()
        changes.append(float((sampling.draw(generator, last.w) - before).abs().mean(dim=1)[0][~mask].mean()))
    assert changes[1] < changes[0] / 2


def test_motion_supervision_is_that_of_the_paper():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 3, 8, 8, generator=rng)
    points, targets = torch.tensor([[3.0, 4.0]]), torch.tensor([[6.0, 4.0]])
    found = dragging.motion(maps, points, targets, 1.0, 1.0, 8)
    patch = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]  # of radius 1
    f = maps[0].numpy()
    plain = np.mean([np.abs(f[:, 4 + y, 3 + x + 1] - f[:, 4 + y, 3 + x]).mean() for x, y in patch])
    assert float(found) == pytest.approx(float(plain), rel=1e-5)
    # the features at the points are what is wanted: the gradient is all in those a step ahead
    maps.requires_grad_()
    dragging.motion(maps, points, targets, 0.5, 1.0, 8).backward()
    assert {(y, x) for _, _, y, x in maps.grad.nonzero().tolist()} == {(4, 4)}


def test_tracking_finds_what_has_moved():
    rng = torch.Generator().manual_seed(0)
    maps = torch.randn(1, 5, 16, 16, generator=rng)
    points = torch.tensor([[5.0, 6.0], [10.0, 9.0]])
    of_points = dragging.features_at(maps, points, 16)
    assert torch.allclose(of_points, torch.stack([maps[0, :, 6, 5], maps[0, :, 9, 10]]), atol=1e-5)
    moved = maps.roll((1, 2), dims=(2, 3))  # down by one, right by two
    assert dragging.track(moved, of_points, points, 3.0, 16).tolist() == [[7, 7], [12, 10]]
    assert dragging.track(maps, of_points, points, 3.0, 16).tolist() == points.tolist()


def test_traditional_generators_and_pictures_of_4_to_3():
    plain = tiny_generator(16, use_styles=False, const_input=False, mapping_layers=0, use_noise=False)
    w = sampling.w_of_seeds(plain, [1])
    *_, last = dragging.dragging(plain, w, Drag((Point(5, 5, 7, 5),)), DragConfig(steps=3))
    assert float(last.w.square().mean()) == pytest.approx(1, abs=1e-5)  # it is a z
    wide = tiny_generator(16, aspect=(4, 3))
    assert dragging.picture_size(wide) == (12, 16)
    first = next(dragging.dragging(wide, sampling.w_of_seeds(wide, [1]), Drag((Point(5, 11, 7, 11),))))
    assert first.points.tolist() == [[5, 11]]
    with pytest.raises(InputError, match="15,11"):
        next(dragging.dragging(wide, sampling.w_of_seeds(wide, [1]), Drag((Point(5, 12, 7, 11),))))


def test_files(generator, tmp_path):
    mask = torch.zeros(16, 16, dtype=torch.bool)
    mask[2:5, 3:9] = mask[4, 12:] = True
    drag = Drag((Point(1, 2, 3, 4.5), Point(5, 6, 7, 8)), mask)
    dragging.write(tmp_path / "drag.json", drag)
    back = dragging.read(tmp_path / "drag.json", generator)
    assert back.points == drag.points and torch.equal(back.mask, mask)

    Image.fromarray(mask.numpy().astype(np.uint8) * 255).resize((64, 64), 0).save(tmp_path / "mask.png")
    (tmp_path / "by-hand.json").write_text(json.dumps({"points": [[1, 2, 3, 4.5]], "mask": "mask.png"}))
    by_hand = dragging.read(tmp_path / "by-hand.json", generator)
    assert by_hand.points == drag.points[:1] and torch.equal(by_hand.mask, mask)
    assert dragging.mask_of("3,2,9,5 12,4,16,5", generator).equal(mask)

    for text in ("[]", "{}", '{"points": [[1, 2, 3]]}', '{"points": [[1, 2, 3, NaN]]}', '{"points": 3}', "{", ""):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=r"bad\.json"):
            dragging.read(tmp_path / "bad.json", generator)
    (tmp_path / "newer.json").write_text('{"points": [], "format_version": 2}')
    for name in ("newer.json", "nowhere.json"):
        with pytest.raises(InputError, match=name):
            dragging.read(tmp_path / name, generator)
    with pytest.raises(InputError, match="left,top,right,bottom"):
        dragging.mask_of("nowhere.png", generator)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="no image"):
        dragging.mask_of(str(tmp_path / "text.png"), generator)


def test_points_as_text():
    assert dragging.point_of("20,30:26,30.5") == Point(20, 30, 26, 30.5)
    assert dragging.text_of(Point(20, 30, 26, 30.5)) == "20,30:26,30.5"
    for text in ("", "1,2", "1,2:3", "1,2:3,x", "1,2:3,nan", "1,2:3,4:5,6", "1,2,3:4"):
        with pytest.raises(InputError, match="no point"):
            dragging.point_of(text)


def test_the_command(generator, tmp_path, capsys):
    model, out, video = tmp_path / "m.safetensors", tmp_path / "out", tmp_path / "way.gif"
    weights.save(model, weights.Model(generator))
    options = ("--steps", "3", "--features", "8", "--device", "cpu")
    assert run("drag", model, "5,5:9,5", "--seeds", "1,2", *options, "--out", out, "--video", video) == 0
    assert capsys.readouterr().out.count("pixels from the targets") == 2
    assert {path.name for path in out.iterdir()} == {
        "dragged0000.png", "dragged0001.png", "comparison.png", "latents.safetensors",
    }  # fmt: skip
    with Image.open(video) as picture:
        assert picture.n_frames == 4 + 20
    held = load_file(out / "latents.safetensors")
    assert held["w"].shape == (2, 6, 8) and held["noise5"].shape == (2, 1, 16, 16)
    with Image.open(out / "dragged0001.png") as picture:  # of the latents, with the seed's own noise
        planes = [held[f"noise{i}"] for i in range(6)]
        drawn = sampling.draw(generator, held["w"], planes)[1]
        assert np.abs(drawn.permute(1, 2, 0).numpy().astype(int) - np.array(picture)).max() <= 1

    # further, from these latents, by a file
    (tmp_path / "drag.json").write_text('{"points": [[5, 5, 9, 5]], "mask": [[2, 2, 12, 12]]}')
    again = ("drag", model, tmp_path / "drag.json", "--latents", out / "latents.safetensors", *options)
    assert run(*again, "--out", tmp_path / "again") == 0
    assert "choose another folder" in refused(capsys, *again, "--out", out)
    assert "name points" in refused(capsys, "drag", model)
    assert "name points" in refused(capsys, "drag", model, "a.json", "1,2:3,4")
    assert "no point" in refused(capsys, "drag", model, "1,2")
    assert "not inside the picture" in refused(capsys, "drag", model, "1,2:30,4", "--out", tmp_path / "broken")
    assert "no block of 7 x 7" in refused(capsys, "drag", model, "1,2:3,4", "--features", "7", "--out", tmp_path / "b")
    assert not (tmp_path / "broken").exists()
