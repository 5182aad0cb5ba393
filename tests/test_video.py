"""Videos: where a path leads, what each frame shows, and that files hold what was drawn."""

import math
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from imageio_ffmpeg import count_frames_and_secs, get_ffmpeg_exe
from PIL import Image
from scipy.interpolate import CubicSpline

from stylegan import sampling, videos
from stylegan.errors import InputError
from stylegan.images import enlarge, grid

TRADITIONAL = {"use_styles": False, "const_input": False, "use_noise": False, "mapping_layers": 0}

# --- paths


def points(count: int = 4, *shape: int) -> torch.Tensor:
    return torch.randn(count, *(shape or (3, 10)), dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("path", ["linear", "spherical", "cubic"])
def test_a_path_goes_through_its_points(path):
    keys = points()
    there = sampling.through(keys, torch.arange(4.0), path)
    assert torch.allclose(there, keys, atol=1e-7)
    single = sampling.through(keys.float(), torch.tensor([2.25]), path)
    assert single.shape == (1, 3, 10) and single.dtype == torch.float32
    assert torch.allclose(single.double(), sampling.through(keys, torch.tensor([0.1, 2.25]), path)[1:], atol=1e-5)


def test_straight_lines():
    keys, t = points(), torch.tensor([0.25, 1.5, 2.9])
    truth = [0.75 * keys[0] + 0.25 * keys[1], (keys[1] + keys[2]) / 2, 0.1 * keys[2] + 0.9 * keys[3]]
    assert torch.allclose(sampling.through(keys, t, "linear"), torch.stack(truth), atol=1e-6)


def test_arcs_keep_length_and_speed():
    keys = points()
    keys = keys / keys.norm(dim=-1, keepdim=True) * 3
    t = torch.linspace(1, 2, 9)
    there = sampling.through(keys, t, "spherical")
    assert torch.allclose(there.norm(dim=-1), torch.tensor(3.0, dtype=torch.float64), atol=1e-6)
    angles = torch.acos((there[1:] * there[:-1]).sum(dim=-1) / 9)
    whole = torch.acos((keys[1] * keys[2]).sum(dim=-1) / 9)
    assert torch.allclose(angles, whole.expand(8, -1) / 8, atol=1e-5)
    longer = sampling.through(torch.stack([keys[0], 2 * keys[1]]), torch.tensor([0.5]), "spherical")
    assert torch.allclose(longer.norm(dim=-1), torch.tensor(4.5, dtype=torch.float64))  # lengths are interpolated


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_cubic_loop_is_the_periodic_spline(count):
    keys, t = points(count), torch.linspace(-1, 2 * count, 50, dtype=torch.float64)
    closed = torch.cat([keys, keys[:1]]).numpy()
    spline = CubicSpline(np.arange(count + 1), closed, bc_type="periodic", extrapolate="periodic")
    assert np.allclose(sampling.through(keys, t, "cubic"), spline(t.numpy()), atol=1e-6)
    assert torch.allclose(sampling.through(keys, t + count, "cubic"), sampling.through(keys, t, "cubic"), atol=1e-6)


# --- frames


@pytest.fixture(scope="module")
def g():
    return tiny_generator()


def images(frames) -> torch.Tensor:
    return torch.stack([image for image, _ in frames]).int()


@pytest.mark.parametrize("path", ["linear", "cubic"])
def test_interpolation_in_w(g, path):
    keys = sampling.w_of_seeds(g, range(6)).unflatten(0, (3, 2))
    found = images(videos.interpolation(g, keys, 9, path=path, psi=0.8, columns=1))
    assert found.shape == (9, 3, 32, 16)
    at_keys = [grid(sampling.draw(g, g.truncate(key, 0.8)), 1).int() for key in keys]
    where = [0, 4, 8] if path == "linear" else [0, 3, 6]  # open: the last frame is the last key; closed: it is not
    for frame, truth in zip(where, at_keys, strict=True):
        assert (found[frame] - truth).abs().max() <= 1
    last = (found[8] - (at_keys[2] if path == "linear" else at_keys[0])).abs().float().mean()
    assert last < 1 if path == "linear" else 1 < last < (at_keys[1] - at_keys[0]).abs().float().mean()


def test_interpolation_in_z():
    g = tiny_generator(label_count=2)
    z = sampling.z_of_seeds(range(4), 8).unflatten(0, (2, 2))
    labels = torch.tensor([1, 0])
    found = images(videos.interpolation(g, z, 5, path="spherical", labels=labels))
    truth = torch.stack([grid(sampling.draw(g, sampling.w_of_z(g, key, labels))) for key in z]).int()
    assert (found[[0, 4]] - truth).abs().max() <= 1


def test_style_mixing_moves_the_top_row(g):
    keys, left = sampling.w_of_seeds(g, range(6)).unflatten(0, (2, 3)), sampling.w_of_seeds(g, [7, 8])
    found = images(videos.style_mixing(g, keys, left, [range(2)] * len(left), 4))
    for frame, key in ((0, keys[0]), (2, keys[1])):
        assert (found[frame] - sampling.mixing_table(g, key, left, [range(2)] * 2).int()).abs().max() <= 1
    assert torch.equal(found[0, :, 16:, :16], found[1, :, 16:, :16])  # the left column stays
    assert (found[0, :, :, 16:] - found[1, :, :, 16:]).abs().max() > 10


def test_noise_of_one_layer_at_a_time(g, monkeypatch):
    given, forward = [], g.synthesis.forward
    monkeypatch.setattr(g.synthesis, "forward", lambda w, noise: given.append(noise) or forward(w, noise=noise))
    captions = [caption for _, caption in videos.noise(g, sampling.w_of_seeds(g, [1, 2]), 60)]
    still = sampling.noise_of_seeds([0], g)
    for frame, planes in enumerate(given):  # ten frames for each of six layers
        changed = [i for i, (ours, base) in enumerate(zip(planes, still, strict=True)) if not torch.equal(ours, base)]
        assert changed == ([] if frame % 10 == 0 else [frame // 10])
        assert f"layer {frame // 10 + 1} of 6" in captions[frame]
    assert "(4 x 4)" in captions[0] and "(16 x 16)" in captions[59]
    spread = torch.stack([planes[5] for planes in given[50:]]).std(dim=(1, 2, 3, 4))
    assert torch.allclose(spread, torch.ones(10), atol=0.2)  # normal noise all the way


def test_truncation_there_and_back(g):
    w = sampling.w_of_seeds(g, [1, 2])
    frames = list(videos.truncation(g, w, 8))
    for frame, psi in ((0, 1.0), (2, 0.0), (4, -1.0), (6, 0.0)):
        truth = grid(sampling.draw(g, torch.lerp(g.w_avg, w, psi))).int()
        assert (frames[frame][0].int() - truth).abs().max() <= 1
        assert frames[frame][1] == f"psi {psi:+.2f}"


def test_what_cannot_be_shown(g):
    traditional = tiny_generator(**TRADITIONAL)
    w = sampling.w_of_seeds(traditional, range(4)).unflatten(0, (2, 2))
    assert images(videos.interpolation(traditional, w, 3)).shape == (3, 3, 16, 32)
    for frames, match in (
        (videos.style_mixing(traditional, w, w[0], [range(2)] * len(w[0]), 4), "no styles"),
        (videos.noise(traditional, w[0], 4), "no noise inputs"),
        (videos.truncation(traditional, w[0], 4), "no W"),
        (videos.interpolation(g, sampling.w_of_seeds(g, [1])[None], 4), "two keys"),
    ):
        with pytest.raises(InputError, match=match):
            list(frames)


# --- files


def ramp(count: int, size: int = 33, caption: str = ""):
    """Smooth pictures, each brighter than the last."""
    line = torch.arange(size).float().expand(3, size, size)
    for i in range(count):
        yield (line + line.mT * 2 + i * 10).to(torch.uint8), caption


def test_mp4(tmp_path):
    videos.write(tmp_path / "v.mp4", ramp(12), fps=24, factor=3)
    frames, seconds = count_frames_and_secs(str(tmp_path / "v.mp4"))
    assert frames == 12 and math.isclose(seconds, 0.5, abs_tol=0.05)
    decode = [get_ffmpeg_exe(), "-i", tmp_path / "v.mp4", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(decode, capture_output=True, check=True).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(12, 100, 100, 3).astype(int)  # 99, made even
    for (image, _), shown in zip(ramp(12), decoded, strict=True):
        assert np.abs(shown[:99, :99] - enlarge(image, 3).permute(1, 2, 0).numpy()).mean() < 4


def test_gif(tmp_path):
    videos.write(tmp_path / "v.gif", ramp(5, caption="noise"), fps=20, factor=2)
    with Image.open(tmp_path / "v.gif") as picture:
        assert picture.n_frames == 5 and picture.info["duration"] == 50 and picture.info["loop"] == 0
        assert picture.size == (66, 66 + videos.CAPTION)
        first = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(first[:66] - enlarge(next(ramp(1))[0], 2).permute(1, 2, 0).numpy()).mean() < 4
    assert first[66:].min() < 100 and first[66:].max() > 240  # black on white


def test_frames_are_not_kept(tmp_path):
    seen: list[weakref.ref] = []

    def frames():
        for image, caption in ramp(40):
            assert sum(ref() is not None for ref in seen) <= 2
            seen.append(weakref.ref(image))
            yield image, caption

    videos.write(tmp_path / "v.mp4", frames())
    assert len(seen) == 40


def test_size_of_small_and_large_pictures():
    assert videos.picture_of((torch.zeros(3, 32, 64, dtype=torch.uint8), ""), None).size == (512, 256)
    assert videos.picture_of((torch.zeros(1, 700, 701, dtype=torch.uint8), ""), None).size == (702, 700)


def test_nothing_is_left_of_a_video_that_fails(tmp_path, monkeypatch):
    def frames():
        yield from ramp(3)
        raise InputError("the light went out")

    with pytest.raises(InputError, match="light"):
        videos.write(tmp_path / "v.mp4", frames())
    with pytest.raises(InputError, match=r"\.mp4 or \.gif"):
        videos.write(tmp_path / "v.avi", ramp(3))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(InputError, match=r"stylegan\[video\]"):
        videos.write(tmp_path / "v.mp4", ramp(3))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_white_shows_through_where_an_image_is_transparent(channels):
    image = torch.full((channels, 8, 8), 100, dtype=torch.uint8)
    if channels == 4:
        image[3] = 0
        image[3, :4] = 51
    shown = np.asarray(videos.picture_of((image, ""), 1))
    top, bottom = {4: (224, 255)}.get(channels, (100, 100))  # 255 + (100 - 255) / 5
    assert (shown[:4] == top).all() and (shown[4:] == bottom).all()
