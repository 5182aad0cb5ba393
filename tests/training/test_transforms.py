"""Each transform of an image equals a slow form of it, image by image and pixel by pixel, in float64."""

import math

import numpy as np
import pytest
import torch

from stylegan.training import transforms

R = 16
RNG = np.random.RandomState(5)


def images_of(count: int = 4, channels: int = 3) -> torch.Tensor:
    return torch.from_numpy(RNG.uniform(-1, 1, (count, channels, R, R)))


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# --- geometry


def slow_warp(image: np.ndarray, forward: np.ndarray, shrink: float) -> np.ndarray:
    """image [C, R, R]; forward: where a point of the source goes to, [3, 3], with the center at 0 and edges at 1."""
    k = min(max(0.5 * (shrink**2 - 1), 0), 1)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    rows = padded[:, :-2] * k / 4 + padded[:, 1:-1] * (1 - k / 2) + padded[:, 2:] * k / 4
    soft = rows[:, :, :-2] * k / 4 + rows[:, :, 1:-1] * (1 - k / 2) + rows[:, :, 2:] * k / 4

    def pixel(y: int, x: int) -> np.ndarray:
        while not 0 <= y < R:
            y = -1 - y if y < 0 else 2 * R - 1 - y
        while not 0 <= x < R:
            x = -1 - x if x < 0 else 2 * R - 1 - x
        return soft[:, y, x]

    def at_half(y2: int, x2: int) -> np.ndarray:
        """At half a coordinate: a pixel, or the cubic through the four around it."""
        if x2 % 2:
            left = (x2 - 1) // 2
            columns = [at_half(y2, 2 * (left + step)) for step in (-1, 0, 1, 2)]
            return (-columns[0] + 9 * columns[1] + 9 * columns[2] - columns[3]) / 16
        if y2 % 2:
            top = (y2 - 1) // 2
            rows = [pixel(top + step, x2 // 2) for step in (-1, 0, 1, 2)]
            return (-rows[0] + 9 * rows[1] + 9 * rows[2] - rows[3]) / 16
        return pixel(y2 // 2, x2 // 2)

    backward, result = np.linalg.inv(forward), np.empty_like(image)
    for row in range(R):
        for column in range(R):
            x, y, _ = backward @ [(2 * column + 1) / R - 1, (2 * row + 1) / R - 1, 1]
            x, y = (x + 1) * R - 1, (y + 1) * R - 1  # twice the index of a pixel
            x0, y0 = math.floor(x), math.floor(y)
            top = at_half(y0, x0) * (1 - x + x0) + at_half(y0, x0 + 1) * (x - x0)
            bottom = at_half(y0 + 1, x0) * (1 - x + x0) + at_half(y0 + 1, x0 + 1) * (x - x0)
            result[:, row, column] = top * (1 - y + y0) + bottom * (y - y0)
    return result


def forward_of(steps: list[tuple]) -> np.ndarray:
    """What some transforms do one after another to a point (x to the right, y down)."""
    whole = np.eye(3)
    for name, *values in steps:
        matrix = np.eye(3)
        if name == "scaled":
            matrix = np.diag([*values, 1.0])
        elif name == "moved":
            matrix[:2, 2] = 2 * np.array(values)
        else:
            angle = values[0] * (math.pi / 2 if name == "quarter_turned" else 1)
            # counterclockwise: what is at the right goes to the top
            matrix[:2, :2] = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
        whole = matrix @ whole
    return whole


def test_a_composed_warp_is_the_slow_one():
    images = images_of(4, 2)
    names = ("scaled", "quarter_turned", "moved", "scaled", "turned", "scaled", "turned", "moved")
    values = [
        ((1.0, 1.0), (0.0,), (0.125, -0.0625), (1.2, 1.2), (0.3,), (0.9, 1 / 0.9), (-0.5,), (0.2, 0.1)),
        ((-1.0, 1.0), (1.0,), (-0.9, 0.33), (0.7, 0.7), (-2.0,), (1.1, 1 / 1.1), (3.0,), (0.0, -0.5)),
        ((1.0, 1.0), (3.0,), (0.0, 0.01), (0.5, 0.5), (0.0,), (1.0, 1.0), (0.0,), (0.0, 0.0)),
        ((-1.0, 1.0), (2.0,), (0.25, 0.0), (1.0, 1.0), (1.5,), (1.3, 1 / 1.3), (-0.1,), (0.01, 0.0)),
    ]
    place = torch.eye(3, dtype=torch.float64).repeat(4, 1, 1)
    for name, of_images in zip(names, zip(*values, strict=True), strict=True):
        place = place @ getattr(transforms, name)(*torch.tensor(of_images, dtype=torch.float64).unbind(1))
    shrink = numbers(1.0, 1 / 0.7 * 1.1, 2.0, 1.3)
    fast = transforms.warp(images, place, shrink)
    for image, result, own, factor in zip(images, fast, values, shrink, strict=True):
        forward = forward_of([(name, *value) for name, value in zip(names, own, strict=True)])
        truth = slow_warp(image.numpy(), forward, float(factor))
        assert np.abs(result.numpy() - truth).max() < 1e-10


def test_whole_steps_move_pixels_and_change_none():
    images, one = images_of(1).float(), torch.ones(1)
    for place, expected in [
        (transforms.quarter_turned(one), images.rot90(1, (2, 3))),
        (transforms.quarter_turned(3 * one), images.rot90(3, (2, 3))),
        (transforms.scaled(-one, one), images.flip(3)),
        (transforms.quarter_turned(one) @ transforms.scaled(-one, one), images.rot90(1, (2, 3)).flip(3)),
    ]:
        assert torch.equal(transforms.warp(images, place, one), expected)
    there = transforms.warp(images, transforms.moved(3 / R * one, -2 / R * one), one)
    assert torch.equal(there[:, :, :-2, 3:], images[:, :, 2:, :-3])
    assert torch.equal(there[:, :, :-2, 0], images[:, :, 2:, 2])  # mirrored at the edge


def test_what_shrinks_does_not_alias():
    """Stripes of the highest frequency at half the size: gray."""
    stripes = torch.ones(1, 1, R, R, dtype=torch.float64)
    stripes[..., ::2] = -1
    half = numbers(0.55)
    for shrink, least, most in [(1.0, 0.5, 2), (1 / 0.55, 0, 0.05)]:
        result = transforms.warp(stripes, transforms.scaled(half, half), numbers(shrink))[..., 5:11]  # not the edges
        assert least <= result.abs().max() <= most


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_shift_moves_whole_pixels_and_brings_in_zeros(channels):
    images = images_of(3, channels)
    for dtype in (torch.float32, torch.float64):
        fast = transforms.shift(images.to(dtype), torch.tensor([2, 0, -3]), torch.tensor([-1, 0, 2]))
        for image, result, (x, y) in zip(images.to(dtype), fast, [(2, -1), (0, 0), (-3, 2)], strict=True):
            truth = torch.zeros_like(image)
            for row in range(R):
                for column in range(R):
                    if 0 <= row - y < R and 0 <= column - x < R:
                        truth[:, row, column] = image[:, row - y, column - x]
            assert torch.equal(result, truth)


# --- color


def slow_colors(pixel: np.ndarray, brightness, contrast, flip, hue, saturation) -> np.ndarray:
    """One transform after the other on a color [3]."""
    gray = np.ones(3) / math.sqrt(3)
    pixel = contrast * (pixel + brightness)
    if flip:
        pixel = pixel - 2 * (pixel @ gray) * gray
    turned = pixel * math.cos(hue) + np.cross(gray, pixel) * math.sin(hue)  # Rodrigues
    pixel = turned + gray * (gray @ pixel) * (1 - math.cos(hue))
    on_axis = (pixel @ gray) * gray
    return on_axis + saturation * (pixel - on_axis)


COLORS = [(0.2, 1.3, 1.0, 0.7, 1.5), (-0.1, 0.6, 0.0, -2.5, 0.2), (0.0, 1.0, 0.0, 0.0, 1.0)]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_composed_colors_are_the_slow_ones(channels):
    images = images_of(3, channels)
    brightness, contrast, flip, hue, saturation = torch.from_numpy(np.array(COLORS).T)
    matrix = transforms.luma_flipped(flip) @ transforms.hue_turned(hue) @ transforms.saturated(saturation)
    matrix = matrix * contrast[:, None, None]
    fast = transforms.recolor(images, matrix, matrix.sum(dim=2) * brightness[:, None])
    truth = images.clone()
    for image, values in zip(truth.numpy(), COLORS, strict=True):
        for row in range(R):
            for column in range(R):
                color = image[:3, row, column]
                color[:] = slow_colors(color * np.ones(3), *values)[: len(color)]
    assert (fast - truth).abs().max() < 1e-12
    if channels == 4:
        assert torch.equal(fast[:, 3], images[:, 3])


# --- corruption


def slow_bands(row: np.ndarray, gains: np.ndarray) -> np.ndarray:
    """A filter of 43 taps along a row that is mirrored at its ends."""

    def spread(taps: np.ndarray, step: int) -> np.ndarray:
        result = np.zeros((len(taps) - 1) * step + 1)
        result[::step] = taps
        return result

    one = np.ones(1)
    low, taps, bands = one, [], []
    for octave in range(3):
        half = spread(np.array([-1, 0, 9, 16, 9, 0, -1]) / 32, 2**octave)
        next_low = np.convolve(low, half)
        bands.append(np.pad(low, (len(next_low) - len(low)) // 2) - next_low)
        low = next_low
    bands.append(low)
    taps = sum(g * np.pad(band, (43 - len(band)) // 2) for g, band in zip(gains[::-1], bands, strict=True))
    return np.convolve(np.pad(row, 21, mode="symmetric"), taps, mode="valid")


@pytest.mark.parametrize("channels", [1, 4])
def test_bands_are_the_slow_ones(channels):
    images = images_of(2, channels)
    gains = torch.tensor([[0.3, 1.5, 0.8, 2.0], [1.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    fast = transforms.weigh_bands(images, gains)
    truth = images[0].numpy().copy()
    for channel in truth[:3]:
        for row in channel:
            row[:] = slow_bands(row, gains[0].numpy())
        for column in channel.T:
            column[:] = slow_bands(column, gains[0].numpy())
    assert np.abs(fast[0].numpy() - truth).max() < 1e-12
    assert torch.equal(fast[1], images[1])


def test_each_band_is_an_octave():
    """Waves of a frequency in the middle of a band pass by its gain, others hardly."""
    for band, frequency in enumerate([0.05 * math.pi, 0.18 * math.pi, 0.36 * math.pi, 0.8 * math.pi]):
        wave = torch.cos(frequency * (torch.arange(64, dtype=torch.float64) + 0.5)).expand(1, 1, 64, 64)
        gains = torch.zeros(1, 4, dtype=torch.float64)
        gains[0, band] = 1
        gains[0, 0] = max(gains[0, 0], 1)  # the other direction is constant
        middle = (..., slice(24, 40), slice(24, 40))
        passed = transforms.weigh_bands(wave, gains)[middle].norm() / wave[middle].norm()
        assert passed > 0.7
        gains[0, band] = 0
        gains[0, 0] = float(band > 0)
        stopped = transforms.weigh_bands(wave, gains)[middle].norm() / wave[middle].norm()
        assert stopped < 0.35


def test_noise_and_cut_out():
    images = images_of(3, 4)
    noise, deviation = torch.randn(3, 3, R, R, dtype=torch.float64), numbers(0.0, 0.1, 2.0)
    noisy = transforms.add_noise(images, deviation, noise)
    for i in range(3):
        assert torch.allclose(noisy[i, :3], images[i, :3] + deviation[i] * noise[i], atol=1e-15)
    assert torch.equal(noisy[0], images[0]) and torch.equal(noisy[:, 3], images[:, 3])

    x, y, chosen = numbers(0.5, 0.0, 0.5), numbers(0.25, 0.97, 0.5), torch.tensor([True, True, False])
    cut = transforms.cut_out(images, x, y, chosen)
    truth = images.clone()
    truth[0, :, 0:8, 4:12] = 0
    truth[1, :, 12:, :4] = 0
    assert torch.equal(cut, truth)


# --- all of them


def all_of(images: torch.Tensor, neutral: bool) -> torch.Tensor:
    """Every transform, strongly or as it leaves images alone."""
    n, f = len(images), 0.0 if neutral else 1.0
    one = torch.ones(n)
    place = transforms.scaled(1 + 0.3 * f * one, 1 - 0.3 * f * one) @ transforms.turned(f * one)
    images = transforms.warp(images, place @ transforms.moved(0.1 * f * one, 0 * one), 1 + f * one)
    matrix = transforms.hue_turned(f * one) @ transforms.saturated(1 + f * one) @ transforms.luma_flipped(f * one)
    images = transforms.recolor(images, matrix, 0.1 * f * torch.ones(n, 3))
    images = transforms.weigh_bands(images, 1 + 0.5 * f * torch.rand(n, 4))
    images = transforms.add_noise(images, f * one, torch.randn(n, min(images.shape[1], 3), *images.shape[2:]))
    images = transforms.shift(images, f * 2 * one, f * one)
    return transforms.cut_out(images, 0.3 * one, 0.6 * one, one > 2 - 2 * f)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_what_is_left_alone_stays_to_the_bit_and_passes_gradients_on(channels, layout):
    images = images_of(2, channels).float().to(memory_format=layout).requires_grad_()
    result, weight = all_of(images, neutral=True), torch.randn(images.shape)
    (gradient,) = torch.autograd.grad(result, images, weight)
    assert torch.equal(result, images) and torch.equal(gradient, weight)


def test_an_image_is_changed_alike_alone_and_with_others(monkeypatch):
    """Some of five, all at a time or one; and so are the derivatives."""
    images, chosen, factors = images_of(5), torch.tensor([0, 1, 1, 0, 1]) > 0, numbers(1.3, 0.8, 1.1, 2.0, -0.7)
    place, weight = transforms.turned(factors), images_of(5)

    def change(images: torch.Tensor, place: torch.Tensor, factors: torch.Tensor) -> torch.Tensor:
        return transforms.weigh_bands(transforms.warp(images, place, 1 + factors.abs()), factors[:, None].expand(-1, 4))

    shown = images.clone().requires_grad_()
    truth = torch.stack([change(shown[i : i + 1], place[i : i + 1], factors[i : i + 1])[0] for i in range(5)])
    truth = torch.where(chosen[:, None, None, None], truth, shown)
    (slope,) = torch.autograd.grad(truth, shown, weight)
    for at_a_time in (1, 2, 5):
        monkeypatch.setattr(transforms, "CACHED", at_a_time * R * R)
        shown = images.clone().requires_grad_()
        result = transforms.changed(chosen, change, shown, place, factors)
        (gradient,) = torch.autograd.grad(result, shown, weight)
        assert (result - truth).abs().max() < 1e-12 and (gradient - slope).abs().max() < 1e-12
        assert torch.equal(result[~chosen], images[~chosen]) and torch.equal(gradient[~chosen], weight[~chosen])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_derivatives(channels):
    """All transforms are affine in the image: the derivative along a change is the difference, exactly."""
    torch.manual_seed(0)
    images, change, weight = (images_of(2, channels) for _ in range(3))
    results = []
    for shown in (images, images + change):
        torch.manual_seed(1)
        shown = shown.requires_grad_()
        results.append(all_of(shown, neutral=False))
    (gradient,) = torch.autograd.grad(results[0], images, weight)
    difference = ((results[1] - results[0]) * weight).sum()
    assert torch.allclose((gradient * change).sum(), difference, rtol=1e-9)
