"""Models given away: the hub and back, the model card, small files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_discriminator, tiny_generator
from hub_stand_in import TOKEN, Repository, running_hub
from PIL import Image
from test_cli import refused, run

from stylegan import share, weights
from stylegan.errors import InputError
from stylegan.interop import hub as hub_module
from stylegan.metrics.subject import checksum
from stylegan.networks.generator import Growth
from stylegan.weights import Model, Provenance

# The library reads its settings when it is imported, so the program runs in a process of its own; several commands in
# one, since starting takes seconds.
SESSION = """
import contextlib, io, json, os, sys
from stylegan import cli
for environment, arguments in json.load(sys.stdin):
    os.environ.update(environment)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(arguments)
            code = 0
        except SystemExit as end:
            code = end.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]), file=sys.__stdout__)
"""


def session(commands: list, home: Path, address: str, **environment: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each command: a list of arguments, after a dictionary of variables to set."""
    settings = {"HF_ENDPOINT": address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
    settings |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SESSION],
        input=json.dumps([[changes, [str(a) for a in arguments]] for changes, *arguments in commands]),
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def model() -> Model:
    provenance = Provenance(
        data="cats|dogs", preset="small", images_seen=1_234_000, licence="CC-BY-4.0", notes="a test"
    )
    return Model(tiny_generator(), provenance, tiny_generator(), tiny_discriminator())


def pictures(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_to_the_hub_and_back(model, tmp_path):
    file, home, out = tmp_path / "tiny.safetensors", tmp_path / "home", tmp_path / "out"
    weights.save(file, model)
    first = f"{1:040x}"
    look = ("--seeds", "0-3", "--out")
    with running_hub() as hub:
        hub.repositories |= {"user/public": Repository(private=False), "other/theirs": Repository(private=False)}
        results = session(
            [
                ({}, "push", file, "user/tiny", "--private", "--licence", "Apache-2.0"),
                ({}, "push", file, "hf://user/tiny", "--licence", "my own"),
                ({}, "generate", "hf://user/tiny", *look, out / "hub"),
                ({}, "generate", f"hf://user/tiny@{first}", *look, out / "first"),
                ({}, "info", f"hf://user/tiny@{first}"),
                ({}, "generate", file, *look, out / "file"),
                # what goes wrong
                ({}, "push", file, "user/public", "--private"),
                ({}, "push", file, "other/mine"),
                ({}, "generate", "hf://user/tiny@v9"),
                ({}, "generate", "hf://user/public"),
                ({}, "generate", "hf://user/none"),
                ({"HF_TOKEN": "wrong"}, "push", file, "user/tiny"),
                ({}, "generate", "hf://user/tiny@" + f"{9:040x}"),
            ],
            home,
            hub.address,
        )
        assert [code for code, _, _ in results[:6]] == [0] * 6, results[:6]
        assert results[0][1].startswith(f"{hub.address}/user/tiny. Next: stylegan generate hf://user/tiny")
        sent = hub.repositories["user/tiny"]
        large = {request for request in hub.requests if request.startswith("PUT /lfs/")}
    assert sent.private and len(sent.commits) == 3  # an empty one, and one for each push
    assert set(sent.commits[1]) == {"model.safetensors", "config.json", "samples.png", "README.md"}
    assert len(large) == 3  # two model files, and the samples, which stayed

    assert pictures(out / "hub") == pictures(out / "first") == pictures(out / "file")
    assert "Apache-2.0" in results[4][1]
    (tmp_path / "back.safetensors").write_bytes(sent.commits[2]["model.safetensors"])
    back = weights.load_model(tmp_path / "back.safetensors")
    assert back.raw_generator is None and back.discriminator is None and back.provenance.licence == "my own"
    ours = model.generator.state_dict()
    assert all(torch.equal(ours[name], tensor) for name, tensor in back.generator.state_dict().items())
    assert json.loads(sent.commits[2]["config.json"]) == weights.header_of(back)

    expected = ["is public", "log in", "no revision v9", "no model.safetensors", "user/none", "log in"]
    expected += ["user/tiny"]  # hidden from those without a token
    for (code, _, err), message in zip(results[6:], expected, strict=True):
        assert code == 2 and message in err and err.count("\n") == 1 and err.startswith("stylegan: "), err
    assert hub.repositories["user/public"].commits == [{}]

    # without network: from the cache, or one sentence
    cached, missing, push = session(
        [
            ({}, "generate", "hf://user/tiny", *look, out / "offline"),
            ({}, "generate", "hf://user/another", *look, out / "another"),
            ({}, "push", file, "user/tiny"),
        ],
        home,
        hub.address,  # where nobody answers any more
        HF_HUB_OFFLINE="1",
    )
    assert cached[0] == 0 and pictures(out / "offline") == pictures(out / "file")
    for code, _, err in (missing, push):
        assert code == 2 and "reached" in err and err.count("\n") == 1
    assert not (out / "another").exists()


def test_names_on_the_hub():
    assert hub_module.repo_of("hf://user/model@v1.0") == ("user/model", "v1.0")
    assert hub_module.repo_of(Path("hf://user/model")) == ("user/model", None)
    assert hub_module.repo_of("user/model") == ("user/model", None)
    assert hub_module.is_hub_name("hf://user/model") and not hub_module.is_hub_name("hf/user/model")
    for name in ("hf://", "hf://model", "hf://user/model/file", "user/model@", "user /model", "hf://user/mödel"):
        with pytest.raises(InputError, match="hf://user/model"):
            hub_module.repo_of(name)


def test_without_the_library(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "stylegan[hub]" in refused(capsys, "generate", "hf://user/model")


def test_dry_run_sends_nothing(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    run_folder, folder = tmp_path / "run", tmp_path / "folder"
    run_folder.mkdir()
    weights.save(run_folder / "model-0001234000.safetensors", model)
    own, line = checksum(model.generator), {"metric": "fid50k", "count": 50_000, "values": {"fid": 7.123456}}
    line |= {"extractor": "inception", "reals": "cats|dogs"}
    lines = [line | {"model_checksum": own}, line | {"model_checksum": "another", "values": {"fid": 99.0}}]
    (run_folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))

    assert run("push", run_folder, "user/cats", "--dry-run", folder, "--data", "user/cats-64", "--half") == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "samples.png",
    ]
    text = (folder / "README.md").read_text()
    front, body = text.split("---\n")[1:3]
    assert 'license: "cc-by-4.0"' in front and 'datasets: ["user/cats-64"]' in front
    for said in ("hf://user/cats", "1,234,000", "16 x 16 RGB", "user/cats-64", "CC-BY-4.0", "a test", "![Samples]"):
        assert said in body, said
    assert "| fid50k | fid 7.123 | 50,000 | cats\\|dogs | inception |" in body and "99" not in body.split("Scores")[1]
    with Image.open(folder / "samples.png") as picture:
        assert picture.size == (8 * 96, 2 * 96) and picture.mode == "RGB"
    assert (folder / "model.safetensors").stat().st_size < 0.3 * (
        run_folder / "model-0001234000.safetensors"
    ).stat().st_size

    assert "exists" in refused(capsys, "push", run_folder, "user/cats", "--dry-run", folder)
    assert "revision" in refused(capsys, "push", run_folder, "user/cats@v1", "--dry-run", tmp_path / "x")
    assert "hf://user/model" in refused(capsys, "push", run_folder, "cats", "--dry-run", tmp_path / "x")
    assert "no model" in refused(capsys, "push", tmp_path / "nothing", "user/cats", "--dry-run", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("licence", ["", "My Licence: ask me\nfirst"])
def test_cards_of_other_models(licence):
    traditional = {"use_styles": False, "const_input": False, "use_instance_norm": False, "use_pixel_norm": True}
    generator = tiny_generator(mapping_layers=0, label_count=3, w_dim=16, channels=1, **traditional)
    generator.synthesis.grown = Growth(8, 0.25)
    model = Model(generator, Provenance(licence=licence))
    text = share.card(model, "hf://user/x", [])
    assert "traditional" in text and "8 x 8 gray" in text and "75%" in text and "classes" in text and "psi 1;" in text
    front = text.split("---\n")[1]
    assert ('license_name: "my-licence-ask-me-first"' in front) if licence else ("license" not in front)
    scope = {}
    code = text.split("```python\n")[1].split("```")[0].replace('"hf://user/x"', "model")
    exec(code, {"model": generator}, scope)
    assert scope["images"].shape == (8, 1, 8, 8)
    assert share.samples(model).shape == (1, 2 * 96, 8 * 96)


def test_export_of_small_files(model, tmp_path, capsys):
    whole, small = tmp_path / "whole.safetensors", tmp_path / "small.safetensors"
    weights.save(whole, model)
    assert run("export", whole, small, "--half", "--only-ema", "--licence", "CC0-1.0") == 0
    found = weights.load_model(small)
    assert small.stat().st_size < 0.3 * whole.stat().st_size and found.discriminator is None
    assert found.provenance == Provenance("cats|dogs", "small", 1_234_000, "CC0-1.0", "a test")
    w = torch.randn(2, 6, 8)
    ours, half = (each.synthesis(w, noise="const") for each in (model.generator, found.generator))
    assert (ours - half).abs().max() < 0.02 * ours.abs().max()
    assert run("export", whole, tmp_path / "again.safetensors") == 0  # everything
    assert weights.load_model(tmp_path / "again.safetensors").discriminator is not None
    assert run("export", whole, tmp_path / "bundle.safetensors", "--without-raw") == 0
    found = weights.load_model(tmp_path / "bundle.safetensors")
    assert found.raw_generator is None and found.discriminator is not None

    for options, message in (
        (("x.pkl",), "pickles"),
        (("x.safetensors", "--part", "mapping"), "--part"),
        (("x.onnx", "--only-ema"), "EMA"),
        (("x.onnx", "--without-raw"), "--without-raw"),
        (("x.onnx", "--directions", "d.safetensors"), "--web"),
        (("x", "--web", "--half"), "--half"),
        (("nowhere/x.onnx",), "no folder"),
    ):
        file, *rest = options
        assert message in refused(capsys, "export", whole, tmp_path / file, *rest)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x")]
