"""The pyramid: an image at every resolution down to 4 x 4, by exact means over boxes."""

import numpy as np

from stylegan.resolutions import resolutions


def box_sum(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Sums over boxes of `rows` x `columns` pixels: [H, W, C] -> [H / rows, W / columns, C].

    Exact for uint8 images as long as a box holds at most 65,536 pixels: the sums stay below 2 ** 24. (Larger
    boxes are summed in float64.)
    """
    height, width, channels = image.shape
    assert height % rows == 0 and width % columns == 0
    kind = np.float32 if rows * columns <= 65_536 else np.float64
    strips = np.add(image[0::rows], image[1::rows] if rows > 1 else kind(0), dtype=kind)
    for i in range(2, rows):
        strips += image[i::rows]
    sums = np.empty((height // rows, width // columns, channels), kind)
    for c in range(channels):  # one channel at a time: numpy is slow where the innermost axis is 3 long
        plane = sums[:, :, c]
        np.add(strips[:, 0::columns, c], strips[:, 1::columns, c] if columns > 1 else kind(0), out=plane)
        for j in range(2, columns):
            plane += strips[:, j::columns, c]
    return sums


def pyramid(image: np.ndarray) -> dict[int, np.ndarray]:
    """Box-filter an image uint8 [R, R, C] down to 4 x 4; returns {resolution: uint8 [r, r, C]}, R included.

    Every level is the mean of the *original* pixels, rounded once, half to even: the same as repeated
    2 x 2 means in float32 without rounding in between.
    """
    levels = {image.shape[0]: image}
    sums = image
    for resolution in reversed(resolutions(image.shape[0] // 2)):
        sums = box_sum(sums, 2, 2)
        levels[resolution] = np.rint(sums * np.float32((resolution / image.shape[0]) ** 2)).astype(np.uint8)
    return levels
