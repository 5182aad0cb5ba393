"""Faces: the square around one against arithmetic, the cut against functions that are known everywhere, and, where
MediaPipe's weights have been fetched, real photographs. Elsewhere a finder of colored dots stands in for it."""

import io
import sys
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import SHARED, tiny_generator
from PIL import Image
from test_cli import refused, run

from stylegan import downloads, projection, weights
from stylegan.data import align
from stylegan.data.align import Square, crop, face_square
from stylegan.data.items import Unusable
from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.explorer import picture, uploads
from stylegan.images import to_uint8

EYE, OTHER_EYE, MOUTH = np.array([40.0, 50.0]), np.array([60.0, 50.0]), np.array([50.0, 75.0])
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def turn(degrees: float) -> np.ndarray:
    """Clockwise, as images show it."""
    angle = np.radians(degrees)
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def plane(width, height, right=1.0, down=0.5) -> Image.Image:
    """An image that is linear in x and y, which bilinear filters and means leave as it is."""
    y, x = np.mgrid[:height, :width] + 0.5
    return Image.fromarray((x * right + y * down).astype(np.float32))


def dots(size=200, degrees=0.0, scale=1.0, shift=(0.0, 0.0)) -> Image.Image:
    """A picture of a face, for `find_dots`: an eye red, the other green, the mouth blue."""
    pixels = np.full((size, size, 3), 90, np.uint8)
    for point, color in ((EYE, RED), (OTHER_EYE, GREEN), (MOUTH, BLUE)):
        x, y = np.rint(turn(degrees) @ (point - 50) * scale + size / 2 + shift).astype(int)
        pixels[y - 3 : y + 3, x - 3 : x + 3] = color
    return Image.fromarray(pixels)


def find_dots(pixels: np.ndarray) -> list:
    """Stands in for MediaPipe."""
    places = [np.argwhere((pixels == color).all(axis=2)) for color in (RED, GREEN, BLUE)]
    return (
        [] if any(len(place) == 0 for place in places) else [tuple(place.mean(axis=0)[::-1] + 0.5 for place in places)]
    )


@pytest.fixture
def finds_dots(monkeypatch):
    monkeypatch.setattr(align, "find_faces", find_dots)
    monkeypatch.setattr(align, "check", lambda: None)


def test_the_square_of_an_upright_face():
    square = face_square(EYE, OTHER_EYE, MOUTH)  # the eyes are 20 apart, the mouth is 25 below them
    assert np.allclose(square.center, (50, 52.5)) and np.allclose(square.right, (45, 0)) and square.side == 90
    assert np.allclose(square.corners, [(5, 7.5), (95, 7.5), (95, 97.5), (5, 97.5)])
    wide = face_square(EYE - (10, 0), OTHER_EYE + (10, 0), MOUTH)
    assert wide.side == pytest.approx(160)  # 4 times the distance of the eyes is more now


@pytest.mark.parametrize("degrees", [-120, -20, 35, 180])
def test_the_square_turns_and_grows_with_the_face(degrees):
    square = face_square(EYE, OTHER_EYE, MOUTH)
    turned = face_square(*(turn(degrees) @ point * 3 for point in (EYE, OTHER_EYE, MOUTH)))
    assert np.allclose(turned.corners, square.corners @ turn(degrees).T * 3)


@pytest.mark.parametrize("side", [24.0, 100.0, 250.0])  # enlarged, reduced, and reduced twice
@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
def test_a_cut_has_what_is_there(side, degrees):
    square = Square(np.array([205.3, 196.8]), turn(degrees) @ (side / 2, 0))
    found = np.asarray(crop(plane(400, 400), square, 32))
    y, x = np.mgrid[:32, :32] + 0.5
    places = square.corners[0] + (x[..., None] * square.right + y[..., None] * square.down) * 2 / 32
    assert np.abs(found - places @ (1.0, 0.5)).max() < 1e-3 * side


def test_a_cut_along_pixels_is_their_mean():
    pixels = np.random.RandomState(0).randint(0, 256, (80, 90, 3)).astype(np.uint8)
    found = np.asarray(crop(Image.fromarray(pixels), Square(np.array([40.0, 42.0]), np.array([32.0, 0.0])), 16))
    mean = pixels[10:74, 8:72].reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert np.abs(found - mean).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "CMYK"])
def test_beyond_the_border_it_goes_on_mirrored_and_blurred(mode):
    pixels = np.random.RandomState(0).randint(0, 256, (64, 64)).astype(np.uint8)
    opaque = np.full_like(pixels, 255)
    bands = [opaque if band == "A" else pixels for band in Image.new(mode, (1, 1)).getbands()]
    image = Image.merge(mode, [Image.fromarray(band) for band in bands])
    found = crop(image, Square(np.array([0.0, 32.0]), np.array([64.0, 0.0])), 128)
    assert found.mode == mode and found.size == (128, 128)
    found = np.asarray(found).reshape(128, 128, -1)[:, :, 0].astype(float)
    for columns, same in ((slice(64, 128), pixels), (slice(62, 64), pixels[:, 1::-1])):  # inside, and just outside
        assert np.corrcoef(found[32:96, columns].ravel(), same.ravel())[0, 1] > 0.9
    assert found[32:96, :40].std() < 0.5 * pixels.std() and abs(found[:, :40].mean() - pixels.mean()) < 8


def test_the_largest_face_is_taken(monkeypatch):
    small, large = ((EYE, OTHER_EYE, MOUTH), tuple(3 * point for point in (EYE, OTHER_EYE, MOUTH)))
    monkeypatch.setattr(align, "find_faces", lambda pixels: [small, large, small])
    image = plane(400, 400).convert("L")
    assert align.align(image, 64) == crop(image, face_square(*large), 64)
    with pytest.raises(Unusable, match="the face is too small: 270 x 270"):
        align.align(image, 512)
    assert align.align(image, 512, allow_upscale=True).size == (512, 512)
    monkeypatch.setattr(align, "LOOKED_AT", 150)  # pixels: 400 become 134, a third
    monkeypatch.setattr(align, "find_faces", lambda pixels: [small] if pixels.shape == (134, 134, 3) else None)
    assert align.align(image, 64) == crop(image, face_square(*large), 64)
    monkeypatch.setattr(align, "find_faces", lambda pixels: [])
    with pytest.raises(Unusable, match="no face found"):
        align.align(image, 64)


def test_a_store_of_faces(tmp_path, finds_dots, capsys):
    (tmp_path / "pictures").mkdir()
    for i, (degrees, scale, shift) in enumerate([(0, 1, (0, 0)), (25, 1.4, (-20, 10)), (-100, 0.8, (30, 30))]):
        dots(200, degrees, scale, shift).save(tmp_path / "pictures" / f"{i}.png")
    Image.new("RGB", (200, 200)).save(tmp_path / "pictures" / "nobody.png")
    options = ("--fit", "face", "--resolution", "64", "--workers", "1")
    assert run("prepare", tmp_path / "pictures", tmp_path / "store", *options) == 0
    assert "nobody.png: no face found" in "".join(capsys.readouterr())
    store = open_store(tmp_path / "store")
    assert store.count == 3
    scaled = [(point - (5, 7.5)) / 90 * 64 for point in (EYE, OTHER_EYE, MOUTH)]
    for image in store.images():
        for place, (x, y) in enumerate(scaled):  # each dot where that of the upright face is
            assert image[int(y), int(x)].argmax() == place and image[int(y), int(x)].max() > 150


def test_a_face_is_projected(tmp_path, finds_dots, capsys):
    generator = tiny_generator(16)
    weights.save(tmp_path / "m.safetensors", weights.Model(generator))
    dots(200, 40).save(tmp_path / "turned.png")
    dots(200).save(tmp_path / "upright.png")
    targets = [projection.read_image(tmp_path / f"{name}.png", generator, "face") for name in ("turned", "upright")]
    assert targets[0].shape == (1, 3, 16, 16)
    middle = projection.read_image(tmp_path / "turned.png", generator)
    assert (targets[0] - targets[1]).abs().mean() < 0.3 * (middle - targets[1]).abs().mean()
    options = ("--steps", "2", "--candidates", "4", "--distance", "none", "--device", "cpu", "--out", tmp_path / "out")
    weights.save(tmp_path / "faces.safetensors", weights.Model(generator, weights.Provenance(fit="face")))
    for model, fit, wanted in (("m", ["--fit", "face"], targets[0]), ("faces", [], targets[0]), ("m", [], middle)):
        command = ("project", tmp_path / f"{model}.safetensors", tmp_path / "turned.png", *fit)
        assert run(*command, *options) == 0
        with Image.open(tmp_path / "out" / "turned-target.png") as found:
            assert np.array_equal(np.asarray(found), to_uint8(wanted)[0].permute(1, 2, 0).numpy())
    assert picture.open_explorer(tmp_path / "faces.safetensors").fit == "face"
    unknown = [projection.fit_of(weights.Provenance(fit=fit)) for fit in ("", "celeba", "upside down")]
    assert unknown == [None, None, None]
    Image.new("RGB", (50, 50)).save(tmp_path / "nobody.png")
    command = ("project", tmp_path / "m.safetensors", tmp_path / "nobody.png", "--fit", "face", "--device", "cpu")
    assert "nobody.png cannot be projected: no face found" in refused(capsys, *command)


def test_what_is_missing_is_said_before_the_work(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "cache"))
    align._options.cache_clear()
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "pictures" / "a.png")
    command = ("prepare", tmp_path / "pictures", tmp_path / "store", "--fit", "face")
    assert "call once: stylegan fetch faces" in refused(capsys, *command)
    assert not uploads.finds_faces() and not (tmp_path / "store").exists()
    (tmp_path / "w.task").write_bytes(b"weights")
    monkeypatch.setattr(align, "fetched", lambda name: [tmp_path / "w.task"])
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", None)
    assert "pip install 'stylegan[align]'" in refused(capsys, *command)

    def lacks_a_library(_):
        raise OSError("libEGL.so.1: cannot open shared object file")

    base = SimpleNamespace(
        FaceLandmarkerOptions=dict, FaceLandmarker=SimpleNamespace(create_from_options=lacks_a_library)
    )
    monkeypatch.setitem(sys.modules, "mediapipe", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "mediapipe.tasks.python", SimpleNamespace(BaseOptions=dict, vision=base))
    assert "libEGL.so.1: cannot open shared object file; on Debian: apt install" in refused(capsys, *command)
    align._options.cache_clear()


def test_real_faces(capfd):
    photographs = SHARED / "data" / "fairface-128.zip"
    if not photographs.exists():
        pytest.skip(f"photographs of faces are needed, and {photographs} is not there")
    try:
        align.check()
    except InputError as error:
        pytest.skip(str(error))
    assert uploads.finds_faces()
    capfd.readouterr()
    with zipfile.ZipFile(photographs) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[:20]
        images = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in names]
    compared = 0
    for image in images:
        faces = align.find_faces(np.asarray(image))
        turned = align.find_faces(np.asarray(image.rotate(-20, Image.Resampling.BICUBIC)))
        if len(faces) == len(turned) == 1:
            compared += 1
            upright, other = face_square(*faces[0]), face_square(*turned[0])
            assert faces[0][0][0] < faces[0][1][0] and faces[0][2][1] > faces[0][0][1]
            moved = Square(turn(20) @ (upright.center - 64) + 64, turn(20) @ upright.right)
            assert np.abs(moved.corners - other.corners).max() < 0.2 * upright.side
    assert compared >= 14
    assert capfd.readouterr().err == ""  # native code has been kept quiet
    assert downloads.checksum_of(downloads.fetched("faces")) == downloads.DOWNLOADS["faces"][0].sha256
