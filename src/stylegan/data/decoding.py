"""An image file's bytes to pixels: the one way in which foreign images are read, whatever they hold.

Worker processes import this module, so it must not import torch.
"""

import io
import logging
import struct
import warnings
import zlib
from functools import lru_cache

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from stylegan.data.items import Unusable
from stylegan.files import SHEET_MARK

# Pillow's remarks on odd files: to whoever listens to that logger, not to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

MAX_PIXELS = 2**26  # of an image; more, and decoding would take more than 1.25 GiB, whatever the format
_BOMB = (
    f"decompression bomb: more than {MAX_PIXELS:,} pixels; make it smaller first, such as with: "
    "magick IN -resize 8000x8000 OUT"
)
MAX_SCANS = 64  # of a JPEG file: each goes over the whole image, so that a small file could take hours

# Formats that are decoded. Pillow knows more, but some run other programs (EPS), and some take any bytes (TGA).
# (HEIF is there once `_register_heif` has found its library.)
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "BMP", "DIB", "GIF", "TIFF", "JPEG2000", "PPM", "HEIF")
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"II*\0", b"MM\0*", b"BM")

# What Pillow's decoders raise on damaged files. It is long because they parse untrusted bytes with unpack, indexing
# and arithmetic, and let what that raises through.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    MemoryError,
    struct.error,
    zlib.error,
)

_ORIENTATIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_rgb(data: bytes, about: int | None = None) -> np.ndarray:
    """An image file's bytes at its own size, transparent parts on white: uint8 [H, W, 3].

    about: a size in pixels that is enough; large JPEG files are then read at a fraction of their size, which is fast.
    Raises Unusable with the reason.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = open_image(data)
        if about is not None:
            image.draft(None, (about, about))
        image, profile = load_upright(image)
        return np.asarray(on_white(to_srgb(image, profile)).convert("RGB"))


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of an image file as one sees it, turned as the Exif data says; the pixels are not decoded.

    Raises Unusable with the reason.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = open_image(data)
        try:
            turned = (image.getexif().get(ExifTags.Base.Orientation) or 1) in (5, 6, 7, 8)
        except DECODE_ERRORS:
            turned = False
    return (image.height, image.width) if turned else image.size


def open_image(data: bytes) -> Image.Image:
    """Check what an image file's header says; the pixels are not decoded yet. Raises Unusable with the reason."""
    if not data:
        raise Unusable("empty (zero bytes)")
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        raise Unusable(f"decompression bomb: more than {MAX_SCANS} scans")
    Image.init()  # registers the formats; does nothing the second time
    is_heif = data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS
    if is_heif and not _register_heif():
        raise Unusable("HEIC, which needs a library: pip install 'stylegan[heic]', or convert it to JPEG or PNG")
    try:
        image = Image.open(io.BytesIO(data), formats=[name for name in FORMATS if name in Image.OPEN])
        several = getattr(image, "is_animated", False)
    except UnidentifiedImageError as error:
        known = data.startswith(_SIGNATURES) or data[4:12] == b"ftypavif" or is_heif
        raise Unusable("damaged or truncated" if known else "not an image of a known format") from error
    except Image.DecompressionBombError as error:
        raise Unusable(_BOMB) from error
    except DECODE_ERRORS as error:
        raise Unusable(_damage(error)) from error
    if image.width * image.height > MAX_PIXELS:
        raise Unusable(_BOMB)
    if several and image.format != "MPO":  # a phone's JPEG file: the picture, then its preview or depth
        raise Unusable("animated or of several pages")
    return image


@lru_cache(maxsize=1)
def _register_heif() -> bool:
    """Whether Pillow can read HEIF files, with the library of the extra `heic`."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def is_sheet(image: Image.Image) -> bool:
    """Whether an opened image is a sheet of several that this program has drawn (`images.save_image`)."""
    return image.info.get(SHEET_MARK[0]) == SHEET_MARK[1]


def load_upright(image: Image.Image) -> tuple[Image.Image, bytes | None]:
    """Decode the pixels, turn them as the Exif data says, to 8 bits; and the color profile, if there is one."""
    try:
        image.load()
    except DECODE_ERRORS as error:
        raise Unusable(_damage(error)) from error
    profile = image.info.get("icc_profile")
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except DECODE_ERRORS:  # broken metadata of a sound image
        orientation = None
    if orientation in _ORIENTATIONS:
        image = image.transpose(_ORIENTATIONS[orientation])
    return _to_eight_bits(image), profile


def _damage(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "too large for the memory"
    text = str(error).split("\n")[0]
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return "truncated"
    return f"damaged or truncated: {text or type(error).__name__}"


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert whatever a file may hold to L, RGB, RGBA or CMYK. Raises Unusable for what has no plain meaning."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if low < 0 or high > 65_535:
            raise Unusable(f"integers from {low} to {high}, neither 8 nor 16 bits")
        # Cameras and microscopes write 12 bits into 16: taken for 16, such a picture would be nearly black.
        top = 4095 if high <= 4095 else 65_535
        values = (values.astype(np.uint32) * 255 + top // 2) // top
        return Image.fromarray(values.astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 255):  # NaN too
            raise Unusable(f"floating-point values from {low:g} to {high:g}, neither [0, 1] nor [0, 255]")
        return Image.fromarray(np.rint(values * 255 if high <= 1 else values).astype(np.uint8))
    if image.mode == "LAB":
        return _lab_transform().apply(image)
    if image.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA") and image.has_transparency_data:
        return image.convert("RGBA")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "RGBX", "YCbCr", "HSV"):
        return image.convert("RGB")
    raise Unusable(f"unsupported mode {image.mode}")


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert L, RGB, RGBA or CMYK to sRGB by the color profile that came with the image; L may stay L."""
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    color = image.convert("RGB") if alpha is not None else image
    transform = _srgb_transform(profile, color.mode) if profile else None
    if transform is not None:
        color = transform.apply(color)
    elif color.mode == "CMYK":
        color = color.convert("RGB")
    if alpha is not None:
        color.putalpha(alpha)
    return color


@lru_cache(maxsize=16)
def _srgb_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a color profile to sRGB; None where it is broken, of other channels, or sRGB itself."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


@lru_cache(maxsize=1)
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB")


def on_white(image: Image.Image) -> Image.Image:
    """Without alpha; what was transparent becomes white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image) if image.mode == "RGBA" else image
