"""Pictures drawn again by what they say of their making: images, figures, and single frames of videos.

What comes out is the same to the bit on the same kind of machine; of a video, as it was before it was compressed.
"""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from stylegan import figures, recipe, videos
from stylegan.errors import InputError
from stylegan.figures import FigureConfig
from stylegan.images import save_image
from stylegan.networks.generator import Generator
from stylegan.recipe import Recipe
from stylegan.videos import VideoConfig


def draw(
    generator: Generator,
    made: Mapping[str, Any],
    path: Path,
    *,
    name: Path | str = "the picture",
    frame: int | None = None,
    metadata: bool = True,
) -> None:
    """Write the picture that a record tells of to `path`, a PNG file with the same record.

    frame: number of a video's frame, from 0; needed for a video, and for nothing else. name: of the file with the
    record, for people. Raises InputError for a record of another generator, one that does not hold enough, and a
    damaged one.
    """
    kept = dict(made) if metadata else None
    if frame is None and "video" in made:
        frame = made.get("frame")  # of a frame that was drawn again before
    if (frame is None) == ("video" in made):
        hint = "say which frame: --frame 0 is the first" if frame is None else "leave out --frame"
        raise InputError(f"{name} is {'a video' if 'video' in made else 'no video'}; {hint}")
    if "video" in made:
        image = videos.picture_of(*_frame(generator, made, name, frame))
        save_image(image, path, sheet=True, made=None if kept is None else kept | {"frame": frame})
    elif "figure" in made:
        figures.save_figure(_figure(generator, made, name), path, made=kept)
    else:
        save_image(recipe.draw_again(generator, made, name), path, made=kept)


def _frame(
    generator: Generator, made: Mapping[str, Any], name: Path | str, frame: Any
) -> tuple[videos.Frame, int | None]:
    """A frame of a video, and how far it was enlarged."""
    given = _given(generator, made, name)
    try:
        config, factor, number = VideoConfig(**_options(VideoConfig, made)), made.get("enlarge"), int(frame)
        factor = None if factor is None else min(int(factor), 64)
        _, frames = videos.make(generator, made["video"], given, config, only=[number])
        return next(frames), factor
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(name, error) from error


def _figure(generator: Generator, made: Mapping[str, Any], name: Path | str) -> Any:
    given = _given(generator, made, name)
    try:
        config = FigureConfig(**_options(FigureConfig, made))
        return figures.make(str(made["figure"]), [generator], given, config)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise _damaged(name, error) from error


def _given(generator: Generator, made: Mapping[str, Any], name: Path | str) -> Recipe:
    """What was asked for. Raises InputError where the picture does not keep it, or now means something else."""
    recipe.check_model(generator, made, name)
    if not isinstance(made.get("given"), Mapping):
        raise InputError(f"{name} does not keep all it was drawn from (latents, many seeds); draw it from those")
    try:
        given = Recipe(**_plain(Recipe, made["given"]))
    except (TypeError, ValueError) as error:
        raise _damaged(name, error) from error
    psi, cutoff = recipe.truncation_of(given, generator)
    if (psi, 8 if cutoff is None else cutoff) != (made.get("psi"), made.get("cutoff")):
        raise InputError(f"{name} was drawn with another truncation of the model's own, psi {made.get('psi')!s:.40}")
    return given


def _options(kind: type, made: Mapping[str, Any]) -> dict[str, Any]:
    options = made.get("options", {})
    if not isinstance(options, Mapping):
        raise TypeError("options")
    return _plain(kind, options)


def _plain(kind: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON's values as a dataclass takes them. Raises TypeError for one that it does not have, or that files decide."""
    unknown = set(values) - {f.name for f in fields(kind)} | {"latents", "own_noise", "data", "classifiers"} & set(
        values
    )
    if unknown:
        raise TypeError(f"option {min(unknown)!s:.40}")
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def _damaged(name: Path | str, error: Exception) -> InputError:
    return InputError(f"what {name} says of its making is damaged ({str(error)[:100]})")
