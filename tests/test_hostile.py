"""Files made to do harm, and damaged ones: no code is run, nothing hangs or fills the memory, one sentence comes back.

They are read in one process of their own (benchmarks/fuzz.py) with 2 GB to spare, 10 s a file, and a look at
everything that could run code.
"""

import io
import json
import os
import pickle
import pickle as op
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    TINY_G_OPTIONS,
    official_g,
    tiny_discriminator,
    tiny_generator,
    write_official,
)
from safetensors.torch import save
from test_interop import genforce_discriminator, genforce_generator

from stylegan import weights
from stylegan.classifiers.model import AttributeClassifiers, save_classifiers
from stylegan.training import state_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limits of memory are Linux's")
FUZZ = Path(__file__).parents[1] / "benchmarks/fuzz.py"


def fuzz(*arguments: str | Path) -> list[dict]:
    """What benchmarks/fuzz.py says of each file."""
    command = [sys.executable, FUZZ, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and not lines[-1]["ran"], done.stdout + done.stderr
    assert lines[-1]["peak_mb"] < 2000
    return lines[:-1]


# --- pieces of pickles


def text(value: str) -> bytes:
    return op.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def call(module: str, name: str, arguments: bytes = op.EMPTY_TUPLE) -> bytes:
    return b"c" + f"{module}\n{name}\n".encode() + arguments + op.REDUCE


def pickled(body: bytes) -> bytes:
    return b"\x80\x04" + body + op.STOP


def long(value: int) -> bytes:
    data = value.to_bytes(16, "little")
    return op.LONG1 + bytes([len(data)]) + data


FLOAT32 = call("numpy", "dtype", text("f4") + op.TUPLE1) + op.MARK + op.BININT1 + b"\x03" + text("<")
FLOAT32 += op.NONE * 3 + (op.BININT + struct.pack("<i", -1)) * 2 + op.BININT1 + b"\0" + op.TUPLE + op.BUILD


def array(shape: bytes, dtype: bytes = FLOAT32, data: bytes = b"\0\0\0\0") -> bytes:
    made = call("numpy.core.multiarray", "_reconstruct")
    data = op.SHORT_BINBYTES + bytes([len(data)]) + data
    return made + op.MARK + op.BININT1 + b"\x01" + shape + dtype + op.NEWFALSE + data + op.TUPLE + op.BUILD


def bomb(levels: int = 60) -> bytes:
    """Tuples in tuples, each twice: small in memory, endless for whoever goes through it."""
    places = [struct.pack("<I", 10**6 + level) for level in range(levels)]
    return op.EMPTY_TUPLE + b"".join(op.LONG_BINPUT + p + op.LONG_BINGET + p + op.TUPLE2 for p in places)


def network(options: dict, variables: dict | None = None) -> bytes:
    """An official file of Gs."""
    gs = official_g("Gs", tiny_generator(), options)
    gs.state["variables"] += (variables or {}).items()
    return pickle.dumps(gs, 2)


def network_with(option: bytes) -> bytes:
    """An official file of Gs with an option that is made by these instructions."""
    return network({"fmap_base": "OPTION"}).replace(text("OPTION"), option)


COMMAND = text("touch owned") + op.TUPLE1
PICKLES = {
    "os-system": (pickled(call("os", "system", COMMAND)), "'os.system'"),
    "posix-system": (pickled(call("posix", "system", COMMAND)), "'posix.system'"),
    "eval": (pickled(call("builtins", "eval", text("open('owned', 'w')") + op.TUPLE1)), "'builtins.eval'"),
    "getattr": (pickled(call("builtins", "getattr")), "'builtins.getattr'"),
    "popen": (pickled(call("subprocess", "Popen", COMMAND)), "'subprocess.Popen'"),
    "new": (pickled(b"csubprocess\nPopen\n" + COMMAND + op.NEWOBJ), "'subprocess.Popen'"),
    "inst": (pickled(op.MARK + text("touch owned") + b"ios\nsystem\n"), "instruction 69"),
    "extension": (pickled(b"\x82\x01"), "instruction 82"),
    "numpy-load": (pickled(call("numpy", "load", text("owned") + op.TUPLE1)), "'numpy.load'"),
    "numpy-memmap": (pickled(call("numpy", "memmap", text("owned") + text("w+") + op.TUPLE2)), "'numpy.memmap'"),
    "numpy-runstring": (pickled(call("numpy.testing", "runstring")), "'numpy.testing.runstring'"),
    "numpy-method": (pickled(text("numpy") + text("ndarray.tofile") + op.STACK_GLOBAL), "'numpy.ndarray.tofile'"),
    "numpy-huge": (
        pickled(call("numpy", "ndarray", long(10**12) + op.TUPLE1 + op.TUPLE1)),
        "calls what is no function",
    ),
    "numpy-globals": (pickled(b"cnumpy\ndtype\n" + op.EMPTY_DICT + op.BUILD), "fills what cannot be filled"),
    "shape-huge": (pickled(array(long(10**12) + op.TUPLE1)), "shape (1000000000000,), but 4 bytes"),
    "shape-negative": (pickled(array(op.BININT + struct.pack("<i", -1) + op.TUPLE1)), "impossible shape"),
    "shape-deep": (pickled(array(op.MARK + (op.BININT1 + b"\x01") * 100 + op.TUPLE)), "impossible shape"),
    "dtype-object": (pickled(array(op.EMPTY_TUPLE, call("numpy", "dtype", text("O8") + op.TUPLE1))), "only numbers"),
    "dtype-record": (pickled(call("numpy", "dtype", text("f4," * 10**6) + op.TUPLE1)), "only numbers"),
    "scalar-object": (
        pickled(call("numpy.core.multiarray", "scalar", text("O") + text("x") + op.TUPLE2)),
        "number of an unknown type",
    ),
    "persistent": (pickled(text("x") + op.BINPERSID), "outside of itself"),
    "persistent-line": (pickled(b"Px\n"), "instruction 50"),
    "key-bomb": (pickled(op.EMPTY_DICT + bomb() + op.NONE + op.SETITEM), "repeats its lists"),
    "key-tuple": (pickled(op.EMPTY_DICT + op.EMPTY_TUPLE + op.NONE + op.SETITEM), "neither texts nor numbers"),
    "option-bomb": (network_with(bomb()), "repeats its lists"),
    "option-tuple": (network_with(op.EMPTY_TUPLE + op.TUPLE1), "neither a number nor a text"),
    "late-bomb": (pickled(op.EMPTY_LIST + op.BINPUT + b"\0" + op.BINGET + b"\0" + op.APPEND), "in use already"),
    "deep-lists": (pickled(op.EMPTY_LIST * 50_000 + op.APPEND * 49_999), "holds neither"),
    "deep-option": (network_with(op.EMPTY_LIST * 50_000 + op.APPEND * 49_999), "neither a number nor a text"),
    "marks": (pickled(op.MARK * 5_000_000), "instructions"),
    "build-dict": (pickled(op.EMPTY_DICT + op.EMPTY_DICT + op.BUILD), "fills what cannot be filled"),
    "bytes-long": (pickled(op.BINBYTES8 + struct.pack("<Q", 2**62)), "cut short or damaged"),
    "text-long": (pickled(op.BINUNICODE8 + struct.pack("<Q", 2**62)), "a text of"),
    "long-long": (pickled(b"\x8b\xff\xff\xff\x7f"), "instruction 8b"),
    "name-long": (pickled(b"c" + b"a" * 10**7), "cut short or damaged"),
    "network-thrice": (
        pickle.dumps((official_g("G", tiny_generator(), TINY_G_OPTIONS),) * 3, 4),
        "repeats its numbers",
    ),
    "no-network": (pickle.dumps({"G": np.zeros(3)}, 4), "holds neither"),
    "wide": (network(TINY_G_OPTIONS | {"mapping_fmaps": 10**7}), "do not fit"),
    "labels": (network(TINY_G_OPTIONS | {"label_size": 2**62}), "do not fit"),
    "maps": (network(TINY_G_OPTIONS | {"fmap_base": 2**29, "fmap_max": 2**29}), "do not fit"),
    "decay": (network(TINY_G_OPTIONS | {"fmap_decay": -1e308}), "feature_maps"),
    "layers": (network(TINY_G_OPTIONS | {"mapping_layers": 10**9}), "mapping_layers"),
    "repeats": (
        network(
            TINY_G_OPTIONS, {f"noise{i}": array for array in [np.zeros((1000, 1000), np.float32)] for i in range(2000)}
        ),
        "repeats its numbers",
    ),
}


# --- safetensors


def model_file(header: dict | str | None = None, tensors: dict | None = None) -> bytes:
    """A model file with a header of one's own."""
    whole = {"kind": "stylegan-model", "format_version": 1, "generator": {"resolution": 8}, "discriminator": None}
    whole |= {"grown": {"resolution": 8, "fade": 0.0}, "provenance": {}}
    if not isinstance(header, str):
        header = json.dumps(whole | (header or {}))
    return save(tensors or {"g_ema.w_avg": torch.zeros(8)}, {"stylegan": header})


def raw(header: bytes, length: int | None = None, data: bytes = b"\0" * 32) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def described(**tensor) -> bytes:
    return raw(json.dumps({"g_ema.w_avg": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]} | tensor}).encode())


TINY = {"z_dim": 8, "w_dim": 8, "mapping_width": 8, "feature_maps": {"maximum": 8}, "resolution": 8}
SAFETENSORS = {
    "length-max": (raw(b"{}", 2**64 - 1), "header is too long"),
    "length-long": (raw(b"{}", 11 * 2**20, b" " * 12 * 2**20), "header is too long"),
    "length-beyond": (raw(b"{}", 1000), "header is too long"),
    "no-json": (raw(b"{'a': 1}"), "damaged"),
    "deep-json": (raw(b'{"a":' * 100_000), "damaged"),
    "shape-huge": (described(shape=[2**40]), "damaged"),
    "shape-overflow": (described(shape=[2**32, 2**32, 2**32]), "damaged"),
    "offsets-beyond": (described(data_offsets=[0, 2**40], shape=[2**38]), "damaged"),
    "offsets-negative": (described(data_offsets=[-8, 24]), "damaged"),
    "no-header": (described(), "not a StyleGAN model"),
    "deep-header": (model_file("[" * 100_000), "damaged"),
    "number-long": (model_file("9" * 100_000), "damaged"),
    "not-a-table": (model_file({"generator": [1]}), "table of options"),
    "integers": (model_file({}, {"g_ema.w_avg": torch.zeros(8, dtype=torch.int64)}), "neither float16 nor float32"),
    "wide": (model_file({"generator": TINY | {"mapping_width": 10**7}}), "do not fit"),
    "labels": (model_file({"generator": TINY | {"label_count": 2**62}}), "do not fit"),
    "maps": (model_file({"generator": TINY | {"feature_maps": {"base": 10**9, "maximum": 10**9}}}), "do not fit"),
    "maps-huge": (model_file({"generator": TINY | {"feature_maps": {"base": 10**400}}}), "feature_maps.base"),
    "decay": (model_file({"generator": TINY | {"feature_maps": {"decay": 1e308}}}), "feature_maps.decay"),
    "layers": (model_file({"generator": TINY | {"mapping_layers": 10**9}}), "mapping_layers"),
    "not-finite": (model_file({"generator": TINY | {"mapping_lr_multiplier": float("inf")}}), "mapping_lr_multiplier"),
    "aspect": (model_file({"generator": TINY | {"aspect": [10**400, 1]}}), "aspect"),
    "psi": (model_file({"truncation": {"psi": float("nan"), "cutoff": None}}), "psi is nan"),
    "d-without": (
        model_file({}, {"d.blocks.4.conv.weight": torch.zeros(8), "g_ema.w_avg": torch.zeros(8)}),
        "'d.blocks",
    ),
}


# --- files of torch


def archive(data: bytes, members: dict[str, bytes] | None = None, method: int = zipfile.ZIP_STORED) -> bytes:
    """A file as torch.save writes it, with pickled data of one's own."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as written:
        written.writestr("x/data.pkl", data)
        for name, content in (members or {}).items():
            written.writestr(name, content)
    return file.getvalue()


def storage(count: int, key: str = "0") -> bytes:
    told = op.MARK + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu") + long(count) + op.TUPLE
    return told + op.BINPERSID


def tensor(shape: int, stride: int, count: int = 1, offset: int = 0) -> bytes:
    sizes = b"".join(long(n) + op.TUPLE1 for n in (shape, stride))
    arguments = op.MARK + storage(count) + long(offset) + sizes + op.NEWFALSE + op.NONE + op.TUPLE
    return call("torch._utils", "_rebuild_tensor_v2", arguments)


def aliased(data: bytes, times: int) -> bytes:
    """The archive with a directory that lists its last member more often."""
    end = data.rfind(b"PK\x05\x06")
    count, _, start = struct.unpack("<HII", data[end + 10 : end + 20])
    entries = data[start:end].split(b"PK\x01\x02")[1:]
    copies = [b"PK\x01\x02" + entries[-1].replace(b"data/0", b"data/%c" % (65 + i % 26)) for i in range(times)]
    directory = data[start:end] + b"".join(copies)
    numbers = struct.pack("<HHII", count + times, count + times, len(directory), start)
    return data[:start] + directory + data[end : end + 8] + numbers + data[end + 20 :]


def compressed_bomb() -> bytes:
    return archive(pickled(tensor(1, 1)), {"x/data/0": bytes(10**7)}, zipfile.ZIP_DEFLATED)


def legacy(body: bytes, keys: bytes = op.EMPTY_LIST) -> bytes:
    start = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19." + pickle.dumps(1001, 2) + pickle.dumps({}, 2)
    return start + pickled(body) + pickled(keys)


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as written:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        written.addfile(link)
    return file.getvalue()


FOUR = {"x/data/0": b"\0\0\0\0"}
TORCH = {
    "os-system": (archive(pickled(call("os", "system", COMMAND))), "'os.system'"),
    "bytearray": (archive(pickled(call("builtins", "bytearray", long(10**12) + op.TUPLE1))), "'builtins.bytearray'"),
    "storage-call": (archive(pickled(call("torch", "FloatStorage", long(10**12) + op.TUPLE1))), "no function"),
    "storage-huge": (archive(pickled(tensor(1, 1, 10**12)), FOUR), "has not the size"),
    "shape-huge": (archive(pickled(tensor(10**12, 1)), FOUR), "whose shape is not"),
    "shape-repeated": (archive(pickled(tensor(10**9, 0)), FOUR), "whose shape is not"),
    "offset": (archive(pickled(tensor(1, 1, 1, 5)), FOUR), "whose shape is not"),
    "stride": (archive(pickled(tensor(2, 2**50, 2)), {"x/data/0": bytes(8)}), "whose shape is not"),
    "no-data": (archive(pickled(tensor(1, 1))), "cut short or damaged"),
    "key-bomb": (archive(pickled(op.EMPTY_DICT + bomb() + op.NONE + op.SETITEM)), "repeats its lists"),
    "compressed": (compressed_bomb(), "unpacks to more than its size"),
    "aliased": (
        aliased(archive(pickled(tensor(1, 1)), {"x/data/0": bytes(10**6)}), 26),
        "unpacks to more than its size",
    ),
    "members": (aliased(archive(pickled(tensor(1, 1)), FOUR), 30_000), "more than 20000 members"),
    "path": (archive(pickled(op.NONE), {"../../owned": b"x"}), "holds no networks"),
    "two": (archive(pickled(op.NONE), {"y/data.pkl": b"x"}), "not one of torch"),
    "big-endian": (archive(pickled(op.NONE), {"x/byteorder": b"big"}), "other order of bytes"),
    "legacy-huge": (legacy(tensor(1, 1, 10**12)), "larger than the file"),
    "legacy-keys": (legacy(op.NONE, op.EMPTY_LIST + text("7") + op.APPEND), "cut short or damaged"),
    "legacy-call": (legacy(call("os", "system", COMMAND)), "'os.system'"),
    "legacy-end": (legacy(tensor(1, 1), op.EMPTY_LIST + text("0") + op.APPEND), "cut short or damaged"),
    "genforce-list": (archive(pickled(op.EMPTY_DICT + text("generator") + op.NONE + op.SETITEM)), "not a table"),
}
STATES = {
    "state-0000000001.pt": (archive(pickled(call("os", "system", COMMAND))), "'os.system'"),
    "state-0000000002.pt": (archive(pickled(op.NONE)), "not a training state"),
    "state-0000000003.pt": (archive(pickle.dumps({"kind": "stylegan-state"}, 2)), "format version"),
    "state-0000000004.pt": (archive(pickle.dumps({"kind": "stylegan-state", "format_version": 1}, 2)), "does not hold"),
    "state-0000000005.pt": (compressed_bomb(), "unpacks to more than its size"),
    "state-0000000006.pt": (pickled(call("os", "system", COMMAND)), "cut short or damaged"),
    "state-0000000007.pt": (tar(), "cut short or damaged"),
    "classifiers.safetensors": (model_file(), "attribute classifiers"),
    "classifiers-2.safetensors": (
        model_file({"kind": "stylegan-classifiers", "attributes": ["a"], "networks": [{}] * 3}),
        "belongs to no network",
    ),
    "classifiers-3.safetensors": (
        model_file({"kind": "stylegan-classifiers", "attributes": "a", "networks": []}),
        "does not list attributes",
    ),
}
HOSTILE = {f"{name}.pkl": made for name, made in PICKLES.items()}
HOSTILE |= {f"{name}.safetensors": made for name, made in SAFETENSORS.items()}
HOSTILE |= {f"{name}.pth": made for name, made in TORCH.items()} | STATES


def test_crafted_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, (content, _) in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    lines = fuzz(*(tmp_path / name for name in HOSTILE), "--whole")
    assert [line["file"] for line in lines] == list(HOSTILE)
    wrong = [line for line in lines if HOSTILE[line["file"]][1] not in line["sentence"]]
    assert not wrong, "\n".join(map(str, wrong))
    assert all(line["file"] in line["sentence"] for line in lines)
    assert not (tmp_path / "owned").exists()


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> list[Path]:
    """A good file of each kind."""
    folder = tmp_path_factory.mktemp("samples")
    g, d = write_official(folder / "official.pkl")
    write_official(folder / "official-2.pkl", protocol=2, numpy=1)
    weights.save(folder / "model.safetensors", weights.Model(g, weights.Provenance(data="x"), None, d))
    save_classifiers(
        folder / "classifiers.safetensors", AttributeClassifiers(["a"], [tiny_discriminator(group_size=1)])
    )
    content = {"generator": genforce_generator(g), "discriminator": genforce_discriminator(d)}
    torch.save(content, folder / "genforce.pth")
    torch.save(content, folder / "genforce-legacy.pth", _use_new_zipfile_serialization=False)
    state = {"data": "x", "images_seen": 1, "tick": 1, "tick_start": 0, "seconds": 1.5, "stage": (8, True)}
    state |= {"resolution_and_fade": (8, 0.5), "skipped": {"g": 0, "d": 0}, "skipped_in_a_row": {"g": 0, "d": 0}}
    state |= {"g": g.state_dict(), "d": d.state_dict(), "g_ema": g.state_dict(), "g_adam": {}, "d_adam": {}}
    state_file.save(folder / "state-0000000001.pt", state)
    return sorted(folder.iterdir())


def test_damaged_files(samples):
    """Files without their end are refused; those with a changed byte are, or load with another number."""
    for line in fuzz(*samples, "--cuts", "20", "--flips", "40", "--seed", "1"):
        assert line["refused"] >= 20 and line.get("loaded", 0) + line["refused"] == 60, line
