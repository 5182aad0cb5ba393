"""The commands that draw: generate, figure, video."""

from dataclasses import fields
from pathlib import Path
from typing import Annotated, get_args

from tqdm import tqdm
from tyro.conf import Positional, arg

from stylegan import again, figures, marks, recipe, videos, weights
from stylegan.cli.arguments import Device, Flat, Metadata, Model, ModelOrBundled, command, images_of
from stylegan.device import Precision, pick_device, pick_precision, set_precision
from stylegan.errors import InputError
from stylegan.files import check_output, check_output_folder
from stylegan.recipe import Recipe


@command
def generate(
    model: ModelOrBundled = "",
    *,
    drawn: Annotated[Recipe, Flat],
    out: Path = Path("out"),
    save_latents: Path | None = None,
    precision: Precision = "float32",
    compile_: Annotated[bool, arg(name="compile")] = False,
    batch: int = 16,
    columns: int | None = None,
    like: Path | None = None,
    frame: int | None = None,
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Draw one PNG file for each seed, and a grid of them all; or a picture of this program again.

    Args:
        out: Folder for the pictures.
        save_latents: File for the w+ that are drawn, and beside them in a .safetensors file z, if there is one.
        precision: Precision: float32, tf32 or bf16 (faster on a GPU, differences that are hard to see), or auto (tf32
            on CUDA, bf16 on a CPU that is fast at it, else float32).
        compile_: Compile the network first: half a minute, then some tenth faster; for thousands of images.
        batch: Images at a time; changes the speed, not the images.
        columns: Width of the grid, in images. Default: as close to a square as full rows allow.
        like: Picture, figure or video of this program to draw again, by what it says of its making: into one PNG file,
            the same to the bit on the same kind of machine.
        frame: Number of the frame to draw again, from 0, if --like is a video; as it was before it was compressed.
    """
    if like is not None and any(getattr(drawn, f.name) != f.default for f in fields(drawn)):
        raise InputError("--like draws what the picture says; leave out seeds, latents, class, psi, cutoff, mix, noise")
    if like is not None and (save_latents, columns) != (None, None):
        raise InputError("--like draws one picture; leave out --save-latents and --columns")
    if frame is not None and like is None:
        raise InputError("--frame is for --like with a video")
    if batch < 1 or (columns is not None and columns < 1):
        raise InputError("--batch and --columns must be 1 or more")
    check_output_folder(out, drawn.latents, like)
    if save_latents is not None:
        check_output(save_latents, "stylegan-latents", drawn.latents, ending=(".npy", ".safetensors"))
    made = None if like is None else marks.read(like)
    if made is not None and made.get("precision") in get_args(Precision):
        precision = made["precision"]
    chosen = pick_device(device)
    generator = weights.load(model or weights.DEFAULT_MODEL, chosen)
    precision = pick_precision(precision, chosen)
    generator.synthesis.compute_dtype = set_precision(precision)
    if compile_:
        generator.synthesis.compile()
    if made is not None:
        picture = out / (f"{like.stem}.png" if frame is None else f"{like.stem}-{frame:06d}.png")
        there = out.is_dir()
        out.mkdir(parents=True, exist_ok=True)
        try:
            again.draw(generator, made, picture, name=like, frame=frame, metadata=metadata)
        except InputError:
            if not there:
                out.rmdir()
            raise
        print(picture)
        return
    drawn = recipe.opened(drawn, generator)
    if save_latents is not None:
        recipe.save_latents(save_latents, generator, drawn)

    also = {} if precision == "float32" else {"precision": precision}
    shown = recipe.write_images(generator, drawn, out, batch=batch, columns=columns, metadata=metadata, also=also)
    first = f" of the first {shown}" if shown < len(drawn) else ""
    print(f"{images_of(len(drawn))} and grid.png{first} in {out}")


@command
def figure(
    name: Annotated[str, Positional, arg(metavar="NAME")],
    what: Annotated[tuple[str, ...], Positional, arg(metavar="MODEL")] = (),
    *,
    shown: Annotated[Recipe, Flat],
    config: Annotated[figures.FigureConfig, Flat],
    out: Path | None = None,
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Draw a figure of the paper: uncurated (2, 10 to 12), style-mixing (3), noise-detail (4), noise-layers (5),
    entanglement (6), reals (7), truncation (8), training (9). The paper's seeds are the defaults.

    Args:
        name: Figure: uncurated, style-mixing, noise-detail, noise-layers, entanglement, reals, truncation or training.
        what: Model file, run's folder or bundled model; for reals a store, for training one or more runs. Default: the
            bundled faces.
        out: File, .png or (where there is text) .pdf. Default: NAME.png.
    """
    out = out or Path(f"{name}.png")
    check_output(out, ending=(".png", ".pdf"))
    drawn = figures.make(name, what, shown, config, device=pick_device(device))
    made = figures.record(name, what, shown, config) if metadata else None
    figures.save_figure(drawn, out, made=made)
    print(out)


@command
def video(
    kind: Annotated[videos.Kind, Positional, arg(metavar="KIND")],
    model: Model,
    out: Annotated[Path, Positional, arg(metavar="OUT")],
    *,
    shown: Annotated[Recipe, Flat],
    config: Annotated[videos.VideoConfig, Flat],
    enlarge: int | None = None,
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Make a video, OUT.mp4 or OUT.gif: interpolation between latents; style-mixing, a table whose top row changes;
    noise, of one layer after the other; truncation, to the anti-face and back; paper, scenes as in
    the paper's own video, with titles: a walk, style mixing, truncation, noise.

    The first images fill the grid (of style-mixing the top row); the next as many are where these go, and so on.

    Args:
        kind: Which video.
        out: File, .mp4 or .gif.
        enlarge: Factor of enlargement. Default: as far as 512 pixels allow.
    """
    if enlarge is not None and enlarge < 1:
        raise InputError("--enlarge must be 1 or more")
    videos.check_file(out)
    generator = weights.load(model, pick_device(device))
    frames, drawn = videos.make(generator, kind, shown, config)
    made = None
    if metadata:
        chosen = {"enlarge": enlarge} if enlarge is not None else {}
        also = {"video": kind, "fps": config.fps, "options": videos.options_of(config), **chosen}
        made = recipe.record_of_sheet(shown, generator, also)
    frames_seen = tqdm(drawn, total=frames, unit="frame", disable=None)
    videos.write(out, frames_seen, fps=config.fps, factor=enlarge, made=made)
    print(f"{frames} frames, {frames / config.fps:.1f} s: {out}")
