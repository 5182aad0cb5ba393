"""The commands that edit: directions, edit, project, explore."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg
from tyro.extras import subcommand_cli_from_dict

from stylegan import directions as library
from stylegan import dragging, finders, projection, tuning, videos, weights
from stylegan.cli.arguments import (
    Device,
    Flat,
    Metadata,
    Model,
    ModelOrBundled,
    Store,
    command,
    images_of,
    renamed,
    say_next,
)
from stylegan.data.fitting import Fit
from stylegan.device import pick_device
from stylegan.errors import InputError
from stylegan.files import check_output, check_output_folder
from stylegan.images import save_image
from stylegan.recipe import Recipe, opened, record_of_sheet, records, resolve
from stylegan.training import encoder as training


def find(
    model: Model,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    config: Annotated[finders.FindConfig, Flat],
    device: Device = "auto",
) -> None:
    """Find editing directions in W and write them to a file (safetensors).

    Args:
        file: File to write.
    """
    judges = None if config.classifiers is None else Path(config.classifiers)
    check_output(file, library.KIND, Path(model), judges, config.latents, config.labels, *config.boundaries)
    found = finders.find_directions(model, config, device=pick_device(device))
    library.save(file, found)
    print(
        f"{len(found.names)} directions in {file}: {', '.join(found.names)}. "
        f"Next: {say_next('directions', 'show', model, file)}"
    )


def show(
    model: Model,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    shown: Annotated[Recipe, Flat],
    out: Path = Path("directions.png"),
    names: tuple[str, ...] = (),
    strengths: tuple[float, ...] = (-3, -2, -1, 0, 1, 2, 3),
    layers: str | None = None,
    hold: tuple[str, ...] = (),
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Draw what each direction does: a strip of images, from one side to the other, for each seed (default: 0).

    Args:
        file: File of `stylegan directions find`, or the name of a bundled model that has some.
        out: Picture to write.
        names: Directions to show. Default: all.
        strengths: Strengths, in standard deviations of w along the direction.
        layers: Layers to change, such as 0-3. Default: those that the file names, else all.
        hold: Directions that the others must leave alone (conditional editing).
    """
    check_output(out, ending=".png")
    generator = weights.load(model, pick_device(device))
    found = library.load(file, generator)
    shown = shown.of((0,))
    start = resolve(shown, generator)
    chosen = library.layers_of(layers, generator.config.num_layers)
    options = {"names": names, "noise": start.noise, "strengths": strengths, "hold": hold, "layers": chosen}
    also = {"directions": file.name, "names": names or found.names, "strengths": strengths}
    made = record_of_sheet(opened(shown, generator), generator, also) if metadata else None
    save_image(library.strips(generator, found, start.w, **options), out, sheet=True, made=made)
    print(out)


def directions(arguments: Sequence[str]) -> None:
    """Find directions, or show them."""
    subcommand_cli_from_dict({"find": find, "show": show}, args=renamed(arguments), prog="stylegan directions")


@command
def edit(
    model: Model,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    changes: Annotated[tuple[str, ...], Positional, arg(metavar="NAME=STRENGTH")],
    *,
    edited: Annotated[Recipe, Flat],
    layers: str | None = None,
    hold: tuple[str, ...] = (),
    out: Path = Path("edited"),
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Move images along directions: of seeds (default: 0-7), or of latents such as those of `stylegan project`.

    Args:
        file: File of `stylegan directions find`, or the name of a bundled model that has some.
        changes: What to change and how far, in standard deviations of w along the direction: smiling=2 hat=-1
        layers: Layers to change, such as 0-3. Default: those that the file names, else all.
        hold: Directions that the changes must leave alone (conditional editing).
        out: Folder for edited0000.png and so on, comparison.png (before and, below, after) and latents.safetensors.
    """
    if not changes or len({change.rpartition("=")[0] for change in changes}) < len(changes):
        raise InputError("name what to change, each direction once: smiling=2 hat=-1")
    check_output_folder(out, file, edited.latents)
    generator = weights.load(model, pick_device(device))
    found, chosen = library.load(file, generator), library.layers_of(layers, generator.config.num_layers)
    edited = opened(edited.of(range(8)), generator)
    result = library.edit(generator, found, dict(map(library.change_of, changes)), edited, layers=chosen, hold=hold)
    titles = [*edited.names, *(" ".join(changes) for _ in result.images)]
    also = {"edits": dict(map(library.change_of, changes)), "directions": file.name}
    made = list(records(edited, generator, w=result.w, also=also)) if metadata else None
    whole = record_of_sheet(edited, generator, also) if metadata else None
    library.write_edited(out, result, generator, titles, made, whole)
    print(f"{images_of(len(result.images))}, comparison.png and latents.safetensors in {out}")


@command
def project(
    model: Model,
    files: Annotated[tuple[Path, ...], Positional, arg(metavar="IMAGE")],
    config: Annotated[projection.ProjectConfig, Flat],
    tune: Annotated[tuning.TuneConfig, Flat],
    *,
    out: Path = Path("projected"),
    fit: Fit | None = None,
    class_: Annotated[int | None, arg(name="class")] = None,
    video: Path | None = None,
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Find the w whose image is closest to a given one, for each of some image files.

    Args:
        files: Image files.
        out: Folder for comparison.png (targets above, projections below), each image's target and projection, and
            latents.safetensors (w, and the noise planes if they were optimized), which the other commands take; and
            with --tune tuned.safetensors, the model that draws them.
        fit: Way to make an image square, as for `stylegan prepare`; face, which finds and aligns the largest, for a
            model of faces aligned as FFHQ's are. Default: as the model's training images did, where its file says;
            else crop, or wide for 4:3 models.
        class_: Class (for a conditional model). Default: samples of all classes.
        video: Video of the way there, .mp4 or .gif, to write too.
    """
    if not files:
        raise InputError("name an image file, or several")
    check_output_folder(out, *files)
    if video is not None:
        videos.check_file(video)
    loaded = weights.load_model(model)
    loaded.generator.to(pick_device(device))
    how = {"fit": fit, "label": class_, "tune": tune, "video": video, "metadata": metadata}
    for file, decibels in zip(files, projection.project_files(loaded, files, out, config, **how), strict=True):
        print(f"{file}: {decibels:.1f} dB")
    drawing = out / "tuned.safetensors" if tune.tune else model
    words = ("edit", drawing, "DIRECTIONS", "NAME=STRENGTH", "--latents", out / "latents.safetensors")
    tuned = "tuned.safetensors, " if tune.tune else ""
    print(f"{tuned}latents.safetensors and comparison.png in {out}. Next: {say_next(*words)}")


@command
def drag(
    model: Model,
    points: Annotated[tuple[str, ...], Positional, arg(metavar="X,Y:X,Y")],
    config: Annotated[dragging.DragConfig, Flat],
    *,
    dragged: Annotated[Recipe, Flat],
    mask: str | None = None,
    out: Path = Path("dragged"),
    video: Path | None = None,
    metadata: Metadata = True,
    device: Device = "auto",
) -> None:
    """Drag points of an image to where they should be: of seeds (default: 0), or of latents of `stylegan project`.

    Args:
        points: Points, and where they are to go, in pixels from the top left: 20,30:26,30; or a JSON file of them.
        mask: Part that may change: left,top,right,bottom in pixels (several with spaces between), or an image file
            whose bright pixels are it. Default: that of the JSON file, else everything.
        out: Folder for dragged0000.png and so on, comparison.png (before and, below, after) and latents.safetensors.
        video: Video of the way there, .mp4 or .gif, to write too.
    """
    files = [Path(text) for text in points if text.endswith(".json")]
    if not points or (files and len(points) > 1):
        raise InputError("name points, such as 20,30:26,30, or one JSON file of them")
    check_output_folder(out, *files, dragged.latents)
    if video is not None:
        videos.check_file(video)
    generator = weights.load(model, pick_device(device))
    what = dragging.read(files[0], generator) if files else dragging.Drag(tuple(map(dragging.point_of, points)))
    if mask is not None:
        what = replace(what, mask=dragging.mask_of(mask, generator))
    dragging.drag_images(generator, dragged.of((0,)), what, out, config, video=video, metadata=metadata)
    print(f"dragged images, comparison.png and latents.safetensors in {out}")


@command
def encoder(
    model: Model,
    store: Store,
    file: Annotated[Path, Positional, arg(metavar="FILE")],
    config: Annotated[training.EncoderTrainingConfig, Flat],
) -> None:
    """Train an encoder: from an image to its w+ in three looks, for `stylegan project --start encoder=FILE`.

    It is trained on samples of the model's, whose w is known, and on the images of a store. FILE is renewed at every
    report; the folder beside it, FILE-training, holds the state. Ctrl-C saves; the same command goes on.

    Args:
        file: File to write.
    """
    outcome = training.train_encoder(model, store, file, config)
    quality = "" if outcome.psnr is None else f"; held-out images come back at {outcome.psnr:.1f} dB"
    words = ("project", model, "IMAGE", "--start", f"encoder={file}")
    print(f"{file} after {outcome.images_seen:,} images{quality}. Next: {say_next(*words)}")


@command
def explore(
    model: ModelOrBundled = "",
    *,
    also: tuple[str, ...] = (),
    data: Path | None = None,
    directions: Path | None = None,
    favorites: Path | None = None,
    host: str = "127.0.0.1",
    port: int | None = None,
    password_file: Path | None = None,
    allow_host: tuple[str, ...] = (),
    space: Path | None = None,
    device: Device = "auto",
) -> None:
    """Steer a model in the browser: sample, mix, edit, drag, look inside, walk, project, compare. Ctrl-C ends it.

    Args:
        also: Further models, or runs, to switch to; a run's whole history and the bundled models are there anyway.
        data: Store it was trained on, to see the training images that are nearest to a picture.
        directions: File of `stylegan directions find`: what can be edited. Default: a bundled model's own, else the
            principal components of W.
        favorites: File to keep favorites in, for all who use the page. Default: each one's own browser.
        host: Address to serve at. Only this machine reaches the default; 0.0.0.0 lets others in.
        port: Port. Default: the first free one from 7860 on.
        password_file: File whose first line is the password that the page asks for (with any name of a user).
        allow_host: Further names by which the page may be asked for, of a proxy say. Default: this machine's own.
        space: Folder to write instead of serving: a Hugging Face Space, which runs anywhere with `python app.py`.
    """
    model = model or weights.DEFAULT_MODEL
    if space is not None:
        from stylegan.explorer.space import write_space

        if data is not None:
            raise InputError("--space takes no --data: the training images would be for everybody to see")
        if (host, port, password_file, favorites, allow_host, also) != ("127.0.0.1", None, None, None, (), ()):
            raise InputError("--space serves nothing; leave out --host, --port and what goes with them")
        write_space(space, model, directions)
        print(f"{space}: a Space to push as it is, or to try with: python {space / 'app.py'}")
        return
    from stylegan.explorer import models, page, server

    server.end_on_signals()
    password = server.read_password(password_file, host)
    page.import_gradio()  # before the model is read, and measured
    options = {"data": data, "directions_file": directions, "device": pick_device(device)}
    shelf = models.Shelf([model, *also], **options)
    others = {"names": allow_host, "password": password, "favorites": favorites}
    blocks = page.serve(shelf, host=host, port=port, **others)
    print(f"{shelf.open().name} is at {blocks.local_url} (Ctrl-C ends it)", flush=True)
    page.wait(blocks)
