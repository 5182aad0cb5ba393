"""The commands that draw: generate, figure, video."""

from pathlib import Path
from typing import Annotated

from tqdm import tqdm
from tyro.conf import Positional, arg

from stylegan import figures, recipe, videos, weights
from stylegan.cli.arguments import Device, Flat, Model, ModelOrBundled, command
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
    device: Device = "auto",
) -> None:
    """Draw one PNG file for each seed, and a grid of them all.

    Args:
        out: Folder for the pictures.
        save_latents: File for the w+ that are drawn, and beside them in a .safetensors file z, if there is one.
        precision: Precision: float32, tf32 or bf16 (faster on a GPU, differences that are hard to see), or auto (tf32
            on CUDA, bf16 on a CPU that is fast at it, else float32).
        compile_: Compile the network first: half a minute, then some tenth faster; for thousands of images.
        batch: Images at a time; changes the speed, not the images.
        columns: Width of the grid, in images. Default: as close to a square as it can be.
    """
    if batch < 1 or (columns is not None and columns < 1):
        raise InputError("--batch and --columns must be 1 or more")
    check_output_folder(out, drawn.latents)
    if save_latents is not None:
        check_output(save_latents, "stylegan-latents", drawn.latents, ending=(".npy", ".safetensors"))
    chosen = pick_device(device)
    generator = weights.load(model or weights.DEFAULT_MODEL, chosen)
    generator.synthesis.compute_dtype = set_precision(pick_precision(precision, chosen))
    if compile_:
        generator.synthesis.compile()
    drawn = recipe.opened(drawn, generator)
    if save_latents is not None:
        recipe.save_latents(save_latents, generator, drawn)

    shown = recipe.write_images(generator, drawn, out, batch=batch, columns=columns)
    first = f" of the first {shown}" if shown < len(drawn) else ""
    print(f"{len(drawn)} images and grid.png{first} in {out}")


@command
def figure(
    name: Annotated[str, Positional, arg(metavar="NAME")],
    what: Annotated[tuple[str, ...], Positional, arg(metavar="MODEL")] = (),
    *,
    shown: Annotated[Recipe, Flat],
    config: Annotated[figures.FigureConfig, Flat],
    out: Path | None = None,
    device: Device = "auto",
) -> None:
    """Draw a figure of the paper: uncurated (2, 10 to 12), style-mixing (3), noise-detail (4), noise-layers (5),
    entanglement (6), reals (7), truncation (8), training (9). The paper's seeds are the defaults.

    Args:
        name: Which figure.
        what: Model file, run's folder or bundled model; for reals a store, for training one or more runs. Default: the
            bundled portraits.
        out: File, .png or (where there is text) .pdf. Default: NAME.png.
    """
    out = out or Path(f"{name}.png")
    check_output(out, ending=(".png", ".pdf"))
    drawn = figures.make(name, what, shown, config, device=pick_device(device))
    figures.save_figure(drawn, out)
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
    device: Device = "auto",
) -> None:
    """Make a video, OUT.mp4 or OUT.gif: interpolation between latents; style-mixing, a table whose top row changes;
    noise, of one layer after the other; truncation, to the anti-face and back.

    The first images fill the grid (of style-mixing the top row); the next as many are where these go, and so on.

    Args:
        kind: Which video.
        out: File, .mp4 or .gif.
        enlarge: Factor of enlargement. Default: as far as 512 pixels allow.
    """
    if enlarge is not None and enlarge < 1:
        raise InputError("--enlarge must be 1 or more")
    videos.check_file(out)
    frames, drawn = videos.make(weights.load(model, pick_device(device)), kind, shown, config)
    videos.write(out, tqdm(drawn, total=frames, unit="frame", disable=None), fps=config.fps, factor=enlarge)
    print(f"{frames} frames, {frames / config.fps:.1f} s: {out}")
