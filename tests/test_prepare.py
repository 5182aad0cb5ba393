"""From files to a store: every image as a user expects it, everything unusable by name and reason."""

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from stylegan.data import sources
from stylegan.data.decoding import _to_eight_bits
from stylegan.data.fitting import Fitting, decode
from stylegan.data.items import Unusable
from stylegan.data.prepare import PrepareConfig, prepare, prepare_portraits
from stylegan.data.pyramid import pyramid
from stylegan.data.sources import open_source
from stylegan.data.store import open_store
from stylegan.data.store_writer import StoreWriter
from stylegan.data.workers import in_order
from stylegan.errors import InputError


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    image = np.random.RandomState(seed).randint(0, 256, (height, width, channels)).astype(np.uint8)
    return image[:, :, 0] if channels == 1 else image


def encode(image: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    """A PNG file that declares its size and holds nearly nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def fitting(resolution: int = 8, **options) -> Fitting:
    return Fitting(resolution, **options)


def config(resolution: int = 8, **options) -> PrepareConfig:
    return PrepareConfig(resolution=resolution, **options)


def folder_of(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def zip_of(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def good_files(count: int, side: int = 16) -> dict[str, bytes]:
    """Image i is filled with the value i, so that a stored image tells which one it was."""
    return {f"{i:04d}.png": encode(np.full((side, side, 3), i, np.uint8)) for i in range(count)}


# --- One image: modes --------------------------------------------------------------------------


def gray(value: int) -> list[list[int]]:
    return [[value] * 3]


def flat(mode: str, value, size: int = 8) -> Image.Image:
    return Image.new(mode, (size, size), value)


def sixteen_bits(dtype: str, value: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8), value, dtype))


MODES = {
    "RGB": (encode(flat("RGB", (10, 20, 30))), [[10, 20, 30]]),
    "gray": (encode(flat("L", 77)), gray(77)),
    "1 bit": (encode(flat("1", 1)), gray(255)),
    "16 bits, not clipped": (encode(sixteen_bits("u2", 30_000)), gray(117)),  # 30000 / 257 = 116.7
    "16 bits, white": (encode(sixteen_bits("u2", 65_535)), gray(255)),
    "16 bits, big-endian TIFF": (encode(flat("I;16B", 30_000), "TIFF"), gray(117)),
    "32-bit integers in a 16-bit range": (encode(flat("I", 30_000), "TIFF"), gray(117)),
    "16 bits in PGM": (b"P5 8 8 65535\n" + b"\x75\x30" * 64, gray(117)),
    "float in [0, 1]": (encode(flat("F", 0.5), "TIFF"), gray(128)),
    "float in [0, 255]": (encode(flat("F", 99.6), "TIFF"), gray(100)),
    "palette": (encode(flat("RGB", (10, 20, 30)).quantize(4)), [[10, 20, 30]]),
    "palette, transparent": (encode(flat("P", 0), transparency=0), gray(255)),
    "gray with a transparent value": (encode(flat("L", 5), transparency=5), gray(255)),
    "LA": (encode(flat("LA", (100, 0))), gray(255)),
    "RGBA over white": (encode(flat("RGBA", (255, 0, 0, 51))), [[255, 204, 204]]),
    "CMYK": (encode(flat("CMYK", (255, 0, 0, 0)), "TIFF"), [[0, 255, 255]]),
    "LAB": (encode(flat("LAB", (255, 128, 128)), "TIFF"), gray(255)),
    "GIF of one frame": (encode(flat("RGB", (255, 0, 0)), "GIF"), [[255, 0, 0]]),
    "BMP": (encode(flat("RGB", (10, 20, 30)), "BMP"), [[10, 20, 30]]),
}


@pytest.mark.parametrize("data, expected", MODES.values(), ids=MODES.keys())
def test_modes(data, expected):
    image = decode(data, fitting())
    assert image.dtype == np.uint8 and image.shape == (8, 8, 3)
    np.testing.assert_allclose(np.unique(image.reshape(-1, 3), axis=0), expected, atol=1)


def test_adobe_cmyk_jpeg_is_not_inverted():
    image = decode(encode(flat("CMYK", (0, 255, 255, 0), 16), "JPEG"), fitting())
    np.testing.assert_allclose(image.reshape(-1, 3).mean(0), [255, 0, 0], atol=4)


def test_channels():
    image = noise(8, 8)
    np.testing.assert_array_equal(decode(encode(image), fitting(channels=3)), image)
    luma = np.asarray(Image.fromarray(image).convert("L"))
    np.testing.assert_array_equal(decode(encode(image), fitting(channels=1))[:, :, 0], luma)
    opaque = decode(encode(image), fitting(channels=4))
    np.testing.assert_array_equal(opaque[:, :, :3], image)
    assert (opaque[:, :, 3] == 255).all()
    rgba = noise(8, 8, 4)
    np.testing.assert_array_equal(decode(encode(rgba), fitting(channels=4)), rgba)


def test_transparent_pixels_do_not_leak_color_when_reduced():
    image = np.zeros((16, 16, 4), np.uint8)
    image[:, 0::2] = (255, 0, 0, 255)  # red beside transparent black
    for side in (16, 15):  # box filter, Lanczos
        reduced = decode(encode(image[:side, :side]), fitting(8, channels=4))
        np.testing.assert_array_equal(reduced[2:-2, 2:-2, 0], 255)
    np.testing.assert_allclose(decode(encode(image), fitting(8)), np.full((8, 8, 3), (255, 127, 127)), atol=1)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_exif_rotation(kind, orientation):
    upright = Image.new("RGB", (16, 24), "black")
    upright.paste("red", (0, 0, 8, 12))
    upright.paste("blue", (8, 0, 16, 12))
    stored = {  # what a camera stores so that the rotation in the second column shows it upright
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    options |= {"lossless": True} if kind == "WEBP" else {}
    image = decode(encode(stored, kind, exif=exif, **options), fitting(8, fit="stretch"))
    expected = np.asarray(upright.resize((8, 8), Image.Resampling.BOX))
    np.testing.assert_allclose(image.astype(int), expected, atol=40 if kind == "JPEG" else 1)


def test_color_profiles_become_srgb():
    image = flat("RGB", (200, 50, 50))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    np.testing.assert_array_equal(decode(encode(image, icc_profile=srgb.tobytes()), fitting())[0, 0], (200, 50, 50))
    # A profile with red and blue exchanged: its rXYZ and bXYZ tags point to each other's values.
    profile = bytearray(srgb.tobytes())
    assert struct.unpack(">I", profile[128:132])[0] < 30  # tags
    red, blue = profile.index(b"rXYZ", 128), profile.index(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    name = profile.index("sRGB".encode("utf-16-be"))
    profile[name : name + 8] = "test".encode("utf-16-be")
    converted = decode(encode(image, icc_profile=bytes(profile)), fitting())[0, 0]
    np.testing.assert_allclose(converted, (50, 50, 200), atol=3)
    transparent = decode(encode(flat("RGBA", (200, 50, 50, 128)), icc_profile=bytes(profile)), fitting(channels=4))
    np.testing.assert_allclose(transparent[0, 0], (50, 50, 200, 128), atol=3)


@pytest.mark.parametrize("profile", [b"no profile", b"\0" * 200])
def test_broken_color_profiles_and_exif_are_ignored(profile):
    image = noise(8, 8)
    np.testing.assert_array_equal(decode(encode(image, icc_profile=profile), fitting()), image)
    np.testing.assert_array_equal(decode(encode(image, exif=b"Exif\0\0MM\0*\xff\xff"), fitting()), image)


def test_phone_jpeg_with_a_second_picture_is_one_image():
    data = encode(flat("RGB", (200, 0, 0)), "MPO", save_all=True, append_images=[flat("RGB", (0, 0, 200))])
    assert Image.open(io.BytesIO(data)).n_frames == 2
    np.testing.assert_allclose(decode(data, fitting())[0, 0], (200, 0, 0), atol=3)


def test_modes_that_files_seldom_have():
    assert _to_eight_bits(flat("YCbCr", (50, 128, 128))).getpixel((0, 0)) == (50, 50, 50)
    assert _to_eight_bits(flat("HSV", (0, 255, 200))).getpixel((0, 0)) == (200, 0, 0)


def test_modes_without_a_meaning_are_refused_by_name():
    with pytest.raises(Unusable, match="unsupported mode La"):
        _to_eight_bits(Image.new("La", (8, 8)))


# --- One image: fit ----------------------------------------------------------------------------


def test_crop_takes_the_center():
    image = noise(8, 13)
    np.testing.assert_array_equal(decode(encode(image), fitting(8)), image[:, 2:10])
    image = noise(13, 8)
    np.testing.assert_array_equal(decode(encode(image), fitting(8)), image[2:10])


def test_even_reductions_equal_the_pyramid():
    image = noise(64, 64)
    np.testing.assert_array_equal(decode(encode(image), fitting(16)), pyramid(image)[16])
    image = noise(24, 24)  # by 3
    expected = np.rint(image.astype(float).reshape(8, 3, 8, 3, 3).mean((1, 3)))
    np.testing.assert_array_equal(decode(encode(image), fitting(8)), expected)
    image = noise(24, 16)  # by 3 and by 2
    expected = np.rint(image.astype(float).reshape(8, 3, 8, 2, 3).mean((1, 3)))
    np.testing.assert_array_equal(decode(encode(image), fitting(8, fit="stretch")), expected)


def test_other_reductions_are_lanczos():
    image = noise(21, 21)
    expected = np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.LANCZOS))
    np.testing.assert_array_equal(decode(encode(image), fitting(8)), expected)


@pytest.mark.parametrize("height, width", [(16, 8), (8, 16), (16, 5), (100, 1)])
def test_pad_centers_on_black(height, width):
    image = decode(encode(np.full((height, width, 3), 200, np.uint8)), fitting(8, fit="pad"))
    longer = max(height, width)
    rows, columns = (max(1, round(side * 8 / longer)) for side in (height, width))
    top, left = (8 - rows) // 2, (8 - columns) // 2
    expected = np.zeros((8, 8, 3), np.uint8)
    expected[top : top + rows, left : left + columns] = 200
    np.testing.assert_array_equal(image, expected)


def test_wide_is_cropped_to_4_to_3_and_padded():
    stored = noise(40, 32)
    image = decode(encode(stored), fitting(16, fit="wide"))
    kept = stored[8:32].reshape(12, 2, 16, 2, 3).mean(axis=(1, 3))
    np.testing.assert_array_equal(image[2:14], np.rint(kept).astype(np.uint8))
    assert not image[:2].any() and not image[14:].any()
    with pytest.raises(Unusable, match=r"^wider than 4 to 3: 40 x 29$"):
        decode(encode(noise(29, 40)), fitting(16, fit="wide"))
    with pytest.raises(Unusable, match=r"^too small: 15 x 30$"):
        decode(encode(noise(30, 15)), fitting(16, fit="wide"))
    assert decode(encode(noise(30, 15)), fitting(16, fit="wide", allow_upscale=True)).shape == (16, 16, 3)


def test_too_small_depends_on_the_side_that_is_used():
    data = encode(noise(6, 12))
    for fit in ("crop", "stretch"):
        with pytest.raises(Unusable, match=r"^too small: 12 x 6$"):
            decode(data, fitting(8, fit=fit))
        assert decode(data, fitting(8, fit=fit, allow_upscale=True)).shape == (8, 8, 3)
    assert decode(data, fitting(8, fit="pad")).shape == (8, 8, 3)


# --- What cannot be used -----------------------------------------------------------------------

NOISE = noise(40, 40)
TOO_MANY_PIXELS = (
    "decompression bomb: more than 67,108,864 pixels; make it smaller first, such as with: "
    "magick IN -resize 8000x8000 OUT"
)
BAD = {
    "empty.png": (b"", "empty (zero bytes)"),
    "text.jpg": (b"hello, this is no image", "not an image of a known format"),
    "no_suffix": (b"hello, this is no image", "not an image of a known format"),
    "notes.docx": (b"PK", "not an image"),
    "truncated.png": (encode(NOISE)[:-2000], "truncated"),
    "truncated.jpg": (encode(NOISE, "JPEG")[:-500], "truncated"),
    "truncated.bmp": (encode(NOISE, "BMP")[:-500], "truncated"),
    "truncated.webp": (encode(NOISE, "WEBP")[:-200], "damaged or truncated: could not create decoder object"),
    "truncated.gif": (encode(NOISE, "GIF")[:-700], "truncated"),
    "truncated.tif": (encode(NOISE, "TIFF")[:-2000], "truncated"),
    "header_only.png": (encode(NOISE)[:20], "truncated"),
    "signature_only.png": (encode(NOISE)[:8], "damaged or truncated"),
    "small.png": (encode(noise(7, 30)), "too small: 30 x 7"),
    "animated.gif": (
        encode(flat("L", 1), "GIF", save_all=True, append_images=[flat("L", 200)]),
        "animated or of several pages",
    ),
    "animated.webp": (
        encode(flat("RGB", 1), "WEBP", save_all=True, append_images=[flat("RGB", (255, 0, 0))]),
        "animated or of several pages",
    ),
    "animated.png": (
        encode(flat("RGB", 1), "PNG", save_all=True, append_images=[flat("RGB", (255, 0, 0))]),
        "animated or of several pages",
    ),
    "pages.tif": (
        encode(flat("RGB", 1), "TIFF", save_all=True, append_images=[flat("RGB", 2)]),
        "animated or of several pages",
    ),
    "bomb.png": (png_header(30_000, 30_000), TOO_MANY_PIXELS),
    "scans.jpg": (b"\xff\xd8" + 65 * b"\xff\xda", "decompression bomb: more than 64 scans"),
    "huge.png": (png_header(12_000, 12_000), TOO_MANY_PIXELS),
    "large.png": (png_header(8192, 8192), "truncated"),
    "floats.tif": (
        encode(flat("F", 1000.0), "TIFF"),
        "floating-point values from 1000 to 1000, neither [0, 1] nor [0, 255]",
    ),
    "nan.tif": (
        encode(flat("F", float("nan")), "TIFF"),
        "floating-point values from nan to nan, neither [0, 1] nor [0, 255]",
    ),
    "integers.tif": (encode(flat("I", 70_000), "TIFF"), "integers from 70000 to 70000, neither 8 nor 16 bits"),
    "negative.tif": (encode(flat("I", -1), "TIFF"), "integers from -1 to -1, neither 8 nor 16 bits"),
}
Image.init()
if "AVIF" in Image.SAVE:
    BAD["truncated.avif"] = (encode(NOISE, "AVIF")[:200], "damaged or truncated")
SILENT = {
    "notes.txt": b"x",
    "Thumbs.db": b"x",
    ".hidden.png": b"x",
    ".git/a.png": b"x",
    "__MACOSX/._a.png": b"x",
    "a.csv": b"x",
}


@pytest.mark.parametrize("make", [folder_of, zip_of])
def test_everything_unusable_is_listed_by_name_and_reason(tmp_path, make, capfd):
    files = {f"bad/{name}": data for name, (data, _) in BAD.items()} | SILENT | good_files(3)
    source = make(tmp_path / "source", files)
    report = prepare(source, tmp_path / "store", config(), progress=False)
    assert report.count == 3 and report.path == tmp_path / "store"
    reasons = dict(report.skipped)
    assert list(reasons) == sorted(f"bad/{name}" for name in BAD)
    for name, (_, reason) in BAD.items():
        assert reasons[f"bad/{name}"] == reason, name
    assert capfd.readouterr() == ("", "")
    store = open_store(tmp_path / "store")
    assert sorted(store.images()[:, 0, 0, 0].tolist()) == [0, 1, 2]
    assert store.made["skipped"] == len(BAD) and store.made["source"] == "source"
    with pytest.raises(InputError, match=r"cannot be used: bad/.*; mend or remove them"):
        prepare(source, tmp_path / "strict", config(strict=True), progress=False)
    assert not (tmp_path / "strict").exists()


def test_strict_names_what_decoding_found(tmp_path):
    source = folder_of(tmp_path / "source", good_files(40) | {"cut.png": encode(NOISE)[:-2000], "zero.jpg": b""})
    with pytest.raises(InputError, match=r"used: cut.png \(truncated\), zero.jpg \(empty \(zero bytes\)\); mend"):
        prepare(source, tmp_path / "store", config(strict=True, workers=2), progress=False)
    assert {path.name for path in tmp_path.iterdir()} == {"source"}
    report = prepare(source, tmp_path / "store", config(classes="none"), progress=False)
    assert report.count == 40


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes as files are POSIX's")
def test_special_files_links_and_permissions(tmp_path, monkeypatch):
    source = folder_of(tmp_path / "source", good_files(3))
    os.mkfifo(source / "pipe.png")
    (source / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (source / "round").symlink_to(source)
    folder_of(tmp_path / "elsewhere", {"linked.png": encode(noise(8, 8))})
    (source / "link").symlink_to(tmp_path / "elsewhere")
    real_open = Path.open

    def open_with_permissions(path, *args, **kwargs):
        if path.name == "0001.png":
            raise PermissionError(13, "Permission denied")
        return real_open(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_with_permissions)
    report = prepare(source, tmp_path / "store", config(), progress=False)
    assert report.skipped == [
        ("0001.png", "unreadable: Permission denied"),
        ("gone.png", "unreadable: No such file or directory"),
        ("pipe.png", "not a file"),
    ]
    assert sorted(open_store(tmp_path / "store").names) == ["0000.png", "0002.png", "link/linked.png"]


# --- Zip files ---------------------------------------------------------------------------------


def test_hostile_zip_members_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100_000)
    files = good_files(2) | {name: encode(NOISE) for name in ("crc.png", "more.png", "less.png", "secret.png")}
    files |= {"../../evil.png": encode(np.full((8, 8, 3), 9, np.uint8)), "huge.png": bytes(200_000)}
    path = zip_of(tmp_path / "z.zip", files)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("bzip2.png", encode(NOISE), zipfile.ZIP_BZIP2)
    data = bytearray(path.read_bytes())

    def patch(name: str, offset: int, form: str, change) -> None:
        """Change a field of a member's entry in the zip file's directory."""
        start = data.index(b"PK\x01\x02", 0)
        while data[start + 46 : start + 46 + len(name)] != name.encode():
            start = data.index(b"PK\x01\x02", start + 4)
        (value,) = struct.unpack_from(form, data, start + offset)
        struct.pack_into(form, data, start + offset, change(value))

    patch("crc.png", 16, "<I", lambda crc: crc ^ 1)
    patch("more.png", 24, "<I", lambda size: size - 1)
    patch("less.png", 24, "<I", lambda size: size + 1)
    patch("secret.png", 8, "<H", lambda flags: flags | 1)
    path.write_bytes(data)
    report = prepare(path, tmp_path / "store", config(), progress=False)
    assert report.skipped == [
        ("bzip2.png", "compressed in a way other than stored or deflated"),
        ("crc.png", "damaged zip entry: bad checksum (CRC)"),
        ("huge.png", "too large: 0 MiB"),
        ("less.png", "damaged zip entry: holds less than it declares"),
        ("more.png", "damaged zip entry: holds more than it declares"),
        ("secret.png", "encrypted"),
    ]
    assert sorted(open_store(tmp_path / "store").names) == ["../../evil.png", "0000.png", "0001.png"]
    assert {file.name for file in tmp_path.iterdir()} == {"z.zip", "store"}


def test_overlapping_damage_inside_a_zip(tmp_path):
    path = zip_of(tmp_path / "z.zip", good_files(1) | {"a.png": encode(NOISE), "b.png": encode(NOISE)}, 0)
    data = bytearray(path.read_bytes())
    second = data.index(b"PK\x03\x04", 4)
    data[second : second + 4] = b"XXXX"
    path.write_bytes(data)
    report = prepare(path, tmp_path / "store", config(), progress=False)
    assert report.skipped == [("a.png", "damaged zip entry: no local header")]


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("top", ["", "all/"])
def test_nvidia_zip(tmp_path, compression, top):
    images = {f"{i % 3:05d}/img{i:08d}.png": np.full((8, 8, 3), i, np.uint8) for i in range(12)}
    labels = [[name, int(image[0, 0, 0]) % 4] for name, image in images.items()]
    files = {top + name: encode(image) for name, image in images.items()}
    files[top + "dataset.json"] = json.dumps({"labels": labels}).encode()
    prepare(zip_of(tmp_path / "z.zip", files, compression), tmp_path / "store", config(), progress=False)
    store = open_store(tmp_path / "store")
    assert store.label_names == ("0", "1", "2", "3")
    assert store.labels.tolist() == (store.images()[:, 0, 0, 0] % 4).tolist()
    assert set(store.names) == set(images)
    prepare(tmp_path / "z.zip", tmp_path / "plain", config(classes="none"), progress=False)
    assert open_store(tmp_path / "plain").labels is None


# --- Classes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b'{"labels": null}', b'{"name": "holiday"}', b"[1, 2]", b'{"labels": []}'])
def test_dataset_json_without_labels(tmp_path, content):
    source = folder_of(tmp_path / "source", good_files(2) | {"dataset.json": content})
    prepare(source, tmp_path / "store", config(), progress=False)
    assert open_store(tmp_path / "store").labels is None


def test_dataset_json_in_a_folder_with_named_classes_and_gaps(tmp_path):
    labels = [["0000.png", "dog"], ["0001.png", "cat"], ["0002.png", "dog"], ["away.png", "cat"]]
    files = good_files(4) | {"dataset.json": json.dumps({"labels": labels}).encode()}
    report = prepare(folder_of(tmp_path / "s", files), tmp_path / "store", config(), progress=False)
    store = open_store(tmp_path / "store")
    assert store.label_names == ("cat", "dog")
    found = {name: store.label_names[label] for name, label in zip(store.names, store.labels, strict=True)}
    assert found == {"0000.png": "dog", "0001.png": "cat", "0002.png": "dog"}
    assert report.skipped == [
        ("0003.png", "no label in dataset.json"),
        ("away.png", "named in dataset.json but not there"),
    ]


@pytest.mark.parametrize(
    "content, message",
    [
        (b'{"labels": ', "is not valid JSON"),
        (b"\xff\xfe", "is not valid JSON"),
        (b'{"labels": {"0000.png": 1}}', "another form"),
        (b'{"labels": [["0000.png"]]}', "another form"),
        (b'{"labels": [["0000.png", 1.5]]}', "an image the label 1.5"),
        (b'{"labels": [["0000.png", [0, 1]]]}', "class numbers or names"),
        (b'{"labels": [["0000.png", true]]}', "the label True"),
        (b'{"labels": [["0000.png", -1]]}', "class number -1"),
        (b'{"labels": [["0000.png", 1000000000]]}', "class number 1000000000"),
        (b'{"labels": [["0000.png", 1], ["0001.png", "a"]]}', "mixes class numbers and class names"),
        (b'{"kind": "stylegan-store"}', "prepared store already"),
    ],
)
def test_labels_that_make_no_sense_are_refused(tmp_path, content, message):
    source = folder_of(tmp_path / "source", good_files(2) | {"dataset.json": content})
    with pytest.raises(InputError, match=message):
        prepare(source, tmp_path / "store", config(), progress=False)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("make", [folder_of, zip_of])
@pytest.mark.parametrize("top", ["", "animals/all/"])
def test_classes_from_folders(tmp_path, make, top):
    files = {f"{top}cat/{name}": data for name, data in good_files(3).items()}
    files |= {f"{top}dog/deep/{i}.png": encode(np.full((8, 8, 3), 100 + i, np.uint8)) for i in range(3)}
    files[f"{top}stray.png"] = encode(noise(8, 8))
    files["dataset.json"] = b'{"labels": [["x", 1]]}'  # folders were asked for
    source = make(tmp_path / "source", files)
    report = prepare(source, tmp_path / "store", config(classes="folders"), progress=False)
    store = open_store(tmp_path / "store")
    assert store.label_names == ("cat", "dog")
    assert store.labels.tolist() == (store.images()[:, 0, 0, 0] >= 100).tolist()
    assert report.skipped == [(f"{top}stray.png", "in no class folder")]


def test_classes_from_folders_need_two(tmp_path):
    source = folder_of(tmp_path / "source", {"one/a.png": encode(noise(8, 8)), "one/b.png": encode(noise(8, 8))})
    with pytest.raises(InputError, match="fewer than two sub-folders"):
        prepare(source, tmp_path / "store", config(classes="folders"), progress=False)


# --- Order and processes -----------------------------------------------------------------------


def test_order_is_the_seeds_permutation_and_labels_follow(tmp_path):
    files = good_files(50) | {"dataset.json": json.dumps({"labels": [[f"{i:04d}.png", i] for i in range(50)]}).encode()}
    source = zip_of(tmp_path / "z.zip", files)
    prepare(source, tmp_path / "a", config(seed=3), progress=False)
    store = open_store(tmp_path / "a")
    order = np.random.RandomState(3).permutation(50)
    assert store.labels.tolist() == order.tolist()
    assert store.images()[:, 0, 0, 0].tolist() == order.tolist()
    assert store.names == [f"{i:04d}.png" for i in order]
    prepare(source, tmp_path / "b", config(seed=3, workers=2, limit=7), progress=False)
    limited = open_store(tmp_path / "b")
    assert limited.labels.tolist() == order[:7].tolist()


def test_any_number_of_processes_makes_the_same_store(tmp_path):
    files = {f"{i % 5}/{i}.jpg": encode(noise(20 + i % 7, 20 + i % 3, seed=i), "JPEG") for i in range(90)}
    files |= {"1/cut.png": encode(NOISE)[:-2000], "2/small.png": encode(noise(3, 3))}
    source = folder_of(tmp_path / "source", files)
    reports = [
        prepare(source, tmp_path / str(workers), config(16, classes="folders", workers=workers), progress=False)
        for workers in (1, 2, 3)
    ]
    assert reports[0].count == 90 and len(reports[0].skipped) == 2
    for report in reports[1:]:
        assert report.skipped == reports[0].skipped
        for file in (tmp_path / "1").iterdir():
            assert file.read_bytes() == (report.path / file.name).read_bytes()


def slow_for_the_first(task: int) -> int:
    if task < 2:
        time.sleep(0.2)
    return task * task


def test_in_order_keeps_the_order_and_can_be_left_early():
    tasks = range(400)
    assert list(in_order(slow_for_the_first, tasks, 2, 2**20)) == [task * task for task in tasks]
    results = in_order(slow_for_the_first, tasks, 2, 2**20)
    assert next(results) == 0
    results.close()


def test_a_worker_that_dies_is_an_error_and_no_deadlock(capfd):
    with pytest.raises(RuntimeError, match="worker process ended unexpectedly"):
        list(in_order(int, ["1"] * 50 + ["not a number"] * 50, 2, 2**20))
    assert "invalid literal for int" in capfd.readouterr().err  # a programming error keeps its traceback


@pytest.fixture
def long_work(tmp_path):
    """A source that takes some time and a process that prepares it, from a script without a main guard."""
    source = folder_of(tmp_path / "source", {"0.jpg": encode(noise(512, 512), "JPEG")})
    for i in range(1, 3000):
        os.link(source / "0.jpg", source / f"{i}.jpg")
    script = tmp_path / "script.py"
    script.write_text(
        "from stylegan.data.prepare import PrepareConfig, prepare\n"
        f"prepare({str(source)!r}, {str(tmp_path / 'out' / 'store')!r}, PrepareConfig(resolution=512, workers=2))\n"
    )
    process = subprocess.Popen([sys.executable, script], stderr=subprocess.PIPE, start_new_session=True)
    deadline = time.monotonic() + 20
    while not any(file.stat().st_size > 10**6 for file in tmp_path.glob("out/.store.partial-*/images-0512.npy")):
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()
    process.stderr.close()


def test_a_killed_run_leaves_nothing_that_looks_finished(tmp_path, long_work):
    long_work.send_signal(signal.SIGKILL)
    long_work.wait()
    (partial,) = (tmp_path / "out").iterdir()
    assert partial.name == f".store.partial-{long_work.pid}"
    with pytest.raises(InputError, match="unfinished"):
        open_store(partial)
    with pytest.raises(InputError, match="no store at"):
        open_store(tmp_path / "out" / "store")
    prepare(tmp_path / "source", tmp_path / "out" / "store", config(512, limit=1), progress=False)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["store"]


def test_ctrl_c_stops_the_workers_and_leaves_nothing(tmp_path, long_work):
    os.killpg(long_work.pid, signal.SIGINT)  # as a terminal does: to the workers too
    _, errors = long_work.communicate(timeout=10)
    assert long_work.returncode != 0
    assert errors.count(b"Traceback") == 1 and errors.rstrip().endswith(b"KeyboardInterrupt")
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_in_this_process_leaves_nothing(tmp_path, monkeypatch):
    add = StoreWriter.add

    def interrupted(writer, *args, **kwargs):
        add(writer, *args, **kwargs)
        if writer.count == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(StoreWriter, "add", interrupted)
    source = folder_of(tmp_path / "source", good_files(40))
    for workers in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            prepare(source, tmp_path / "store", config(workers=workers), progress=False)
        assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_full_disk(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    source = folder_of(tmp_path / "source", good_files(3))
    with pytest.raises(InputError, match=r"store cannot be written \(No space left on device\)"):
        prepare(source, tmp_path / "store", config(), progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_progress_goes_to_a_terminal_on_stderr(tmp_path, capsys, monkeypatch):
    source = folder_of(tmp_path / "source", good_files(3))
    prepare(source, tmp_path / "quiet", config())  # nobody watches
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    prepare(source, tmp_path / "store", config())
    out, err = capsys.readouterr()
    assert out == "" and "3/3" in err and "image/s" in err


def test_importing_does_not_import_torch():
    code = "import sys, stylegan.data.prepare; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# --- Refusals ----------------------------------------------------------------------------------


def test_sources_that_are_none(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        open_source(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(InputError, match=r"holds no image file$"):
        open_source(empty)
    (empty / "a.docx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no image file \(a.docx: not an image\)"):
        open_source(empty)
    (empty / "b.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"no usable image: a.docx \(not an image\), b.png \(empty"):
        prepare(empty, tmp_path / "store", config(), progress=False)
    with pytest.raises(InputError, match="no data set that is known here"):
        open_source(folder_of(tmp_path, {"x.png": encode(NOISE)}) / "x.png")
    whole = zip_of(tmp_path / "z.zip", good_files(3)).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no data set that is known here"):
        open_source(tmp_path / "cut.zip")
    assert not (tmp_path / "store").exists()


def test_existing_store_is_refused_before_the_work(tmp_path, monkeypatch):
    source = folder_of(tmp_path / "source", good_files(3))
    prepare(source, tmp_path / "store", config(), progress=False)
    monkeypatch.setattr("stylegan.data.prepare.open_source", None)
    with pytest.raises(InputError, match="exists already"):
        prepare(source, tmp_path / "store", config(), progress=False)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"resolution": 100}, "^resolution is 100; use a power of two from 4 to 1024$"),
        ({"fit": "squeeze"}, "^fit is 'squeeze'; use one of: crop, pad, wide, stretch, face, celeba$"),
        ({"channels": 2}, r"^channels is 2; use 1 \(gray\), 3 \(RGB\) or 4 \(RGBA\)$"),
        ({"classes": "some"}, "^classes is 'some'; use auto, folders or none$"),
        ({"limit": 0}, "^limit is 0; use 1 or more$"),
        ({"seed": -1}, "^seed is -1; use 0 to 4294967295$"),
        ({"seed": 2**32}, "^seed is 4294967296; use"),
        ({"workers": 0}, "^workers is 0; use 1 or more$"),
    ],
)
def test_options_out_of_range(tmp_path, options, message):
    source = folder_of(tmp_path / "source", good_files(1))
    with pytest.raises(InputError, match=message):
        prepare(source, tmp_path / "store", PrepareConfig(**options), progress=False)
    assert not (tmp_path / "store").exists()


# --- Portraits ---------------------------------------------------------------------------------


def test_portraits(tmp_path):
    from stylegan.portraits.factors import ATTRIBUTES, attributes, factors
    from stylegan.portraits.render import portrait

    report = prepare_portraits(tmp_path / "a", count=5, resolution=16, seed=1, workers=1, progress=False)
    assert report.count == 5 and report.skipped == []
    store = open_store(tmp_path / "a")
    assert store.attribute_names == tuple(ATTRIBUTES) and store.attributes.shape == (5, len(ATTRIBUTES))
    np.testing.assert_array_equal(store.images()[3], portrait(3, 16, 1))
    np.testing.assert_array_equal(store.attributes[3], attributes(factors(3, 1)))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"count": 0}, "^count is 0; use 1 or more$"),
        ({"resolution": 48}, "^resolution is 48; use a power of two from 4 to 1024$"),
        ({"seed": -1}, "^seed is -1; use 0 to 4294967295$"),
        ({"seed": 2**32}, "^seed is 4294967296; use"),
        ({"workers": 0}, "^workers is 0; use 1 or more$"),
    ],
)
def test_portrait_options_out_of_range(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        prepare_portraits(tmp_path / "new" / "store", **options)
    assert list(tmp_path.iterdir()) == []
