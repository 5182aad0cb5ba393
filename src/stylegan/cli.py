"""The `stylegan` program: one thin function for each sub-command.

The table of commands is plain text, and each command imports what it needs, so that help comes at once.
"""

import json
import math
import sys
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Annotated, Any, Literal

import tyro

from stylegan import __version__
from stylegan.allocator import keep_freed_memory
from stylegan.config import to_dict
from stylegan.errors import InputError
from stylegan.files import printable
from stylegan.terminal import well_behaved
from stylegan.threads import leave_busy_cores, limit_spinning

MOST_IN_A_GRID = 1024

COMMANDS = {
    "prepare": "Turn images (a folder, a zip, TFRecords, ..., or the built-in portraits) into a training store.",
    "train": "Train on a store, or go on with a run: repeat its command.",
    "generate": "Draw images from a model.",
    "figure": "Draw a figure of the paper: style mixing, noise, truncation, entanglement, training, ...",
    "video": "Make a video: interpolation, style mixing, noise, truncation.",
    "directions": "Find editing directions (SVM, labels, PCA, SeFa, boundaries), or show what they do.",
    "edit": "Move images along directions: smiling=2 hat=-1.",
    "project": "Find the w, or w+, of an image: to edit it, to mix it, to walk from it.",
    "explore": "Steer a model in the browser: sample, mix, edit, walk, project, compare.",
    "evaluate": "Measure a generator, or images, against a store: FID, KID, path lengths, separability, ...",
    "classifiers": "Train attribute classifiers, for linear separability, on a store with attributes.",
    "fetch": "Get weights that others have published: inception and lpips for metrics, faces to find them.",
    "import": "Turn a network file of another program into a model file; its code is not run.",
    "export": "Write a model for other programs: ONNX, or safetensors in half precision.",
    "push": "Publish a model on the Hugging Face Hub, with samples and a model card.",
    "bench": "How fast this machine samples and trains, and how long a whole training would take.",
    "info": "Say what a model, training state, store or run is.",
    "demo": "The whole way in ten minutes: portraits, training, samples, style mixing.",
    "presets": "List the named run configurations.",
}

USAGE = f"""usage: stylegan COMMAND [OPTIONS]

A style-based generator architecture for generative adversarial networks: prepare images, train, sample, measure.

commands:
{chr(10).join(f"  {name:<12} {line}" for name, line in COMMANDS.items())}

`stylegan COMMAND --help` tells more. `stylegan --version` prints {__version__}.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command. Exit code 2 and one sentence for what the user can mend."""
    with well_behaved():
        _main(arguments)


def _main(arguments: Sequence[str] | None) -> None:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(USAGE, end="")
        return
    if arguments[0] in ("-V", "--version"):
        print(f"stylegan {__version__}")
        return
    name = arguments[0]
    if name not in COMMANDS:
        _refuse(f"there is no command {arguments[0]!r}; use one of: {', '.join(COMMANDS)}")
    keep_freed_memory()
    limit_spinning()
    if name in ("train", "demo"):
        leave_busy_cores()
    try:
        sys.exit(globals()[f"_{name}"](arguments[1:]))
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and not error.filename:
            raise
        _refuse(_sentence(error))
    except RuntimeError as error:
        if "out of memory" not in str(error).lower() and "can't allocate memory" not in str(error):
            raise
        option = {"train": "--micro-batch (4, say), and set --recompute-from 64 if that is not enough"}
        _refuse(f"memory ran out; lower {option.get(name, '--batch')}")
    except KeyboardInterrupt:
        print("\nstylegan: interrupted", file=sys.stderr)
        sys.exit(130)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


def _refuse(sentence: str) -> None:
    print(f"stylegan: {sentence}", file=sys.stderr)
    sys.exit(2)


# --- the commands; each takes its arguments and returns an exit code or None


def _prepare(arguments: Sequence[str]) -> None:
    from stylegan.data.prepare import PrepareConfig, prepare, prepare_portraits

    def command(
        source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")],
        store: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")],
        config: Annotated[PrepareConfig, tyro.conf.arg(name="")],
        count: int | None = None,
    ) -> None:
        """Decode images once, bring them to one size and write them as a training store.

        Args:
            source: A folder of images (any depth), a zip or tar file, webdataset shards (x-{000..009}.tar), the
                official tool's TFRecords, an LMDB folder, a Hugging Face data set (parquet, save_to_disk, or
                hf://datasets/USER/NAME), or the word portraits for the built-in procedural data set.
            store: The folder to make.
            count: How many portraits to draw (only for portraits; 5000 unless given).
        """
        if source == "portraits":
            of_portraits = {name: getattr(config, name) for name in ("resolution", "seed", "workers")}
            if config != PrepareConfig(**of_portraits):
                raise InputError("portraits take --count, --resolution, --seed and --workers; leave out the rest")
            report = prepare_portraits(store, count=5000 if count is None else count, **of_portraits)
        elif count is not None:
            raise InputError("--count is for portraits; use --limit to take fewer images than there are")
        else:
            report = prepare(source, store, config)
        for name, reason in report.skipped:
            print(f"skipped {name}: {reason}")
        told = (
            f"{report.count} images of {config.resolution} x {config.resolution} in {store}, "
            f"{len(report.skipped)} skipped, {report.seconds:.1f} s; {report.labels}. "
            f"Next: stylegan train {store} RUN --preset small{' --labels' * report.has_labels}"
        )
        print(printable(told))

    _run(command, arguments, "prepare")


@dataclass(frozen=True)
class _Basis:
    """What decides the defaults of a training's options."""

    store: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")] = ""
    """The folder that `stylegan prepare` made."""
    preset: str = "small"
    """The run configuration to begin with; `stylegan presets` lists them. Options below change single values."""
    resolution: int | None = None
    """Train at this resolution instead of the store's."""
    labels: bool = False
    """Train a class-conditional network on the store's labels."""
    gpus: int | None = None
    """Use the paper's batch sizes for 1, 2, 4 or 8 GPUs (presets of the paper; 1 unless given)."""
    start_from: str = ""
    """Begin with the networks of a model file, or of one that `stylegan import` takes: their weights, at the resolution
    that they have grown to. The preset then decides everything else."""

    def config(self):
        """The TrainingConfig that options change single values of."""
        from stylegan import presets

        return presets.preset(
            self.preset,
            self.store,
            resolution=self.resolution,
            labels=self.labels,
            gpus=self.gpus,
            start_from=self.start_from,
        )


@dataclass(frozen=True)
class _Training(_Basis):
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ""
    """Folder of the run. One that holds a run is resumed with the options that it began with."""
    preset: str | None = None
    """Configuration to begin with, see `stylegan presets`. Options below change single values. Default: small."""
    dry_run: bool = False
    """Print the whole configuration and stop."""

    def config(self):
        from stylegan import presets

        chosen = {"resolution": self.resolution, "labels": self.labels, "gpus": self.gpus}
        return presets.default_config(self.run, self.store, self.preset, start_from=self.start_from, **chosen)


@dataclass(frozen=True)
class _Bench(_Basis):
    preset: str = "config-f"
    """The configuration whose networks, losses and batch sizes are measured; `stylegan presets` lists them. Options
    below change single values."""
    resolution: int | None = None
    """The full resolution, instead of the store's; without a store 64 unless given."""
    resolutions: tuple[int, ...] = ()
    """Where to measure; every resolution that training passes through unless given."""
    batch: tuple[int, ...] = ()
    """Batch sizes; the schedule's own for each resolution unless given."""
    work: tuple[Literal["sample", "train"], ...] = ("sample", "train")
    """sample, train, or both."""
    reference: bool = False
    """Measure as well what a plain port does (contiguous memory, nothing fused, float32), and print the gain."""
    seconds: float = 3.0
    """How long each row is repeated; the best time counts."""
    json_: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print JSON, a line for each row."""


def _train(arguments: Sequence[str]) -> int | None:
    from stylegan import presets
    from stylegan.training.config import TrainingConfig
    from stylegan.training.loop import train

    # the preset and the store decide the defaults of all other options, so they are read first
    chosen, _ = tyro.cli(_Training, args=list(arguments), add_help=False, return_unknown_args=True)
    known = chosen.store and not {"-h", "--help"} & set(arguments)
    default = chosen.config() if known else presets.PRESETS["small"](presets.Shape(64))

    def command(
        basis: Annotated[_Training, tyro.conf.arg(name="")],
        config: Annotated[TrainingConfig, tyro.conf.arg(name="")] = default,
    ) -> int | None:
        """Train on a store and keep everything in the folder RUN. To resume: the same command, or no options at all."""
        if not basis.store or not basis.run:
            raise InputError("train needs a store and a folder for the run: stylegan train STORE RUN")
        if basis.dry_run:
            print(json.dumps(to_dict(config), indent=2))
            return None
        outcome = train(config, basis.run)
        if outcome.stopped_by is not None:
            return 128 + outcome.stopped_by
        print(f"done: {outcome.model}. Next: stylegan generate {outcome.model} --out pictures")
        return None

    return _run(command, arguments, "train")


def _generate(arguments: Sequence[str]) -> None:
    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = "",
        *,
        seeds: str | None = None,
        latents: Path | None = None,
        save_latents: Path | None = None,
        psi: float | None = None,
        cutoff: int | None = None,
        out: Path = Path("out"),
        class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
        noise: Literal["random", "const", "none"] = "random",
        noise_seed: int | None = None,
        mix: int = 1,
        precision: Literal["auto", "float32", "tf32", "bf16"] = "float32",
        compile_: Annotated[bool, tyro.conf.arg(name="compile")] = False,
        batch: int = 16,
        columns: int | None = None,
        device: str = "auto",
    ) -> None:
        """Draw one PNG file for each seed, and a grid of them all.

        Args:
            model: A model file, a run's folder, a bundled model, hf://user/model, or a file that `stylegan import`
                takes; left out, the bundled portraits.
            seeds: Numbers and ranges, such as 0-63 or 1,5,10-12; 0-31 unless given.
            latents: Draw what this .npy or .safetensors file holds instead: z, w or w+.
            save_latents: Write what is drawn to this file: w+, and beside it in a .safetensors file z, if there is one.
            psi: Truncation: 1 for full variety, towards 0 for more average and cleaner images. Unless given, what the
                model's makers drew with, or 0.7; 1 for w from a file, and for a traditional generator without mapping
                layers, which cannot truncate.
            cutoff: How many layers are truncated; by default the makers' too, or all up to 32 x 32.
            out: The folder for the pictures.
            class_: Draw this class (for a conditional model).
            noise: Each image's own planes, from its seed; the network's, the same for all; or none.
            noise_seed: Draw the random planes from this seed, the same for all images.
            mix: Mix the styles of so many latents into each image, at random layers (table 2).
            precision: How exact: float32, tf32 or bf16 (faster on a GPU, differences that are hard to see), or auto
                (tf32 on CUDA, bf16 on a CPU that is fast at it, else float32).
            compile_: Compile the network first: half a minute, then some tenth faster; for thousands of images.
            batch: Images at a time; changes the speed, not the images.
            columns: Width of the grid, in images.
            device: cpu, cuda, mps, xpu, or auto.
        """
        import torch
        from tqdm import tqdm

        from stylegan import sampling, weights
        from stylegan.device import pick_device, pick_precision, set_precision
        from stylegan.images import crop_padding, grid, save_image, to_uint8
        from stylegan.recipe import Recipe, batches, truncation_of, untruncated_w

        if seeds is not None and latents is not None:
            raise InputError("give --seeds or --latents, not both")
        if batch < 1 or (columns is not None and columns < 1) or (cutoff is not None and cutoff < 0):
            raise InputError("--batch and --columns must be 1 or more, --cutoff 0 or more")
        _check_psi_and_noise(psi, noise, noise_seed)
        numbers = _seeds("0-31" if seeds is None else seeds)
        chosen = pick_device(device)
        generator = weights.load(model or weights.DEFAULT_MODEL, chosen)
        generator.synthesis.compute_dtype = set_precision(pick_precision(precision, chosen))
        space, held = sampling.load_latents(latents, generator.config) if latents else ("seeds", None)
        if held is not None:
            numbers = list(range(len(held)))
            if mix != 1 or (space == "w" and class_ is not None):
                raise InputError("--mix is for seeds, and --class for seeds and z; w is of a class already")
        if compile_:
            generator.synthesis.compile()
        recipe = Recipe(numbers, held, class_, psi, cutoff, mix, noise, noise_seed)
        if save_latents is not None:  # all w at once
            z = held if space == "z" else None
            if space == "seeds" and mix == 1:
                z = sampling.z_of_seeds(numbers, generator.config.z_dim)
            w = generator.truncate(untruncated_w(recipe, generator)[0], *truncation_of(recipe, generator))
            sampling.save_latents(save_latents, w=w, z=z if save_latents.suffix == ".safetensors" else None)
        drawn = batches(generator, recipe, batch=batch)
        gridded = []  # the first of them, for the grid: all of a million would not fit into memory
        names = iter(f"{name}.png" for name in recipe.names)
        with tqdm(total=len(numbers), unit="img", disable=None if len(numbers) > batch else True) as bar:
            for images in drawn:
                out.mkdir(parents=True, exist_ok=True)  # only now: what cannot be drawn leaves nothing behind
                images = to_uint8(crop_padding(images, generator.config.aspect)).cpu()
                for image in images:
                    save_image(image, out / next(names))
                gridded += images[: MOST_IN_A_GRID - len(gridded)]
                bar.update(len(images))
        save_image(grid(torch.stack(gridded), columns), out / "grid.png", sheet=True)
        first = f" of the first {MOST_IN_A_GRID}" if len(numbers) > MOST_IN_A_GRID else ""
        print(f"{len(numbers)} images and grid.png{first} in {out}")

    _run(command, arguments, "generate")


def _figure(arguments: Sequence[str]) -> None:
    def command(
        name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
        what: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = (),
        *,
        out: Path | None = None,
        seeds: str | None = None,
        latents: Path | None = None,
        destinations: str | None = None,
        psi: float | None = None,
        psis: tuple[float, ...] | None = None,
        class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
        count: int | None = None,
        data: Path | None = None,
        attributes: tuple[str, ...] | None = None,
        classifiers: str | None = None,
        device: str = "auto",
    ) -> None:
        """Draw a figure of the paper: uncurated (2, 10 to 12), style-mixing (3), noise-detail (4), noise-layers (5),
        entanglement (6), reals (7), truncation (8), training (9). The paper's seeds are the defaults.

        Args:
            name: Which one.
            what: A model file, a run's folder or a bundled model (left out, the bundled portraits); for reals a store,
                for training one or more runs.
            out: The file, .png or (where there is text) .pdf; NAME.png unless given.
            seeds: Whose images to show, such as 0-3 or 91,388.
            latents: Show what this .npy or .safetensors file holds instead: z, w or w+.
            destinations: Seeds of the left column of style-mixing.
            psi: Truncation; 0.7 unless given, or 1 for w from a file.
            psis: The columns of truncation.
            class_: Draw this class (for a conditional model).
            count: Noise realisations of noise-detail (100); images of entanglement (4000).
            data: The store that entanglement compares with.
            attributes: Two names that the classifiers of entanglement know.
            classifiers: A file of `stylegan classifiers`, or bundled ones, for entanglement.
            device: cpu, cuda, mps, xpu, or auto.
        """
        from inspect import Parameter, signature

        from stylegan import figures, sampling, weights
        from stylegan.device import pick_device

        if name not in figures.FIGURES:
            raise InputError(f"there is no figure {name}; use one of: {', '.join(figures.FIGURES)}")
        if seeds is not None and latents is not None:
            raise InputError("give --seeds or --latents, not both")
        _check_psi_and_noise(psi)
        figure, out = figures.FIGURES[name], out or Path(f"{name}.png")
        options = {"latents": latents if seeds is None else _seeds(seeds), "label": class_, "psi": psi, "psis": psis}
        options |= {"destinations": None if destinations is None else _seeds(destinations), "count": count}
        options |= {"data": data, "attributes": attributes, "classifiers": classifiers}
        takes = signature(figure).parameters
        given = _only(options, takes, f"the figure {name}")
        missing = [key for key, p in takes.items() if p.kind is Parameter.KEYWORD_ONLY and p.default is Parameter.empty]
        if any(key not in given for key in missing):
            raise InputError(f"the figure {name} needs {' and '.join(f'--{key}' for key in missing)}")
        what = what or ((weights.DEFAULT_MODEL,) if "generator" in takes else ())
        if not what or (len(what) > 1 and name != "training"):
            of = {"reals": "one store", "training": "one or more runs"}.get(name, "one model")
            raise InputError(f"the figure {name} is of {of}; {len(what)} are given")

        if "generator" not in takes:
            drawn = figure(what if name == "training" else what[0], **given)
        else:
            generator = weights.load(what[0], pick_device(device))
            if latents is not None:
                space, held = sampling.load_latents(latents, generator.config)
                labels = None if space == "w" else sampling.labels_in_turn(generator, class_, len(held))
                given["latents"] = held if space == "w" else sampling.w_of_z(generator, held, labels)
                if space == "w" and "psi" in takes:
                    given.setdefault("psi", 1.0)
            drawn = figure(generator, **given)
        figures.save_figure(drawn, out)
        print(out)

    _run(command, arguments, "figure")


def _video(arguments: Sequence[str]) -> None:
    def command(
        kind: Annotated[
            Literal["interpolation", "style-mixing", "noise", "truncation"],
            tyro.conf.Positional,
            tyro.conf.arg(metavar="KIND"),
        ],
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")],
        *,
        seeds: str | None = None,
        latents: Path | None = None,
        path: Literal["linear", "spherical", "cubic"] | None = None,
        grid: tuple[int, int] | None = None,
        destinations: str | None = None,
        styles: Literal["coarse", "middle", "fine"] | None = None,
        seconds: float | None = None,
        fps: float = 30.0,
        psi: float | None = None,
        class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
        noise: Literal["random", "const", "none"] = "random",
        noise_seed: int | None = None,
        enlarge: int | None = None,
        device: str = "auto",
    ) -> None:
        """Make a video, OUT.mp4 or OUT.gif: interpolation between latents; style-mixing, a table whose top row changes;
        noise, of one layer after the other; truncation, to the anti-face and back.

        Args:
            kind: Which one.
            model: A model file, a run's folder or a bundled model.
            out: The file, .mp4 or .gif.
            seeds: Such as 0-7. The first of them fill the grid (of style-mixing the top row); the next as many are
                where these images go, and so on.
            latents: Show what this .npy or .safetensors file holds instead: z, w or w+.
            path: cubic (unless given) is smooth and returns to the beginning; linear goes straight through W to the
                last latent, spherical along arcs through Z. To close those, repeat the first seed at the end.
            grid: Columns and rows, in images; 1 1 unless given, or 4 3 for style-mixing, sources not counted.
            destinations: Seeds of the left column of style-mixing.
            styles: Which of them style-mixing takes from the top row; coarse unless given.
            seconds: Length of the whole; unless given, 2 for each latent on the way, 1 for each layer of noise, or 6.
            fps: Frames a second.
            psi: Truncation; 0.7 unless given, or 1 for w from a file.
            class_: Draw this class (for a conditional model).
            noise: Random planes, which stand still; the network's own (const); or none.
            noise_seed: Seed of the random planes of all images. Default: each image's own seed, or the first one's for
                all of style-mixing.
            enlarge: By how much; unless given, as far as 512 pixels allow.
            device: cpu, cuda, mps, xpu, or auto.
        """
        from tqdm import tqdm

        from stylegan import sampling, video, weights
        from stylegan.device import pick_device

        taken = {
            "interpolation": ("path", "psi", "noise", "noise_seed"),
            "style-mixing": ("path", "psi", "noise", "noise_seed", "destinations", "styles"),
            "noise": ("psi",),
            "truncation": ("noise", "noise_seed"),
        }
        options = {"path": path, "psi": psi, "noise": None if noise == "random" else noise, "noise_seed": noise_seed}
        _only(options | {"destinations": destinations, "styles": styles}, taken[kind], f"the video {kind}")
        if seeds is not None and latents is not None:
            raise InputError("give --seeds or --latents, not both")
        _check_psi_and_noise(psi, noise, noise_seed)
        if min(grid or (1, 1)) < 1 or not 0 < fps <= 1000 or (enlarge is not None and enlarge < 1):
            raise InputError("--grid and --enlarge must be 1 or more, and --fps above 0 and up to 1000")
        if seconds is not None and not 0 < seconds * fps <= 1e6:
            raise InputError("--seconds must be above 0, and a video no longer than a million frames")
        generator = weights.load(model, pick_device(device))

        # the latents: first one for each image of the grid, then one for each to go to, ...
        moves = kind in ("interpolation", "style-mixing")
        columns, rows = grid or ((4, 3) if kind == "style-mixing" else (1, 1))
        count = columns if kind == "style-mixing" else columns * rows
        if latents is None:
            numbers = range(4 * count if moves else count) if seeds is None else _seeds(seeds)
            space, x = "z", sampling.z_of_seeds(numbers, generator.config.z_dim)
        else:
            space, x = sampling.load_latents(latents, generator.config)
        if grid is None and not moves:
            columns, count = None, len(x)
        if len(x) % count or (not moves and len(x) != count):
            many = f"a multiple of {count}" if moves else count
            raise InputError(f"{len(x)} latents cannot be shared out among {count} images; give {many}")
        path = path or "cubic"
        if space == "w" and (class_ is not None or path == "spherical"):
            raise InputError("w is of a class already, and not on a sphere; --class and spherical are for seeds and z")
        labels = sampling.labels_in_turn(generator, class_, count) if path == "spherical" else None
        if space == "z" and path != "spherical":
            x = sampling.w_of_z(generator, x, sampling.labels_in_turn(generator, class_, len(x)))
        keys = x.to(generator.w_avg.device).unflatten(0, (-1, count))
        psi = _usual_psi(generator, space) if psi is None else psi

        layer_count = len(generator.synthesis.layer_resolutions(generator.synthesis.grown[0]))
        usual = {"noise": layer_count, "truncation": 6}.get(kind, 2 * len(keys))
        frames = max(1, round((seconds or usual) * fps))
        own = range(count) if latents is not None else numbers[:count]
        if kind == "style-mixing":  # one set of planes for all, so that only styles differ
            own = own[:1]
        planes = sampling.noise_input(generator, noise, own if noise_seed is None else [noise_seed])
        if kind == "interpolation":
            how = {"path": path, "labels": labels, "psi": psi, "cutoff": generator.truncation[1], "noise": planes}
            drawn = video.interpolation(generator, keys, frames, columns=columns, **how)
        elif kind == "style-mixing":
            left = range(100, 100 + rows) if destinations is None else _seeds(destinations)
            w = sampling.w_of(generator, left, class_)
            layers = sampling.style_ranges(generator.synthesis.grown[0])[styles or "coarse"]
            how = {"path": path, "psi": psi, "cutoff": generator.truncation[1], "noise": planes}
            drawn = video.style_mixing(generator, keys, w, layers, frames, **how)
        elif kind == "noise":
            w = generator.truncate(keys[0], psi, generator.truncation[1])
            drawn = video.noise(generator, w, frames, columns=columns, seeds=own)
        else:
            drawn = video.truncation(generator, keys[0], frames, noise=planes, columns=columns)
        video.write(out, tqdm(drawn, total=frames, unit="frame", disable=None), fps=fps, factor=enlarge)
        print(f"{frames} frames, {frames / fps:.1f} s: {out}")

    _run(command, arguments, "video")


FLAGS = {"label": "class", "latents": "seeds or --latents"}  # options whose parameter has another name


def _only(options: dict[str, Any], taken: Container[str], what: str) -> dict[str, Any]:
    """The options that were given. Raises InputError for one that is not taken."""
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in taken:
            raise InputError(f"{what} takes no --{FLAGS.get(name, name).replace('_', '-')}")
    return given


def _recipe(generator: Any, latents: Sequence[int] | Path, psi: float | None, label: int | None = None) -> Any:
    """The recipe of seeds, or of a file of z or w."""
    from stylegan import recipe

    if isinstance(latents, Path):
        return recipe.read(latents, generator, psi=psi, label=label)
    return recipe.Recipe(latents, psi=psi, label=label)


def _layers(text: str | None, count: int) -> list[int] | None:
    """ "0-3,7" -> [0, 1, 2, 3, 7]; None stays None. Raises InputError for what is not below `count`."""
    if text is None:
        return None
    try:
        layers = _seeds(text)
    except InputError:
        layers = [count]
    if max(layers) >= count:
        raise InputError(f"{text!r} are no layers of this model; write numbers and ranges from 0 to {count - 1}")
    return layers


def _changes(texts: Sequence[str]) -> list[tuple[str, float]]:
    """["smiling=2"] -> [("smiling", 2.0)]. Raises InputError for anything else."""
    changes = []
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            strength = float(number)
        except ValueError:
            strength = math.nan
        if not name or not math.isfinite(strength):
            raise InputError(f"{text!r} is no change; write a direction and a strength, such as smiling=2")
        changes.append((name, strength))
    if not changes:
        raise InputError("say what to change, such as smiling=2")
    return changes


def _check_folder(file: Path) -> None:
    """Refuse, before the work, a file that could not be written after it."""
    if not file.absolute().parent.is_dir():
        raise InputError(f"there is no folder {file.parent} for {file.name}; make it first")


def _usual_psi(generator: Any, space: str) -> float:
    """That of the model, or 1 for w from a file, which may be someone's work."""
    return 1.0 if space == "w" else generator.truncation[0]


def _check_psi_and_noise(psi: float | None, noise: str = "random", noise_seed: int | None = None) -> None:
    if psi is not None and not math.isfinite(psi):
        raise InputError(f"--psi is {psi}; give a number, such as 0.7")
    if noise_seed is not None and (noise != "random" or not 0 <= noise_seed < 2**32):
        raise InputError("--noise-seed is for --noise random, and from 0 to 2**32 - 1")


def _directions(arguments: Sequence[str]) -> None:
    def find(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
        *,
        method: Literal["svm", "labels", "pca", "sefa", "import"] = "svm",
        classifiers: str | None = None,
        labels: Path | None = None,
        latents: Path | None = None,
        boundaries: tuple[Path, ...] = (),
        components: int = 10,
        layers: str | None = None,
        count: int = 20_000,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        """Find editing directions in W and write them to a file (safetensors).

        Args:
            model: A model file, a run's folder, or a bundled model.
            file: The file to write.
            method: svm, hyperplanes between images that classifiers tell apart; labels, the same from a CSV file of
                yours; pca, principal components of w (GANSpace); sefa, what changes the styles most (SeFa); import,
                .npy boundaries (InterFaceGAN).
            classifiers: For svm: a file of `stylegan classifiers`, or a bundled one; unless given, that of the model's
                name.
            labels: For labels: a CSV file whose first line is such as seed,smiling,hat (or row,smiling,hat with
                --latents), and then for each image 1, 0, or nothing where it is not known.
            latents: For labels: the file of z or w whose rows, from 0, the CSV names.
            boundaries: For import: .npy files, [1, w_dim] each, named after the attribute.
            components: For pca and sefa: how many.
            layers: For sefa: the layers whose styles count, such as 0-3; all unless given.
            count: Samples that are judged (svm), or whose components are found (pca).
            seed: Of the samples.
            device: cpu, cuda, mps, xpu, or auto.
        """
        from dataclasses import replace

        from stylegan import directions, weights
        from stylegan.classifiers.model import load_classifiers
        from stylegan.device import pick_device
        from stylegan.recipe import untruncated_w

        _check_folder(file)
        if count < 2:
            raise InputError("--count must be 2 or more")
        generator = weights.load(model, pick_device(device))
        if method == "svm":
            judge = load_classifiers(classifiers or Path(model).stem).to(generator.w_avg.device)
            found = directions.by_svm(generator, judge, count=count, seed=seed)
        elif method == "labels":
            if labels is None:
                raise InputError("the method labels needs a CSV file: --labels FILE")
            kind, numbers, values = directions.read_labels(labels)
            if (kind == "row") != (latents is not None):
                raise InputError(f"{labels} names {kind}s; give --latents FILE for rows, and only for them")
            w, _ = untruncated_w(_recipe(generator, numbers if latents is None else latents, 1.0), generator)
            if latents is not None:
                if max(numbers) >= len(w):
                    raise InputError(f"{labels} names row {max(numbers)}; {latents} has rows 0 to {len(w) - 1}")
                w = w[numbers]
            found = directions.by_labels(generator, w, values)
        elif method == "pca":
            found = directions.by_pca(generator, components, count=count, seed=seed)
        elif method == "sefa":
            found = directions.by_sefa(generator, components, _layers(layers, generator.config.num_layers))
        else:
            if not boundaries:
                raise InputError("the method import needs files: --boundaries smile.npy age.npy")
            found = directions.by_import(generator, boundaries)
        directions.save(file, replace(found, model=Path(model).name))
        print(
            f"{len(found.names)} directions in {file}: {', '.join(found.names)}. "
            f"Next: stylegan directions show {model} {file}"
        )

    def show(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
        *,
        out: Path = Path("directions.png"),
        names: tuple[str, ...] = (),
        seeds: str = "0",
        latents: Path | None = None,
        class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
        psi: float | None = None,
        strengths: tuple[float, ...] = (-3, -2, -1, 0, 1, 2, 3),
        layers: str | None = None,
        hold: tuple[str, ...] = (),
        device: str = "auto",
    ) -> None:
        """Draw what each direction does: a strip of images, from one side to the other.

        Args:
            model: The model that the directions belong to.
            file: A file of `stylegan directions find`.
            out: The picture.
            names: Only these directions.
            seeds: The images to edit; several give several strips for each direction.
            latents: Edit the z or w in this file instead.
            class_: The class of the seeds or z (for a conditional model); all in turn unless given.
            psi: Truncation before the edit; 0.7 unless given, or 1 for w from a file and where there is no W.
            strengths: In standard deviations of w along the direction.
            layers: Change only these layers, such as 0-3; all (or those that the file names) unless given.
            hold: Directions that the others must leave alone (conditional editing).
            device: cpu, cuda, mps, xpu, or auto.
        """
        from stylegan import directions, weights
        from stylegan.device import pick_device
        from stylegan.images import save_image
        from stylegan.recipe import resolve

        _check_folder(out)
        generator = weights.load(model, pick_device(device))
        found = directions.load(file, generator)
        start = resolve(_recipe(generator, latents or _seeds(seeds), psi, class_), generator)
        options = {"names": names, "noise": start.noise, "strengths": strengths, "hold": hold}
        chosen = _layers(layers, generator.config.num_layers)
        save_image(directions.strips(generator, found, start.w, layers=chosen, **options), out, sheet=True)
        print(out)

    tyro.extras.subcommand_cli_from_dict({"find": find, "show": show}, args=list(arguments), prog="stylegan directions")


def _edit(arguments: Sequence[str]) -> None:
    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
        changes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="NAME=STRENGTH")],
        *,
        seeds: str = "0-7",
        latents: Path | None = None,
        class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
        psi: float | None = None,
        layers: str | None = None,
        hold: tuple[str, ...] = (),
        out: Path = Path("out"),
        device: str = "auto",
    ) -> None:
        """Move images along directions.

        Args:
            model: The model that the directions belong to.
            file: A file of `stylegan directions find`.
            changes: What to change and how far, in standard deviations of w along the direction: smiling=2 hat=-1
            seeds: The images to edit.
            latents: Edit the z or w in this file instead, such as that of `stylegan project`.
            class_: The class of the seeds or z (for a conditional model); all in turn unless given.
            psi: Truncation before the edit; 0.7 unless given, or 1 for w from a file and where there is no W.
            layers: Change only these layers, such as 0-3; all (or those that the file names) unless given.
            hold: Directions that the changes must leave alone (conditional editing).
            out: The folder for edited0000.png and so on, comparison.png (before and, below, after) and
                latents.safetensors.
            device: cpu, cuda, mps, xpu, or auto.
        """
        import torch

        from stylegan import directions, project, sampling, weights
        from stylegan.device import pick_device
        from stylegan.images import grid, save_image
        from stylegan.recipe import resolve

        generator = weights.load(model, pick_device(device))
        found = directions.load(file, generator)
        chosen = directions.chosen_layers(found, _layers(layers, generator.config.num_layers))
        start = resolve(_recipe(generator, latents or _seeds(seeds), psi, class_), generator)
        w = edited = start.w
        for name, strength in _changes(changes):
            edited = directions.edit(edited, found.step(name, hold), strength, chosen)
        own = None if latents is None else project.load_noise(latents, generator)
        noise = start.noise if own is None else own
        before, after = (sampling.draw(generator, each, noise) for each in (w, edited))
        out.mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(after):
            save_image(image, out / f"edited{i:04d}.png")
        save_image(grid(torch.cat([before, after]), columns=len(after)), out / "comparison.png", sheet=True)
        project.save(out / "latents.safetensors", edited, noise)
        print(f"{len(after)} images, comparison.png and latents.safetensors in {out}")

    _run(command, arguments, "edit")


def _project(arguments: Sequence[str]) -> None:
    from stylegan.data.fitting import Fit
    from stylegan.project import ProjectConfig

    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")],
        config: Annotated[ProjectConfig, tyro.conf.arg(name="")],
        *,
        out: Path = Path("out"),
        fit: Fit | None = None,
        class_: Annotated[int | None, tyro.conf.arg(name="class")] = None,
        video: Path | None = None,
        device: str = "auto",
    ) -> None:
        """Find the w whose image is closest to a given one, for each of some image files.

        Args:
            model: A model file, a run's folder, or a bundled model.
            files: Image files.
            out: The folder for comparison.png (targets above, projections below), each image's target and projection,
                and latents.safetensors (w, and the noise planes if they were optimised), which the other commands take.
            fit: How an image becomes square, as for `stylegan prepare`. Unless given, as the model's training images
                did, where its file says; else crop, or wide for 4:3 models. For a model of faces aligned as FFHQ's
                are: face, which finds and aligns the largest.
            class_: The class (for a conditional model); samples of all classes unless given.
            video: Also write a video of the way there, .mp4 or .gif.
            device: cpu, cuda, mps, xpu, or auto.
        """
        import torch
        from tqdm import tqdm

        from stylegan import project, weights
        from stylegan import video as videos
        from stylegan.device import pick_device
        from stylegan.images import crop_padding, grid, save_image, to_uint8

        if not files:
            raise InputError("name an image file, or several")
        if video is not None:
            _check_folder(video)
            if video.suffix not in videos.FORMATS:
                raise InputError(f"{video}: videos are written as .mp4 or .gif")
        loaded = weights.load_model(model)
        generator, fit = loaded.generator.to(pick_device(device)), fit or project.fit_of(loaded.provenance)
        targets = torch.cat([project.read_image(file, generator, fit) for file in files])

        def shown(images: torch.Tensor) -> torch.Tensor:
            return to_uint8(crop_padding(images, generator.config.aspect)).cpu()

        frames, every = [], max(1, config.steps // 150)
        with tqdm(total=config.steps, unit="step", disable=None) as bar:
            for result in project.projecting(generator, targets, config, label=class_):
                bar.update(result.step - bar.n)
                bar.set_postfix(loss=f"{result.loss.mean():.4f}", refresh=False)
                if video is not None and (result.step % every == 0 or result.step == config.steps):
                    frames.append(shown(result.images))

        wanted, found = shown(targets), shown(result.images)
        out.mkdir(parents=True, exist_ok=True)
        for i, (file, decibels) in enumerate(zip(files, project.psnr(found, wanted).tolist(), strict=True)):
            name = file.stem if len({f.stem for f in files}) == len(files) else f"{file.stem}-{i}"
            save_image(wanted[i], out / f"{name}-target.png")
            save_image(found[i], out / f"{name}-projected.png")
            print(f"{file}: {decibels:.1f} dB")
        save_image(grid(torch.cat([wanted, found]), columns=len(files)), out / "comparison.png", sheet=True)
        project.save(out / "latents.safetensors", result.w, result.noise)
        if video is not None:
            sheets = (grid(torch.cat([wanted, frame]), columns=len(files)) for frame in frames + [found] * 30)
            videos.write(video, ((sheet, "") for sheet in sheets), fps=30)
        print(
            f"latents.safetensors and comparison.png in {out}. Next: stylegan edit {model} DIRECTIONS NAME=STRENGTH "
            f"--latents {out / 'latents.safetensors'}"
        )

    _run(command, arguments, "project")


def _explore(arguments: Sequence[str]) -> None:
    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = "",
        *,
        data: Path | None = None,
        directions: Path | None = None,
        host: str = "127.0.0.1",
        port: int | None = None,
        space: Path | None = None,
        device: str = "auto",
    ) -> None:
        """Steer a model in the browser: sample, mix, edit, walk, project, compare. Ctrl-C ends it.

        Args:
            model: A model file, a run's folder or a bundled model; left out, the bundled portraits.
            data: The store it was trained on, to see the training images that are nearest to a picture.
            directions: What can be edited: a file of `stylegan directions find`; unless given, the principal
                components of W.
            host: The address to serve at. Only this machine reaches the default; 0.0.0.0 lets others in.
            port: The first free one from 7860 on, unless given.
            space: Serve nothing; write a folder that is a Hugging Face Space, and runs anywhere with `python app.py`.
            device: cpu, cuda, mps, xpu, or auto.
        """
        from stylegan import weights

        model = model or weights.DEFAULT_MODEL
        if space is not None:
            from stylegan.explorer.space import write_space

            if data is not None:
                raise InputError("--space takes no --data: the training images would be for everybody to see")
            write_space(space, model, directions)
            print(f"{space}: a Space to push as it is, or to try with: python {space / 'app.py'}")
            return
        from stylegan.device import pick_device
        from stylegan.explorer import page, picture

        page.import_gradio()  # before the model is read, and measured
        explorer = picture.open_explorer(model, data=data, directions_file=directions, device=pick_device(device))
        blocks = page.serve(explorer, host=host, port=port)
        print(f"{explorer.name} is at {blocks.local_url} (Ctrl-C ends it)", flush=True)
        blocks.block_thread()

    _run(command, arguments, "explore")


def _evaluate(arguments: Sequence[str]) -> None:
    from stylegan.metrics.metric import EvaluateConfig

    def command(
        what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        config: Annotated[EvaluateConfig, tyro.conf.arg(name="")],
        data: str | None = None,
        record: Path | None = None,
        directions: Path | None = None,
        device: str = "auto",
    ) -> None:
        """Measure a generator, or a set of images, against a set of reals.

        Args:
            what: A model file, a run's folder, a bundled model, hf://user/model, or a file that `stylegan import`
                takes; or a store, folder or zip file of images.
            data: The reals: a store, or a folder or zip file of images.
            record: File to which a line for each score is added, and in which it is looked up before measuring.
                Default: metrics.jsonl beside the model, in the current folder for images, a bundled model or one of
                the hub.
            directions: File for the hyperplanes that ls finds, as editing directions.
            device: cpu, cuda, mps, xpu, or auto.
        """
        from datetime import timedelta

        from stylegan import processes
        from stylegan.device import pick_device
        from stylegan.metrics import evaluate

        chosen = pick_device(device)
        with processes.joined(chosen, patience=timedelta(days=1)):  # the SVMs are fitted in one process
            evaluation, provenance, home = evaluate.open_evaluation(what, data, config, chosen)
            evaluation.wants_hyperplanes = directions is not None
            if directions is not None:
                _check_folder(directions)
            lines = evaluate.measure(evaluation, record or home / "metrics.jsonl", provenance)
            if processes.rank() != 0:
                return
            for line in lines:
                values = "  ".join(f"{name} {value:.5g}" for name, value in line["values"].items())
                print(f"{line['metric']:<10} {values}   ({line['count']} samples, {line['seconds']:.0f} s)")
            if directions is not None:
                _save_hyperplanes(directions, evaluation, Path(what).name)

    _run(command, arguments, "evaluate")


def _save_hyperplanes(file: Path, evaluation: Any, model: str) -> None:
    """Those that `ls` found in W, or in Z where there is no W."""
    from dataclasses import replace

    from stylegan import directions

    found = evaluation.separability["w" if "w" in evaluation.separability else "z"]
    named = directions.of_hyperplanes(evaluation.generator, evaluation.classifiers.names, found)
    directions.save(file, replace(named, model=model))


def _classifiers(arguments: Sequence[str]) -> None:
    from stylegan.classifiers.train import ClassifierConfig, train_classifiers

    def command(
        store: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="STORE")],
        file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
        config: Annotated[ClassifierConfig, tyro.conf.arg(name="")],
    ) -> None:
        """Train classifiers of a store's attributes (appendix C), for `stylegan evaluate --metrics ls`.

        The file is written at the end. A training that is interrupted is not resumed: repeating the command begins
        anew.
        """
        accuracies = train_classifiers(store, file, config)
        for name, accuracy in accuracies.items():
            print(f"{name:<20} {accuracy:.1%} right of images not trained on")
        print(f"done: {file}. Next: stylegan evaluate MODEL --metrics ls --classifiers {file}")

    _run(command, arguments, "classifiers")


def _fetch(arguments: Sequence[str]) -> None:
    def command(
        name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")],
        source: Path | None = None,
    ) -> None:
        """Get weights into the cache ($STYLEGAN_CACHE, or ~/.cache/stylegan), and check them.

        Args:
            name: inception (for fid, kid, pr and is), lpips (for path lengths) or faces (to find them, `--fit face`).
            source: A folder that holds the files already, for machines without network.
        """
        from stylegan.downloads import fetch

        for path in fetch(name, source):
            print(path)

    _run(command, arguments, "fetch")


def _import(arguments: Sequence[str]) -> None:
    def command(
        file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
        out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.safetensors")],
        *,
        classifiers: bool = False,
        data: str = "",
        licence: str = "",
    ) -> None:
        """Read networks of another program, as data: no code in the file is run. Write them as a model file.

        Args:
            file: An official pickle of StyleGAN or Progressive GAN networks, or a checkpoint of genforce.
            out: The file to write.
            classifiers: FILE is an official attribute classifier, or a folder of them.
            data: What it was trained on, for the file's provenance.
            licence: The licence of the weights, for the file's provenance.
        """
        from dataclasses import replace

        from stylegan import weights
        from stylegan.classifiers.model import load_classifiers, save_classifiers

        if out.suffix != ".safetensors":
            raise InputError(f"{out}: give the file to write a name that ends with .safetensors")
        _check_folder(out)
        if classifiers:
            found = load_classifiers(file)
            save_classifiers(out, found, notes=f"read from {file.name}; {licence}".removesuffix("; "))
            print(f"done: {out}. Next: stylegan evaluate MODEL --metrics ls --classifiers {out}")
            return
        model = weights.load_model(file)
        told = {name: text for name, text in (("data", data), ("licence", licence)) if text}
        weights.save(out, replace(model, provenance=replace(model.provenance, **told)))
        print(f"done: {out}. Next: stylegan generate {out} --out pictures")

    _run(command, arguments, "import")


def _export(arguments: Sequence[str]) -> None:
    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
        *,
        part: Literal["all", "mapping", "synthesis"] = "all",
        cutoff: int | None = None,
        half: bool = False,
        only_ema: bool = False,
        licence: str | None = None,
    ) -> None:
        """Write a model as an ONNX file, which needs nothing of ours to run, or as a smaller model file.

        Inputs of the ONNX graph, for any number N of images: z [N, z_dim], labels int64 [N] (of a model with classes),
        psi [] (truncation, 1 for none), noise0, noise1, ... [N, 1, R, R] (standard normal, one a layer); its output:
        images [N, C, H, W] in about [-1, 1]. The part mapping takes z, labels and psi to w [N, layers, w_dim]; the
        part synthesis takes w and the noise to images. The file is kept if it draws what this program does.

        Args:
            model: A model file, a run's folder, a bundled model, or hf://user/model.
            out: The file to write: FILE.onnx or FILE.safetensors.
            part: ONNX: the whole generator from z to images, or one of its two networks.
            cutoff: ONNX: how many layers psi works on; by default all up to 32 x 32.
            half: safetensors: store float16, half the size.
            only_ema: safetensors: leave out what only further training needs (the raw generator, the discriminator).
            licence: Note this as the licence of the weights, such as CC-BY-4.0.
        """
        from dataclasses import asdict

        from stylegan import weights
        from stylegan.interop import onnx

        if out.suffix not in (".onnx", ".safetensors"):
            raise InputError(f"{out} must end in .onnx or .safetensors; pickles are not written, they can hold code")
        if out.suffix == ".onnx" and (half or only_ema):
            raise InputError("--half and --only-ema are for .safetensors; an ONNX file is float32 and EMA anyway")
        if out.suffix == ".safetensors" and (part != "all" or cutoff is not None):
            raise InputError("--part and --cutoff are for .onnx; leave them out")
        _check_folder(out)
        found = weights.to_share(weights.load_model(model), licence=licence, only_ema=only_ema)
        if out.suffix == ".safetensors":
            weights.save(out, found, half=half)
            print(f"{out}, {out.stat().st_size / 1e6:.1f} MB")
            return
        error = onnx.export(out, found.generator, part=part, cutoff=cutoff, provenance=asdict(found.provenance))
        print(
            f"{out}, {out.stat().st_size / 1e6:.1f} MB; with onnxruntime it deviates by {error:.1e} from this program"
        )

    _run(command, arguments, "export")


def _push(arguments: Sequence[str]) -> None:
    def command(
        model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")],
        repository: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="USER/NAME")],
        *,
        licence: str | None = None,
        data: str | None = None,
        private: bool = False,
        half: bool = False,
        only_ema: bool = True,
        dry_run: Path | None = None,
    ) -> None:
        """Publish a model on the Hugging Face Hub, for `stylegan generate hf://USER/NAME` and others.

        Sends the model, its configuration, a picture of samples, and a model card with data set, images seen, figures
        of metrics.jsonl beside the model, and licence. Log in first: hf auth login.

        Args:
            model: A model file, a run's folder, or a bundled model.
            repository: Where to; it is made if there is none. hf://USER/NAME is the same.
            licence: Of the weights, such as CC-BY-4.0; the model file's own unless given.
            data: What it was trained on, USER/NAME if that is on the hub; the name of the store unless given.
            private: Make a repository that only you can see.
            half: Store float16, half the size.
            only_ema: Leave out what only further training needs (the raw generator, the discriminator).
            dry_run: Write everything into this folder instead, and send nothing.
        """
        from tempfile import TemporaryDirectory

        from stylegan import share, weights
        from stylegan.data.store import check_target
        from stylegan.interop import hub

        if hub.repo_of(repository).revision is not None:
            raise InputError(f"{repository}: models are sent to the main branch; leave the revision out")
        found = weights.find(model)
        shared = weights.to_share(weights.load_model(found), licence=licence, data=data, only_ema=only_ema)
        record = found.parent / "metrics.jsonl" if Path(model).exists() else None
        if dry_run is not None:
            check_target(dry_run)
            dry_run.mkdir(parents=True, exist_ok=True)
            share.write_folder(dry_run, shared, repository, record, half=half)
            print(f"nothing was sent; {dry_run} holds what would be")
            return
        with TemporaryDirectory() as folder:
            share.write_folder(Path(folder), shared, repository, record, half=half)
            address = hub.upload(Path(folder), repository, private=private)
        print(f"{address}. Next: stylegan generate hf://{hub.repo_of(repository).id} --out pictures")

    _run(command, arguments, "push")


def _bench(arguments: Sequence[str]) -> None:
    from dataclasses import replace

    from stylegan.training.config import TrainingConfig

    # as for training; but the store may be left out, so it must come first, where no option's value can be meant
    store = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    options = list(arguments[1:] if store else arguments)
    chosen, _ = tyro.cli(_Bench, args=options, add_help=False, return_unknown_args=True)
    chosen = replace(chosen, store=store, resolution=chosen.resolution or (None if store or chosen.start_from else 64))
    known = not {"-h", "--help"} & set(arguments)
    default = replace(chosen.config() if known else _Bench(resolution=64).config(), precision="auto")

    def command(
        basis: Annotated[_Bench, tyro.conf.arg(name="")],
        config: Annotated[TrainingConfig, tyro.conf.arg(name="")] = default,
    ) -> None:
        """Measure sampling and training, and say how long the whole training would take, and what limits it.

        A "gemm" is the time of one float32 product of two 4096 x 4096 matrices on the same device. A row is limited by
        the largest of three parts of its time: its multiplications at the rate of that product, its operations at the
        time of one on a small tensor, and the rest, which is passes over memory.
        """
        if basis.store != store:
            raise InputError(f"write the store first: stylegan bench {basis.store} ...")
        _print_bench(basis, config)

    _run(command, arguments, "bench")


def _print_bench(basis: _Bench, config) -> None:
    """Measure, and print a table and its summary, or JSON."""
    from dataclasses import asdict, replace

    from stylegan import bench
    from stylegan import resolutions as powers
    from stylegan.device import pick_device, pick_precision
    from stylegan.training.schedule import from_there_on

    if basis.batch and min(basis.batch) < 1:
        raise InputError("--batch must be 1 or more")
    full = config.generator.resolution
    if not set(basis.resolutions) <= set(powers.resolutions(full)):
        raise InputError(f"--resolutions must be powers of two from 4 to {full}")
    device = pick_device(config.device)
    config = replace(config, precision=pick_precision(config.precision, device))
    if config.threads is not None:
        import torch

        torch.set_num_threads(config.threads)
    machine, rows = bench.machine(device, config.precision), []
    settings = {"device": bench.name_of(device), "precision": config.precision, "compiled": config.compile}
    if not basis.json_:
        print(f"{settings['device']}, {config.precision}{', compiled' * config.compile}; ", end="")
        print(f"one gemm takes {machine.gemm:.4f} s\n{bench.HEADER}")
    for kind in basis.work:
        for r in basis.resolutions or powers.resolutions(full, min(config.schedule.initial_resolution, full)):
            for size in basis.batch or (int(from_there_on(config.schedule.batch_size, r)),):
                row, gain = bench.measure(config, kind, r, size, machine, seconds=basis.seconds), None
                rows.append(row)
                if basis.reference:
                    gain = bench.measure_plain(config, kind, r, size, seconds=basis.seconds) / row.seconds
                record = settings | bench.as_dict(row) | {"gain": gain}
                print(json.dumps(record) if basis.json_ else bench.line(row, gain).rstrip(), flush=True)
    times = bench.schedule_times(config, rows, device.type)
    if times is None or (basis.json_ and (basis.resolutions or basis.batch)):
        return
    print(json.dumps({"schedule": asdict(times)}) if basis.json_ else fill(bench.summary(config, times, rows), 96))


def _info(arguments: Sequence[str]) -> None:
    def command(path: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]) -> None:
        """Say what a file or folder is.

        Args:
            path: A model, training state, store or run; the name of a bundled model; hf://user/model; or a file that
                `stylegan import` takes.
        """
        from stylegan.describe import describe

        for name, value in describe(path).items():
            print(f"{name:<16} {json.dumps(value) if isinstance(value, dict | list) else value}")

    _run(command, arguments, "info")


def _presets(arguments: Sequence[str]) -> None:
    from stylegan import presets

    def command() -> None:
        """List the named run configurations, one a line."""
        for name in presets.PRESETS:
            print(f"{name:<14} {presets.summary(name)}")

    _run(command, arguments, "presets")


def _demo(arguments: Sequence[str]) -> int | None:
    def command(
        out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")] = Path("demo"),
        *,
        count: int = 4000,
    ) -> int | None:
        """Make portraits, train a small StyleGAN on them and draw pictures: some ten minutes on two CPU cores.

        Args:
            out: The folder for everything; repeat the command to go on after an interruption.
            count: How many portraits to train on.
        """
        import torch

        from stylegan import figures, presets, sampling, weights
        from stylegan.data.prepare import prepare_portraits
        from stylegan.data.store import open_store
        from stylegan.images import enlarge, grid, save_image
        from stylegan.training.loop import train

        store, run = out / "portraits-32", out / "run"
        if not store.exists():
            print(f"drawing {count} portraits")
            prepare_portraits(store, count=count, resolution=32)
        if open_store(store).count != count:
            raise InputError(f"{store} holds another number of portraits; remove {out} or choose another folder")
        outcome = train(presets.preset("demo", str(store)), run)
        if outcome.stopped_by is not None:
            return 128 + outcome.stopped_by

        generator = weights.load(outcome.model)
        samples = torch.cat(list(sampling.generate(generator, range(32), psi=0.8)))
        w = sampling.w_of_seeds(generator, range(9))
        pictures = {
            "reals.png": grid(torch.tensor(open_store(store).images()[:32]).permute(0, 3, 1, 2), 8),
            "samples.png": grid(samples, 8),
            "style-mixing.png": sampling.mixing_table(generator, *w.split([5, 4]), [range(4)] * 4, psi=0.7),
        }
        for name, picture in pictures.items():
            save_image(enlarge(picture, 3), out / name, sheet=True)
        save_image(figures.progress(sorted(run.glob("fakes-*.png")), height=32), out / "progress.png", sheet=True)
        print(
            f"Pictures are in {out}: reals.png (the training images), progress.png (the same eight seeds from first to "
            f"last), samples.png, style-mixing.png (pose and shape from the column, colours from the row). "
            f"Next: stylegan generate {run} --seeds 100-163 --psi 0.8 --out more, or stylegan prepare YOUR_IMAGES store"
        )
        return None

    return _run(command, arguments, "demo")


def _run(command, arguments: Sequence[str], name: str) -> Any:
    """Parse the arguments by the function's signature, and call it."""
    return tyro.cli(command, args=list(arguments), prog=f"stylegan {name}")


def _seeds(text: str) -> list[int]:
    """ "0-3,7" -> [0, 1, 2, 3, 7]. Raises InputError for anything else."""
    seeds: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not _is_seed(first) or (dash and not _is_seed(last)):
            raise InputError(f"{text!r} are no seeds; write numbers and ranges below 2**32, such as 0-63 or 1,5,10-12")
        chosen = range(int(first), int(last or first) + 1)
        if not chosen or len(seeds) + len(chosen) > 1_000_000:
            raise InputError(f"seeds {text!r}: give 1 to 1,000,000 of them, ranges from the lower to the higher")
        seeds += chosen
    return seeds


def _is_seed(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10 and int(text) < 2**32
