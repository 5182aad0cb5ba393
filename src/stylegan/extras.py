"""Optional packages. What needs one says so before its work begins, with the command that installs it."""

from importlib import import_module

from stylegan.errors import InputError


def need(module: str, extra: str, what: str) -> None:
    """Raise InputError where a module that an extra of this package brings cannot be imported.

    what: the beginning of the sentence, such as "videos need imageio-ffmpeg".
    """
    try:
        import_module(module)
    except ImportError as error:
        raise InputError(f"{what}; install it with: pip install 'stylegan[{extra}]'") from error


def need_scikit_learn() -> None:
    """For hyperplanes, of separability and of directions. Raises InputError."""
    need("sklearn", "metrics", "separability needs scikit-learn")


def need_matplotlib() -> None:
    """For figures with text. Raises InputError."""
    need("matplotlib", "figures", "figures with text need matplotlib")


def need_ffmpeg() -> None:
    """For films, MP4 and GIF. Raises InputError."""
    need("imageio_ffmpeg", "video", "videos need imageio-ffmpeg")
