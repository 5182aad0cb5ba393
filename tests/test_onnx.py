"""Exported graphs: they draw what torch draws, in a process that has neither torch nor this program."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator
from test_cli import refused, run

from stylegan import weights
from stylegan.device import set_precision
from stylegan.errors import InputError
from stylegan.interop import onnx
from stylegan.networks.generator import Generator, Growth

TRADITIONAL = {"use_styles": False, "const_input": False, "use_instance_norm": False, "use_pixel_norm": True}

# Runs every file of a folder on the inputs beside it, for each batch size, and prints the shapes and the largest error.
STRANGER = """
import sys
sys.modules["torch"] = sys.modules["stylegan"] = None
import json, pathlib
import numpy as np
import onnxruntime
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for data in sorted(path.parent.glob(path.stem + "-*.npz")):
        values = dict(np.load(data))
        truth = values.pop("truth")
        (found,) = session.run(None, values)
        assert found.shape == truth.shape and found.dtype == truth.dtype == np.float32, (found.shape, truth.shape)
        print(path.stem, len(truth), np.abs(found - truth).max() / np.abs(truth).max())
"""


@torch.no_grad()
def truth_of(generator: Generator, part: str, batch: int, psi: float, cutoff: int | None) -> dict[str, np.ndarray]:
    """Inputs of a graph and what the generator makes of them."""
    config, random = generator.config, torch.Generator().manual_seed(batch)
    inputs = {"z": torch.randn(batch, config.z_dim, generator=random)}
    labels = None
    if config.label_count:
        labels = inputs["labels"] = torch.randint(config.label_count, (batch,), generator=random)
    noise = {
        f"noise{i}": torch.randn(batch, 1, r, r, generator=random)
        for i, r in enumerate(generator.synthesis.layer_resolutions(generator.synthesis.grown.resolution))
        if config.use_noise
    }
    w = generator.mapping(inputs["z"], labels)
    if part == "synthesis":
        inputs = {"w": w[torch.randint(batch, (batch,), generator=random)] + torch.randn(w.shape, generator=random) / 2}
        w = inputs["w"]
    elif generator.has_w and cutoff != 0:
        inputs["psi"] = torch.tensor(psi)
        w = generator.truncate(w, psi, cutoff)
    if part == "mapping":
        truth = w
    else:
        truth, inputs = generator.synthesis(w, noise=list(noise.values()) or "none"), inputs | noise
    return {name: tensor.numpy() for name, tensor in (inputs | {"truth": truth}).items()}


def test_files_for_strangers(tmp_path):
    growing = tiny_generator(label_count=3)
    growing.synthesis.grown = Growth(8, 0.25)
    with torch.no_grad():  # a map without variance, where the norms' epsilon decides
        growing.synthesis.blocks["4"].const[0] = 1
        growing.synthesis.blocks["4"].layer0.noise.strength[0] = 0
    cases = {
        "growing": (growing, "all", 3),
        "growing_mapping": (growing, "mapping", None),
        "plain_synthesis": (tiny_generator(8), "synthesis", None),
        "progressive": (
            tiny_generator(8, mapping_layers=0, use_noise=False, use_blur=False, **TRADITIONAL),
            "all",
            None,
        ),
        "traditional_grey": (tiny_generator(4, channels=1, **TRADITIONAL), "all", 0),
    }
    set_precision("float32")  # as a training leaves it
    for name, (generator, part, cutoff) in cases.items():
        before = generator.synthesis.grown, generator.training
        assert onnx.export(tmp_path / f"{name}.onnx", generator, part=part, cutoff=cutoff) < 1e-5
        assert (generator.synthesis.grown, generator.training) == before
        for batch, psi in ((1, 0.7), (4, -0.5), (5, 1.0)):
            np.savez(tmp_path / f"{name}-{batch}.npz", **truth_of(generator, part, batch, psi, cutoff))
    done = subprocess.run([sys.executable, "-c", STRANGER, tmp_path], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = [line.split() for line in done.stdout.splitlines()]
    assert [(name, batch) for name, batch, _ in results] == [(name, b) for name in sorted(cases) for b in "145"]
    assert all(float(error) < 1e-5 for *_, error in results), results


def test_what_a_file_says_of_itself(tmp_path, capsys):
    import onnxruntime

    file, out = tmp_path / "m.safetensors", tmp_path / "m.onnx"
    provenance = weights.Provenance(data="cats", licence="CC0-1.0")
    weights.save(file, weights.Model(tiny_generator(4), provenance))
    assert run("export", file, out, "--part", "all", "--cutoff", "1") == 0
    assert "deviates by" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    shapes = {each.name: each.shape for each in session.get_inputs() + session.get_outputs()}
    noise = ["batch", 1, 4, 4]
    assert shapes == {"z": ["batch", 8], "psi": [], "noise0": noise, "noise1": noise, "images": ["batch", 3, 4, 4]}
    said = json.loads(session.get_modelmeta().custom_metadata_map["stylegan"])
    assert said["kind"] == "stylegan-onnx" and said["format_version"] == 1 and said["cutoff"] == 1
    assert said["provenance"]["licence"] == "CC0-1.0" and said["generator"]["resolution"] == 4
    data = out.read_bytes()
    for private in (str(Path.home()), str(Path(onnx.__file__).parent), "interop"):
        assert private.encode() not in data, private  # the exporter would write down the whole stack of every node


def test_half_precision(tmp_path):
    generator, file = tiny_generator(4, z_dim=64, w_dim=64, mapping_width=64), tmp_path / "m.onnx"
    whole = onnx.export(file, generator, part="mapping"), file.stat().st_size
    half = onnx.export(file, generator, part="mapping", half=True), file.stat().st_size
    assert whole[0] < 1e-5 < half[0] < 0.01 and half[1] < 0.7 * whole[1]
    with torch.no_grad():
        generator.mapping.layers[0].weight.mul_(1e8)  # too large for float16
    with pytest.raises(InputError, match="half precision"):
        onnx.export(tmp_path / "other.onnx", generator, part="mapping", half=True)
    assert list(tmp_path.iterdir()) == [file]


def test_refusals_leave_no_file(tmp_path, capsys, monkeypatch):
    generator, out = tiny_generator(4), tmp_path / "m.onnx"
    with pytest.raises(InputError, match="part"):
        onnx.export(out, generator, part="head")
    for options in ({"cutoff": -1}, {"cutoff": 2, "part": "synthesis"}):
        with pytest.raises(InputError, match="cutoff"):
            onnx.export(out, generator, **options)
    with monkeypatch.context() as patch:
        patch.setattr(onnx, "MOST_PARAMETERS", 1000)
        with pytest.raises(InputError, match="too large"):
            onnx.export(out, generator)
    with monkeypatch.context() as patch:  # a graph that draws something else
        true_forward = onnx._Graph.forward
        patch.setattr(onnx._Graph, "forward", lambda self, inputs: true_forward(self, inputs) * (1 + 1e-3 * self.wrong))
        patch.setattr(onnx._Graph, "wrong", 0, raising=False)
        true_check = onnx._deviation

        def check(session, graph, count):
            graph.wrong = 1
            return true_check(session, graph, count)

        patch.setattr(onnx, "_deviation", check)
        with pytest.raises(InputError, match=r"deviates by 1\.0e-03"):
            onnx.export(out, generator, part="mapping")
    for library in ("onnx", "onnxruntime", "onnxscript"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, library, None)
            assert "stylegan[onnx]" in refused(capsys, "export", "portraits-32", out)
    assert not list(tmp_path.iterdir())
