"""What the commands share: how a function becomes a command, and the arguments that many of them take."""

import shlex
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

from tyro import cli
from tyro.conf import Positional, arg

from stylegan.files import printable

A_MODEL = "Model file, run's folder, bundled model, hf://user/model, or a file that `stylegan import` takes."
Model = Annotated[str, Positional, arg(metavar="MODEL", help=A_MODEL)]
ModelOrBundled = Annotated[str, Positional, arg(metavar="MODEL", help=f"{A_MODEL} Default: the bundled faces.")]
Store = Annotated[str, Positional, arg(metavar="STORE", help="Folder that `stylegan prepare` made.")]
Device = Annotated[str, arg(help="cpu, cuda, mps, xpu, or auto.")]
Metadata = Annotated[bool, arg(help="Let the files say how they were made, and that a model made them.")]
Flat = arg(name="")  # an options' dataclass whose fields are options of the command itself

# what options were called before
ALIASES = {"--licence": "--license"}


def command(function: Callable[..., int | None]) -> Callable[[Sequence[str]], int | None]:
    """A command of a function: its signature is the options, its docstring the help."""
    name = function.__name__.removesuffix("_")  # import_

    @wraps(function)
    def run(arguments: Sequence[str]) -> int | None:
        return parse(function, name, arguments)

    return run


def parse(function: Callable[..., Any], name: str, arguments: Sequence[str]) -> Any:
    """Call a function with what the arguments say."""
    return cli(function, args=renamed(arguments), prog=f"stylegan {name}")


def renamed(arguments: Sequence[str]) -> list[str]:
    """The arguments with the present names of options."""
    parts = [argument.partition("=") for argument in arguments]
    return [f"{ALIASES.get(option, option)}{equals}{value}" for option, equals, value in parts]


def images_of(count: int) -> str:
    """What a command has written, in words."""
    return "the image" if count == 1 else f"{count} images"


def say_next(*words: Path | str) -> str:
    """The command to run next, which can be pasted into a shell."""
    return printable(shlex.join(["stylegan", *map(str, words)]))
