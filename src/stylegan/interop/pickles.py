"""Pickles read as data, by a machine that knows the format's instructions and runs nothing of the file's choosing.

Python's own unpickler calls what a file names, with what the file gives: even with a list of allowed names, a numpy
callable can be given a shape of a terabyte, and tuples within tuples as the key of a dictionary take for ever. Here a
name is looked up in the caller's table of functions, which get their arguments as one tuple and look at them; and
what has no place in a file of weights is refused: other instructions, other names, keys that are not plain, and lists
that are small in the file but endless for whoever goes through them.
"""

import pickle as op
import struct
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from stylegan.errors import InputError

MOST_INSTRUCTIONS = 200_000  # a file of three 1024 x 1024 networks has some 10,000
LONGEST_TEXT = 2**26


class UnknownName(InputError):
    """A file asks for something that its kind does not need."""

    def __init__(self, name: str) -> None:
        super().__init__(f"it asks for {name[:100]!r}, which no such file needs; nothing of it was run")
        self.name = name


class Built(ABC):
    """Result of a known function to which the file may then give a state."""

    @abstractmethod
    def set_state(self, state: Any) -> None:
        """Take the state after looking at it. Raises InputError."""


def load(file: BinaryIO, known: Mapping[str, Any], persistent: Callable[[Any], Any] | None = None) -> Any:
    """Read one pickle from where the file stands.

    known: by full name, such as "numpy.ndarray", functions of one tuple, or objects that are not called; what they
    get is made of None, numbers, texts, bytes, lists, tuples, dictionaries and what they returned themselves.
    persistent: gets what stands for data outside of the pickle. Texts of Python 2 are read as latin-1.
    Raises InputError in one sentence that does not name the file.
    """
    try:
        return _Machine(file, known, persistent).run()
    except (IndexError, KeyError, EOFError, UnicodeError, struct.error) as error:
        raise InputError("it is cut short or damaged") from error


_CONTAINERS = (list, tuple, dict)


class _Machine:
    """Stack, marks and memo of the pickle format (see Python's pickletools for what each instruction does)."""

    def __init__(self, file: BinaryIO, known: Mapping[str, Any], persistent) -> None:
        self.file, self.known, self.persistent = file, known, persistent
        start = file.tell()
        self.left = file.seek(0, 2) - start
        file.seek(start)
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.sizes: dict[int, int] = {}  # of a container, by id: how many things one meets in going through it
        self.complete: set[int] = set()  # containers that were recalled: their sizes have been counted
        self.repeated = 0  # things met in what was recalled

    def run(self) -> Any:
        for _ in range(MOST_INSTRUCTIONS):
            instruction = self.take(1)
            if instruction == op.STOP:
                return self.stack.pop()
            if read_value := _VALUES.get(instruction):
                self.stack.append(read_value(self))
            else:
                self.step(instruction)
        raise InputError(f"it has more than {MOST_INSTRUCTIONS} instructions, far more than any network")

    def step(self, instruction: bytes) -> None:
        """Carry out an instruction other than one for a plain value."""
        stack = self.stack
        match instruction:
            # containers
            case op.MARK:
                self.marks.append(len(stack))
            case op.EMPTY_TUPLE:
                self.push((), [])
            case op.TUPLE1 | op.TUPLE2 | op.TUPLE3:
                count = (op.TUPLE1, op.TUPLE2, op.TUPLE3).index(instruction) + 1
                items = self.pop(count)
                self.push(tuple(items), items)
            case op.TUPLE:
                items = self.pop_to_mark()
                self.push(tuple(items), items)
            case op.EMPTY_LIST:
                self.push([], [])
            case op.APPEND | op.APPENDS:
                items = self.pop_to_mark() if instruction == op.APPENDS else self.pop(1)
                self.open(list, items).extend(items)
            case op.EMPTY_DICT:
                self.push({}, [])
            case op.SETITEM | op.SETITEMS:
                items = self.pop_to_mark() if instruction == op.SETITEMS else self.pop(2)
                target = self.open(dict, items)
                if len(items) % 2:
                    raise InputError("it is damaged: a dictionary lacks a value")
                for key, value in zip(items[::2], items[1::2], strict=True):
                    if not isinstance(key, str | int | float | bytes | None):
                        raise InputError("it has a dictionary with keys that are neither texts nor numbers")
                    target[key] = value
            # what was there before
            case op.MEMOIZE:
                self.memo[len(self.memo)] = stack[-1]
            case op.BINPUT:
                self.memo[self.number("<B")] = stack[-1]
            case op.LONG_BINPUT:
                self.memo[self.number("<I")] = stack[-1]
            case op.BINGET:
                self.recall(self.number("<B"))
            case op.LONG_BINGET:
                self.recall(self.number("<I"))
            # known names, and what they make
            case op.GLOBAL:
                stack.append(self.find(self.line(), self.line()))
            case op.STACK_GLOBAL:
                stack.append(self.find(*self.pop(2)))
            case op.REDUCE | op.NEWOBJ:
                function, arguments = self.pop(2)
                if not callable(function) or not isinstance(arguments, tuple):
                    raise InputError("it is damaged: it calls what is no function")
                self.push(function(arguments), [])
            case op.BUILD:
                (state,) = self.pop(1)
                if type(stack[-1]) is not OrderedDict:  # torch's has the versions of modules, of no use here
                    self.top(Built).set_state(state)
            case op.BINPERSID:
                if self.persistent is None:
                    raise InputError("it refers to data outside of itself, which no such file does")
                stack.append(self.persistent(*self.pop(1)))
            # the wrapping
            case op.PROTO:
                self.take(1)
            case op.FRAME:
                self.take(8)
            case _:
                raise InputError(f"it is no file of this kind, or is damaged (instruction {instruction.hex()})")

    def take(self, count: int) -> bytes:
        """The next bytes. More than the file has left are not even asked for."""
        self.left -= count
        if count < 0 or self.left < 0 or len(data := self.file.read(count)) < count:
            raise EOFError
        return data

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def sized_bytes(self, layout: str) -> bytes:
        """Bytes, after how many there are."""
        return self.take(self.number(layout))

    def text(self, layout: str) -> str:
        length = self.number(layout)
        if length > LONGEST_TEXT:
            raise InputError(f"it has a text of {length} bytes, which no network has")
        return self.take(length).decode("utf-8", "surrogatepass")

    def line(self) -> str:
        line = bytearray()
        while (byte := self.take(1)) != b"\n":
            line += byte
            if len(line) > 1000:
                raise EOFError
        return line.decode()

    def push(self, thing: Any, items: list[Any]) -> None:
        """Put something new on the stack; of a container, with what is in it."""
        if isinstance(thing, _CONTAINERS):
            self.sizes[id(thing)] = 1 + self.size(items)
        self.stack.append(thing)

    def open(self, kind: type, items: list[Any]) -> Any:
        """The container on top of the stack, to be filled with these items.

        They are off the stack, so they will not change any more: the sizes are exact.
        """
        container = self.top(kind)
        if id(container) in self.complete:
            raise InputError("it is damaged: it fills what is in use already")
        self.sizes[id(container)] += self.size(items)
        return container

    def recall(self, place: int) -> None:
        """Put on the stack once more what was there before."""
        thing = self.memo[place]
        if isinstance(thing, _CONTAINERS):
            self.complete.add(id(thing))
            self.repeated += self.size([thing])
            if self.repeated > MOST_INSTRUCTIONS:
                raise InputError("it repeats its lists without end, which no network does")
        self.stack.append(thing)

    def size(self, things: list[Any]) -> int:
        return sum(self.sizes[id(thing)] if isinstance(thing, _CONTAINERS) else 1 for thing in things)

    def top(self, kind: type) -> Any:
        if not isinstance(self.stack[-1], kind):
            raise InputError("it is damaged: it fills what cannot be filled")
        return self.stack[-1]

    def pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def pop_to_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def find(self, module: Any, name: Any) -> Any:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "something without a name"
        if full not in self.known:
            raise UnknownName(full)
        return self.known[full]


# The instructions for plain values (None, numbers, texts, bytes), and how a machine reads each.
_VALUES: dict[bytes, Callable[[_Machine], Any]] = {
    op.NONE: lambda machine: None,
    op.NEWTRUE: lambda machine: True,
    op.NEWFALSE: lambda machine: False,
    op.BININT: lambda machine: machine.number("<i"),
    op.BININT1: lambda machine: machine.number("<B"),
    op.BININT2: lambda machine: machine.number("<H"),
    op.LONG1: lambda machine: int.from_bytes(machine.sized_bytes("<B"), "little", signed=True),
    op.BINFLOAT: lambda machine: machine.number(">d"),
    op.SHORT_BINUNICODE: lambda machine: machine.text("<B"),
    op.BINUNICODE: lambda machine: machine.text("<I"),
    op.BINUNICODE8: lambda machine: machine.text("<Q"),
    op.SHORT_BINSTRING: lambda machine: machine.sized_bytes("<B").decode("latin1"),
    op.BINSTRING: lambda machine: machine.sized_bytes("<I").decode("latin1"),
    op.SHORT_BINBYTES: lambda machine: machine.sized_bytes("<B"),
    op.BINBYTES: lambda machine: machine.sized_bytes("<I"),
    op.BINBYTES8: lambda machine: machine.sized_bytes("<Q"),
    op.BYTEARRAY8: lambda machine: machine.sized_bytes("<Q"),
}
