"""Files: complete or not there; tensor files are written and checked in one place."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_discriminator, tiny_generator
from safetensors.torch import load_file, save_file

from stylegan import directions, files, recipe, sampling, weights
from stylegan.classifiers.model import AttributeClassifiers, load_classifiers, save_classifiers
from stylegan.describe import describe
from stylegan.errors import InputError
from stylegan.files import atomic_file, read_tensors, write_tensors

KIND = {"what": "a file of numbers", "kind": "stylegan-numbers"}


def header(**fields) -> dict:
    return {"kind": "stylegan-numbers", "format_version": 1} | fields


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]
    with atomic_file(str(path)) as file:
        file.write(b"after")
        assert path.read_bytes() == b"before"
    assert path.read_bytes() == b"after" and [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_a_file_that_is_read_is_replaced_a_little_later_on_windows(tmp_path, monkeypatch):
    """There a file that somebody has open cannot be replaced."""
    replace, waited = Path.replace, []

    def busy(self, target):
        if len(waited) < 2:
            raise PermissionError
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    monkeypatch.setattr(files.time, "sleep", waited.append)
    with pytest.raises(PermissionError), atomic_file(tmp_path / "x") as file:
        file.write(b"x")
    assert not waited and not list(tmp_path.iterdir())
    monkeypatch.setattr(files, "system", lambda: "windows")
    with atomic_file(tmp_path / "x") as file:
        file.write(b"x")
    assert len(waited) == 2 and (tmp_path / "x").read_bytes() == b"x"


def test_writing_needs_no_torch():
    code = "import sys, stylegan.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_tensors_come_back_as_float32(tmp_path):
    tensors = {"a": torch.randn(3, 4).T, "b": torch.randn(2, requires_grad=True)}
    write_tensors(tmp_path / "x.safetensors", tensors, header(names=["é"]))
    read, found = read_tensors(tmp_path / "x.safetensors", **KIND)
    assert read == header(names=["é"])
    assert found.keys() == tensors.keys() and all(torch.equal(found[name], tensors[name]) for name in tensors)
    write_tensors(tmp_path / "half.safetensors", tensors, header(), half=True)
    assert load_file(tmp_path / "half.safetensors")["a"].dtype == torch.float16
    _, found = read_tensors(tmp_path / "half.safetensors", **KIND)
    assert found["a"].dtype == torch.float32 and torch.equal(found["a"], tensors["a"].half().float())


def test_files_of_others_keep_their_metadata_and_integers(tmp_path):
    tensors = {"x": torch.ones(2, dtype=torch.float64), "n": torch.ones(2, dtype=torch.int64)}
    save_file(tensors, tmp_path / "x.safetensors", {"ops": "[]"})
    metadata, found = read_tensors(tmp_path / "x.safetensors", "weights")
    assert metadata == {"ops": "[]"} and {n: t.dtype for n, t in found.items()} == {
        "x": torch.float32,
        "n": torch.int64,
    }


@pytest.mark.parametrize(
    ("write", "sentence"),
    [
        (lambda path: None, "there is no file .*; make one"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.write_bytes(b""), "not a file of numbers, or is damaged"),
        (lambda path: path.write_bytes(b"none at all"), "header is too long"),
        (lambda path: path.write_bytes((8).to_bytes(8, "little") + b"{'a': 1}"), "damaged"),
        (lambda path: save_file({"x": torch.zeros(1)}, path), "not a file of numbers of this program"),
        (lambda path: write_tensors(path, {}, header(kind="stylegan-model")), "not a file of numbers of this program"),
        (lambda path: write_tensors(path, {}, header(format_version=2)), "format version 2, this program reads 1"),
        (lambda path: write_tensors(path, {"x": torch.zeros(1).double()}, header()), "neither float16 nor float32"),
        (lambda path: save_file({"x": torch.zeros(1)}, path, {"stylegan": "["}), "damaged"),
    ],
)
def test_what_is_refused(tmp_path, write, sentence):
    write(tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=sentence):
        read_tensors(tmp_path / "x.safetensors", hint="make one", **KIND)


def test_every_reader_refuses_a_header_that_is_too_long(tmp_path):
    """The check that only models had; the others parsed what they were given."""
    path, g = tmp_path / "x.safetensors", tiny_generator()
    text = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    text += b" " * (11 * 2**20 - len(text))
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(4))
    for read in (
        weights.load_model,
        load_classifiers,
        lambda path: directions.load(path, g),
        lambda path: sampling.load_latents(path, g.config),
        lambda path: recipe.noise_of_file(path, g),
    ):
        with pytest.raises(InputError, match="header is too long"):
            read(path)


# --- every file proves itself


def some_files(folder: Path) -> dict[str, Callable[[], Any]]:
    """A file of each kind, and what reads it again into something to compare."""
    g, d = tiny_generator(8), tiny_discriminator(8)
    names = ("model", "half", "classifiers", "directions", "latents", "features")
    path = {name: folder / f"{name}.safetensors" for name in names}
    weights.save(path["model"], weights.Model(g, weights.Provenance(notes='"crc32": "12345678"'), discriminator=d))
    weights.save(path["half"], weights.Model(g), half=True)
    save_classifiers(path["classifiers"], AttributeClassifiers(["hat"], [d]))
    one = torch.ones(1)
    found = directions.Directions(("hat",), torch.eye(1, 8), one, one + 1, "svm", "m")
    directions.save(path["directions"], found)
    sampling.save_latents(path["latents"], w=torch.randn(2, 8), noise="const", model=g)
    write_tensors(path["features"], {"features": torch.randn(5, 3)})

    def of_model(name: str) -> dict:
        model = weights.load_model(path[name])
        d = model.discriminator
        return (
            model.generator.state_dict()
            | (d.state_dict() if d is not None else {})
            | {"about": weights.header_of(model)}
        )

    return {
        "model": lambda: of_model("model"),
        "half": lambda: of_model("half"),
        "classifiers": lambda: load_classifiers(path["classifiers"]).networks.state_dict(),
        "directions": lambda: vars(directions.load(path["directions"])),
        "latents": lambda: {"w": sampling.load_latents(path["latents"], g.config, model=g)[1]},
        "features": lambda: read_tensors(path["features"], "features")[1],
    }


def alike(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[n], b[n]) if isinstance(a[n], torch.Tensor) else a[n] == b[n] for n in a
    )


@pytest.mark.parametrize("kind", ["model", "half", "classifiers", "directions", "latents", "features"])
def test_no_flipped_bit_loads_as_something_else(tmp_path, kind):
    read, path, rng = some_files(tmp_path)[kind], tmp_path / f"{kind}.safetensors", np.random.RandomState(0)
    truth, data, refused = read(), path.read_bytes(), 0
    header = 8 + int.from_bytes(data[:8], "little")
    for place in [*rng.randint(0, header, 40), *rng.randint(header, len(data), 40)]:
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randint(8)
        path.unlink()  # the tensors read before may lie in the file
        path.write_bytes(damaged)
        try:
            assert alike(read(), truth), place  # a bit of the checksum's name
        except InputError as error:
            assert path.name in str(error)
            refused += 1
    assert refused >= 70


def test_the_checksum_is_that_of_the_documentation(tmp_path, monkeypatch):
    some_files(tmp_path)
    page = (Path(__file__).parents[1] / "docs/file-formats.md").read_text(encoding="utf-8")
    code = next(block for block in page.split("```python\n") if "zlib" in block).split("```")[0]
    for path in tmp_path.glob("*.safetensors"):
        path.replace(tmp_path / "model.safetensors")
        monkeypatch.chdir(tmp_path)
        scope = {}
        exec(code, scope)
        assert scope["stored"][1].decode() == files.stored_checksum(tmp_path / "model.safetensors")


def test_files_without_a_checksum_are_read_and_say_so(tmp_path):
    weights.save(tmp_path / "new.safetensors", weights.Model(tiny_generator(8)))
    about, tensors = read_tensors(tmp_path / "new.safetensors", "a model", kind="stylegan-model")
    assert "crc32" not in about
    save_file(tensors, tmp_path / "old.safetensors", {"stylegan": json.dumps(about)})
    assert describe(tmp_path / "old.safetensors")["checksum"].startswith("none")
    assert describe(tmp_path / "new.safetensors")["checksum"].endswith("right")
    assert describe("portraits-32")["checksum"].startswith("none")
