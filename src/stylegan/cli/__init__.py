"""The `stylegan` program: a table of commands. Each is a function that parses, calls the library and prints.

The table is plain text, and only the module of the command that runs is imported, so that help comes at once.
"""

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from stylegan import __version__
from stylegan.allocator import keep_freed_memory
from stylegan.errors import InputError, SharedError, sentence_of
from stylegan.terminal import is_first, well_behaved
from stylegan.threads import leave_busy_cores, limit_spinning

COMMANDS = {
    "look": ("data", "Look at pictures before training: a page of sizes, duplicates, what is blurred or odd."),
    "prepare": ("data", "Turn images (a folder, a zip, TFRecords, ..., or the built-in portraits) into a store."),
    "train": ("train", "Train on a store, or go on with a run: repeat its command."),
    "status": ("train", "Say how a run stands: progress, speed, time left, advice, scores, files."),
    "generate": ("draw", "Draw images from a model."),
    "figure": ("draw", "Draw a figure of the paper: style mixing, noise, truncation, entanglement, training, ..."),
    "video": ("draw", "Make a video: interpolation, style mixing, noise, truncation."),
    "directions": ("edit", "Find editing directions (SVM, labels, words, PCA, SeFa, ...), or show what they do."),
    "edit": ("edit", "Move images along directions: smiling=2 hat=-1."),
    "project": ("edit", "Find the w, or w+, of an image: to edit it, to mix it, to walk from it."),
    "drag": ("edit", "Drag points of an image to where they should be."),
    "encoder": ("edit", "Train an encoder: from an image to its w+ in three looks, for project."),
    "explore": ("edit", "Steer a model in the browser: sample, mix, edit, walk, project, compare."),
    "evaluate": ("measure", "Measure a generator, or images, against a store: FID, KID, path lengths, separability."),
    "classifiers": ("measure", "Train attribute classifiers, for linear separability, on a store with attributes."),
    "fetch": ("files", "Download weights: inception and lpips for metrics, faces to find them, clip for words."),
    "import": ("files", "Turn a network file of another program into a model file; its code is not run."),
    "blend": ("files", "Blend two models of one family: coarse layers of one and fine ones of the other, or averages."),
    "export": ("files", "Write a model as a web page, for other programs (ONNX), or in half precision."),
    "push": ("files", "Publish a model on the Hugging Face Hub, with samples and a model card."),
    "bench": ("measure", "Measure how fast this machine samples and trains, and how long a training would take."),
    "info": ("files", "Describe a model, training state, store, run or picture."),
    "demo": ("train", "Run everything once, in eight minutes: portraits, training, samples, style mixing."),
    "presets": ("train", "List the named run configurations."),
}
"""By the name of each command: the module it is in, and a line of help."""

USAGE = f"""usage: stylegan COMMAND [OPTIONS]

A style-based generator architecture for generative adversarial networks: prepare images, train, sample, measure.

commands:
{chr(10).join(f"  {name:<12} {line}" for name, (_, line) in COMMANDS.items())}

Begin with `stylegan generate faces --psi 0.7`, which draws with a model that is in the box, or with `stylegan demo`.
`stylegan COMMAND --help` describes the options. `stylegan --version` prints {__version__}.
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
    name, *options = arguments
    if name in ("-V", "--version"):
        print(f"stylegan {__version__}")
        return
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {near[0]}" if near else f"use one of: {', '.join(COMMANDS)}"
        _refuse(f"there is no command {name!r}; {hint}")
    keep_freed_memory()
    limit_spinning()
    if name in ("train", "demo"):
        leave_busy_cores()
    try:
        sys.exit(command(name)(options))
    except SharedError as error:
        if is_first():
            _refuse(str(error))
        sys.exit(2)
    except (InputError, OSError) as error:
        if isinstance(error, BrokenPipeError) and not error.filename:
            raise
        _refuse(sentence_of(error))
    except (RuntimeError, MemoryError) as error:
        said = isinstance(error, MemoryError) or "out of memory" in str(error).lower()
        if not said and "can't allocate memory" not in str(error):
            raise
        option = dict.fromkeys(("generate", "evaluate", "bench"), "lower --batch")
        option["train"] = "lower --micro-batch (4, say), and set --recompute-from 64 if that is not enough"
        _refuse(f"memory ran out; {option.get(name, 'ask for fewer images at a time, or use a smaller model')}")
    except KeyboardInterrupt:
        print("\nstylegan: interrupted", file=sys.stderr)
        sys.exit(130)


def command(name: str):
    """The function of a command: it takes the arguments and returns an exit code or None."""
    return getattr(import_module(f"stylegan.cli.{COMMANDS[name][0]}"), "import_" if name == "import" else name)


def _refuse(sentence: str) -> None:
    print(f"stylegan: {sentence}", file=sys.stderr)
    sys.exit(2)
