"""The program as a user meets it: what it prints, and one sentence with exit code 2 for everything they can mend."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_generator, write_official, write_store
from PIL import Image
from safetensors.torch import load_file

from stylegan import cli, device, images, weights


def run(*arguments: str | Path) -> int:
    """Exit code of the program."""
    try:
        cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        return end.code or 0
    return 0


def refused(capsys, *arguments) -> str:
    """The one sentence with which the program refuses these arguments."""
    capsys.readouterr()
    assert run(*arguments) == 2
    output = capsys.readouterr()
    lines = output.err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("stylegan: "), output.err
    assert "Traceback" not in output.err
    return lines[0]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    weights.save(path, weights.Model(tiny_generator()))
    return path


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for i in range(12):
        Image.fromarray(np.random.RandomState(i).randint(0, 256, (20, 16, 3)).astype(np.uint8)).save(
            folder / f"{i}.png"
        )
    return folder


TINY = """
    --generator.feature-maps.maximum 4 --discriminator.feature-maps.maximum 4 --grid 2 2 --schedule.total-kimg 0.1
    --schedule.stable-kimg 0.02 --schedule.fade-kimg 0.02 --schedule.batch-size 4:8 --schedule.tick-kimg 4:0.03
""".split()  # noqa: SIM905


def test_from_photographs_to_samples(photographs, tmp_path, capsys):
    """The whole way: prepare, train, look, generate; and the same training again, which has nothing left to do."""
    store, folder, out = tmp_path / "store", tmp_path / "run", tmp_path / "out"
    assert run("prepare", photographs, store, "--resolution", "16") == 0
    assert "12 images" in capsys.readouterr().out
    assert run("train", store, folder, *TINY) == 0
    assert run("train", store, folder, *TINY) == 0
    assert run("train", store, folder) == 0  # with the options that it began with
    assert "ema_kimg 500.0, now 7.0" in refused(capsys, "train", store, folder, "--ema-kimg", "7")
    assert "preset small, now config-f" in refused(capsys, "train", store, folder, "--preset", "config-f")
    assert run("generate", folder, "--seeds", "0-3,9", "--out", out, "--psi", "1") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "grid.png", "seed0000.png", "seed0001.png", "seed0002.png", "seed0003.png", "seed0009.png",
    ]  # fmt: skip
    capsys.readouterr()
    model, state = (sorted(folder.glob(pattern))[-1] for pattern in ("model-*", "state-*"))
    for thing, kind in ((store, "store"), (folder, "run"), (model, "model"), (state, "training state")):
        assert run("info", thing) == 0
        assert kind in capsys.readouterr().out.splitlines()[0]


def test_official_files_are_models_everywhere(tmp_path, capsys):
    """Told, drawn as they are, imported, trained further; and refused where they are something else."""
    store, pickled, imported = write_store(tmp_path / "store", count=8), tmp_path / "x.pkl", tmp_path / "x.safetensors"
    write_official(pickled, truncation_psi=0.3, truncation_cutoff=2)
    assert run("import", pickled, imported, "--licence", "CC BY-NC 4.0", "--data", "faces") == 0
    for model in (pickled, imported):
        capsys.readouterr()
        assert run("info", model) == 0
        told = capsys.readouterr().out
        assert "read from x.pkl" in told and ("CC BY-NC 4.0" in told) == (model == imported)
        assert run("generate", model, "--seeds", "0,1", "--out", tmp_path / model.suffix) == 0
    assert run("generate", pickled, "--seeds", "0,1", "--psi", "0.3", "--cutoff", "2", "--out", tmp_path / "psi") == 0
    grids = [np.asarray(Image.open(tmp_path / folder / "grid.png")) for folder in (".pkl", ".safetensors", "psi")]
    assert np.array_equal(grids[0], grids[1]) and np.array_equal(grids[0], grids[2])
    short = ["--schedule.total-kimg", "0.02", "--schedule.batch-size", "4:8", "--grid", "2", "2"]
    assert run("train", store, tmp_path / "run", "--start-from", pickled, *short) == 0
    assert run("train", store, tmp_path / "run", "--start-from", pickled, *short) == 0
    assert run("train", store, tmp_path / "run", *short) == 0  # what is left out is as the run began
    assert "start_from" in refused(capsys, "train", store, tmp_path / "run", "--start-from", imported, *short)
    assert "ends with .safetensors" in refused(capsys, "import", pickled, tmp_path / "x.pt")
    assert "there is no folder" in refused(capsys, "import", pickled, tmp_path / "no" / "x.safetensors")
    assert "no model" in refused(capsys, "import", tmp_path / "y.pkl", imported)
    assert "attribute classifier" in refused(capsys, "import", pickled, tmp_path / "c.safetensors", "--classifiers")
    assert "is something else" in refused(capsys, "import", pickled, imported, "--classifiers")
    (tmp_path / "evil.pkl").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    assert "'os.system'" in refused(capsys, "generate", tmp_path / "evil.pkl", "--out", tmp_path / "evil")
    assert not (tmp_path / "evil").exists() and not Path("owned").exists()


def test_files_do_not_depend_on_the_batch(model, tmp_path):
    for batch in ("1", "4"):
        assert run("generate", model, "--seeds", "0-5", "--batch", batch, "--out", tmp_path / batch) == 0
    for path in (tmp_path / "1").iterdir():
        ours, theirs = (np.asarray(Image.open(tmp_path / batch / path.name)).astype(int) for batch in ("1", "4"))
        assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (7, 3), (10, 5), (16, 4), (31, 6), (32, 8), (42, 7)])
def test_sheets_have_full_rows_where_they_can(count, columns):
    assert images.columns_for(count) == columns
    assert images.contact_sheet(torch.zeros(count, 3, 96, 96, dtype=torch.uint8)).width == 96 * columns


def test_dry_run_prints_the_configuration(store, tmp_path, capsys):
    assert run("train", store, tmp_path / "run", "--dry-run", "--schedule.batch-size", "4:16,16:8") == 0
    config = json.loads(capsys.readouterr().out)
    assert config["schedule"]["batch_size"] == {"4": 16, "16": 8} and config["generator"]["resolution"] == 16
    assert not (tmp_path / "run").exists()


def test_official_batch_sizes(store, tmp_path, capsys):
    assert run("train", store, tmp_path / "run", "--preset", "config-f", "--gpus", "8", "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["schedule"]["batch_size"]["8"] == 256


def test_demo(tmp_path, capsys, monkeypatch):
    """Everything the demo leaves, with a training of a moment."""
    from dataclasses import replace

    from stylegan import demo, presets

    def moment(*shape):
        config = presets.demo(*shape)
        brief = replace(config.schedule, total_kimg=0.1, stable_kimg=0.01, fade_kimg=0.01, tick_kimg={4: 0.03})
        return replace(config, schedule=brief)

    monkeypatch.setitem(presets.PRESETS, "demo", moment)
    monkeypatch.setattr(demo, "LEAST", 0.1)
    monkeypatch.setattr(demo, "MOST", 0.1)
    for minutes in ("0", "nan"):
        assert "above 0" in refused(capsys, "demo", tmp_path / "demo", "--minutes", minutes)
    assert not (tmp_path / "demo").exists()
    assert run("demo", tmp_path / "demo", "--count", "40") == 0
    last = capsys.readouterr().out.splitlines()[-1]
    for name in ("faces.png", "reals.png", "progress.png", "samples.png", "style-mixing.png"):
        assert name in last
        with Image.open(tmp_path / "demo" / name) as picture:
            assert min(picture.size) > 90
    assert "Next: stylegan generate" in last
    assert "another number" in refused(capsys, "demo", tmp_path / "demo", "--count", "50")


def test_as_a_module():
    result = subprocess.run([sys.executable, "-m", "stylegan", "presets"], capture_output=True, text=True)
    assert result.returncode == 0 and "config-f" in result.stdout


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_help_page(command, capsys):
    assert run(command, "--help") == 0
    assert f"stylegan {command}" in capsys.readouterr().out


def test_the_short_help_of_train_has_options_of_the_long_one(capsys):
    def options(page: str) -> set[str]:
        assert run("train", page) == 0
        return set(re.findall(r"--[a-z.-]+[a-z]", capsys.readouterr().out))

    assert "--no-mirror" in options("--help") <= options("--help-all") | {"--help-all"}


def test_help_does_not_import_torch():
    code = "import sys; from stylegan import cli; cli.main(['--help']); assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and all(command in result.stdout for command in cli.COMMANDS)


def test_importing_the_package_does_no_work():
    code = "import sys, stylegan; dir(stylegan); assert not {'torch', 'numpy', 'PIL'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


# --- bad input


def test_unknown_command_and_options(capsys):
    assert "no command 'trian'; did you mean train" in refused(capsys, "trian")
    assert "use one of: look, prepare" in refused(capsys, "xyz")
    assert run("generate", "--sedes", "3") == 2
    assert "--seeds" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--schedule.initial-resolution", "6", "power of two"),
        ("--schedule.batch-size", "6", "4:32,64:16"),
        ("--schedule.total-kimg", "0", "total_kimg"),
        ("--mixing-probability", "2", "mixing_probability"),
        ("--loss.kind", "hinge", "logistic"),
        ("--loss.r1-gamma", "-1", "r1_gamma"),
        ("--loss.r1-gamma", "nan", "r1_gamma"),
        ("--loss.penalty-interval", "0", "penalty_interval"),
        ("--schedule.total-kimg", "inf", "total_kimg"),
        ("--schedule.batch-size", "4:8,4:16", "4:32,64:16"),
        ("--schedule.batch-size", "4:8,5:16", "no power"),
        ("--seed", "-1", "seed"),
        ("--adam-beta1", "3", "adam_beta1"),
        ("--w-avg-beta", "5", "w_avg_beta"),
        ("--ema-rampup", "-1", "ema_rampup"),
        ("--noise-lr-multiplier", "-1", "noise_lr_multiplier"),
        ("--micro-batch", "3", "group_size"),
        ("--generator.mapping-lr-multiplier", "0", "mapping_lr_multiplier"),
        ("--generator.feature-maps.base", "0", "feature_maps"),
        ("--discriminator.stddev-features", "7", "stddev_features"),
    ],
)
def test_bad_option_values(store, tmp_path, capsys, option, value, message):
    assert run("train", store, tmp_path / "run", f"{option}={value}") == 2
    output = capsys.readouterr().err
    assert message in output and "Traceback" not in output and not (tmp_path / "run").exists()


def test_prepare_refuses(photographs, store, tmp_path, capsys):
    assert "nowhere" in refused(capsys, "prepare", tmp_path / "nowhere", tmp_path / "s")
    (tmp_path / "empty").mkdir()
    refused(capsys, "prepare", tmp_path / "empty", tmp_path / "s")
    assert "power of two" in refused(capsys, "prepare", photographs, tmp_path / "s", "--resolution", "100")
    assert str(store) in refused(capsys, "prepare", photographs, store, "--resolution", "16")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "a.png").write_bytes(b"")
    refused(capsys, "prepare", tmp_path / "bad", tmp_path / "s")
    (tmp_path / "not.zip").write_bytes(b"PK nothing")
    refused(capsys, "prepare", tmp_path / "not.zip", tmp_path / "s")
    assert "--count" in refused(capsys, "prepare", "portraits", tmp_path / "s", "--channels", "1")
    assert "--limit" in refused(capsys, "prepare", photographs, tmp_path / "s", "--count", "3")
    assert "seed" in refused(capsys, "prepare", "portraits", tmp_path / "s", "--seed=-1")
    assert not (tmp_path / "s").exists()
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_train_refuses(store, tmp_path, capsys):
    assert "STORE RUN" in refused(capsys, "train")
    assert "no store" in refused(capsys, "train", tmp_path / "nowhere", tmp_path / "run")
    assert "not a store" in refused(capsys, "train", tmp_path, tmp_path / "run")
    assert "no preset" in refused(capsys, "train", store, tmp_path / "run", "--preset", "biggan")
    assert "64 x 64" in refused(capsys, "train", store, tmp_path / "run", "--resolution", "64")
    assert "labels" in refused(capsys, "train", store, tmp_path / "run", "--labels")
    for name in ("abacus", "cpu:x"):
        assert "device" in refused(capsys, "train", store, tmp_path / "run", "--device", name)
    assert "preset of the paper" in refused(capsys, "train", store, tmp_path / "run", "--gpus", "2")
    refused(capsys, "train", store, tmp_path / "run", "--resolution", "0")
    assert "batch of 6" in refused(capsys, "train", store, tmp_path / "run", "--schedule.batch-size", "4:6")
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, "train", store, tmp_path / "file")


def test_a_store_of_another_version_is_refused(tmp_path, capsys):
    data = write_store(tmp_path / "store")
    description = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps(description | {"format_version": 99}))
    assert "99" in refused(capsys, "train", data, tmp_path / "run")
    assert "99" in refused(capsys, "info", data)


def test_a_run_folder_that_is_something_else(store, tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"what": 1}')
    assert "what" in refused(capsys, "train", store, tmp_path, *TINY)
    (tmp_path / "run.json").write_text("{")
    refused(capsys, "train", store, tmp_path, *TINY)


def test_generate_refuses(model, tmp_path, capsys):
    for seeds in ("", "a", "3-", "-1", "5-2", "1,,2", "²", str(2**32), "0-999999999", "0-99999999999999"):
        assert "seeds" in refused(capsys, "generate", model, f"--seeds={seeds}", "--out", tmp_path / "out")
    assert "no classes" in refused(capsys, "generate", model, "--class", "1", "--out", tmp_path / "out")
    assert "no model" in refused(capsys, "generate", tmp_path / "nowhere.safetensors", "--out", tmp_path / "out")
    assert "batch" in refused(capsys, "generate", model, "--batch", "0", "--out", tmp_path / "out")
    assert "psi" in refused(capsys, "generate", model, "--psi", "nan", "--out", tmp_path / "out")
    assert "cutoff" in refused(capsys, "generate", model, "--cutoff", "-5", "--out", tmp_path / "out")
    (tmp_path / "text.safetensors").write_text("hello, I am no model")
    assert "not a StyleGAN model" in refused(
        capsys, "generate", tmp_path / "text.safetensors", "--out", tmp_path / "out"
    )
    (tmp_path / "text.pkl").write_text("hello, I am no model")
    assert "text.pkl" in refused(capsys, "generate", tmp_path / "text.pkl", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    refused(capsys, "generate", model, "--out", tmp_path / "file")


@pytest.mark.parametrize(("gain", "like"), [(0.5, "float32"), (4.0, "bf16")])
def test_generate_in_other_precisions(model, tmp_path, monkeypatch, gain, like):
    monkeypatch.setattr(device, "bfloat16_gain", lambda: gain)
    pictures = {}
    for precision in ("float32", "auto", "bf16"):
        assert (
            run("generate", model, "--seeds", "3", "--out", tmp_path, "--precision", precision, "--device", "cpu") == 0
        )
        pictures[precision] = np.asarray(Image.open(tmp_path / "seed0003.png")).astype(int)
    assert (pictures["auto"] == pictures[like]).all()
    assert 0 < abs(pictures["bf16"] - pictures["float32"]).max() < 16


def test_generate_with_classes(tmp_path):
    weights.save(tmp_path / "m.safetensors", weights.Model(tiny_generator(label_count=3)))

    def drawn(*options):
        assert run("generate", tmp_path / "m.safetensors", "--seeds", "0-3", "--out", tmp_path / "out", *options) == 0
        return [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out").glob("seed*.png"))]

    in_turn, first, second = drawn(), drawn("--class", "0"), drawn("--class", "1")
    assert [np.array_equal(a, b) for a, b in zip(in_turn, first, strict=True)] == [True, False, False, True]
    assert [np.array_equal(a, b) for a, b in zip(in_turn, second, strict=True)] == [False, True, False, False]


def test_generate_from_a_traditional_generator(tmp_path, capsys):
    traditional = {"use_styles": False, "const_input": False, "use_instance_norm": False, "use_pixel_norm": True}
    model = tmp_path / "m.safetensors"
    weights.save(model, weights.Model(tiny_generator(**traditional, mapping_layers=0)))
    out = ("--seeds", "0-3", "--out", tmp_path / "out")
    assert "no W" in refused(capsys, "generate", model, "--psi", "0.7", *out)
    assert "latents" in refused(capsys, "generate", model, "--mix", "2", *out)
    assert not (tmp_path / "out").exists()
    assert run("generate", model, *out) == 0  # without truncation then
    assert len(list((tmp_path / "out").glob("seed*.png"))) == 4


def test_generate_with_crossed_latents_and_padding(tmp_path, capsys):
    model, out = tmp_path / "m.safetensors", ("--seeds", "0-3", "--out", tmp_path / "out")
    weights.save(model, weights.Model(tiny_generator(aspect=(4, 3))))
    assert "latents" in refused(capsys, "generate", model, "--mix", "7", *out)
    assert run("generate", model, "--mix", "3", *out) == 0
    with Image.open(tmp_path / "out" / "seed0000.png") as image:
        assert image.size == (16, 12)


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*[0-9].png"))]


def test_latents_out_and_in(model, tmp_path, capsys):
    """What was drawn from seeds is drawn again from the file, z and w alike."""
    for ending in ("npy", "safetensors"):
        saved, again = tmp_path / f"w.{ending}", tmp_path / f"again-{ending}"
        options = ("--noise", "const", "--out")
        assert run("generate", model, "--seeds", "3-5", "--save-latents", saved, *options, tmp_path / ending) == 0
        assert run("generate", model, "--latents", saved, *options, again) == 0
        assert sorted(path.name for path in again.iterdir()) == ["0000.png", "0001.png", "0002.png", "grid.png"]
        for first, second in zip(pictures(tmp_path / ending), pictures(again), strict=True):
            assert np.abs(first - second).max() <= 1
    z = load_file(tmp_path / "w.safetensors")["z"]
    assert np.array_equal(z[1].numpy(), np.random.RandomState(4).randn(8).astype(np.float32))
    np.save(tmp_path / "x.z.npy", z.numpy())
    assert run("generate", model, "--latents", tmp_path / "x.z.npy", *options, tmp_path / "z") == 0
    assert np.abs(pictures(tmp_path / "z")[2] - pictures(tmp_path / "npy")[2]).max() <= 1

    w = ("generate", model, "--latents", tmp_path / "w.npy", "--out", tmp_path / "no")
    assert "not both" in refused(capsys, *w, "--seeds", "3")
    assert "for seeds" in refused(capsys, *w, "--mix", "2")
    assert "of a class already" in refused(capsys, *w, "--class", "1")
    assert "no file" in refused(capsys, *w[:3], tmp_path / "nowhere.npy", *w[4:])
    assert "ends with .npy" in refused(capsys, *w, "--save-latents", tmp_path / "w.txt")
    assert not (tmp_path / "no").exists()


def test_noise_from_a_seed(model, tmp_path, capsys):
    def drawn(*options):
        assert run("generate", model, "--seeds", "3,4", "--out", tmp_path / "out", *options) == 0
        return np.stack(pictures(tmp_path / "out"))

    own, third, again = drawn(), drawn("--noise-seed", "3"), drawn("--noise", "random", "--noise-seed", "3")
    assert np.array_equal(third, again)
    assert np.abs(own[0] - third[0]).max() <= 1 and np.abs(own[1] - third[1]).max() > 5
    assert (
        np.array_equal(drawn("--noise", "none"), drawn("--noise", "none")) and (drawn("--noise", "none") != own).any()
    )
    for options in (("--noise", "const", "--noise-seed", "1"), ("--noise-seed=-1",)):
        assert "noise_seed" in refused(capsys, "generate", model, *options)


def test_figure(model, store, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("figure", "style-mixing", model, "--seeds", "1,2", "--destinations", "3-6") == 0
    assert run("figure", "truncation", model, "--psis", "1", "0", "--out", "t.pdf") == 0
    assert run("generate", model, "--seeds", "3", "--save-latents", "w.npy") == 0
    assert run("figure", "noise-detail", model, "--latents", "w.npy", "--count", "3", "--out", "n.png") == 0
    assert capsys.readouterr().out.split()[:2] == ["style-mixing.png", "t.pdf"]
    assert {path.name for path in tmp_path.iterdir()} == {"style-mixing.png", "t.pdf", "n.png", "w.npy", "out"}
    assert "no figure" in refused(capsys, "figure", "nine")
    assert "takes no --psi" in refused(capsys, "figure", "truncation", model, "--psi", "1")
    assert "takes no --seeds" in refused(capsys, "figure", "reals", store, "--seeds", "1")
    assert "needs --data and --attributes" in refused(capsys, "figure", "entanglement", model)
    assert "of one store" in refused(capsys, "figure", "reals")
    assert "of one model; 2" in refused(capsys, "figure", "truncation", model, model)
    assert "one or more runs" in refused(capsys, "figure", "training")
    assert "measured" in refused(capsys, "figure", "training", tmp_path)
    assert "not both" in refused(capsys, "figure", "truncation", model, "--seeds", "1", "--latents", "w.npy")
    assert "psi" in refused(capsys, "figure", "uncurated", model, "--psi", "nan")
    assert ".png" in refused(capsys, "figure", "truncation", model, "--out", "t.jpg")


def test_video(model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = ("--seconds", "0.2", "--fps", "20")
    assert run("generate", model, "--seeds", "1-4", "--save-latents", "w.safetensors") == 0
    for kind, options in {
        "interpolation": ("--grid", "2", "1", "--seeds", "1-4", "--path", "spherical"),
        "style-mixing": ("--grid", "2", "2", "--styles", "fine", "--latents", "w.safetensors"),
        "noise": ("--seeds", "1,2"),
        "truncation": ("--noise", "random", "--noise-seed", "3"),
    }.items():
        capsys.readouterr()
        assert run("video", kind, model, f"{kind}.gif", *short, *options) == 0
        assert capsys.readouterr().out.startswith("4 frames, 0.2 s")
        with Image.open(f"{kind}.gif") as picture:
            assert picture.n_frames == 4
    assert run("video", "interpolation", model, "v.mp4", "--seeds", "1,2", "--fps", "5") == 0
    assert "20 frames, 4.0 s" in capsys.readouterr().out  # two seconds for each

    refuse = [capsys, "video", "interpolation", model, "no.mp4"]
    assert "cannot be shared out among 4 images" in refused(*refuse, "--grid", "2", "2", "--seeds", "0-5")
    assert "two keys" in refused(*refuse, "--seeds", "1")
    assert "not on a sphere" in refused(*refuse, "--latents", "w.safetensors", "--path", "spherical")
    assert "takes no --styles" in refused(*refuse, "--styles", "fine")
    assert "noise_seed" in refused(*refuse, "--noise-seed=-1")
    assert "fps is 0" in refused(*refuse, "--fps", "0")
    assert "seconds is -1" in refused(*refuse, "--seconds=-1")
    assert "grid is 0" in refused(*refuse, "--grid", "0", "1")
    assert ".gif" in refused(*refuse[:-1], "no.avi")
    assert "give 2" in refused(capsys, "video", "noise", model, "no.gif", "--grid", "2", "1", "--seeds", "1-3")
    assert "takes no --psi" in refused(capsys, "video", "truncation", model, "no.gif", "--psi", "0.5")
    assert not list(tmp_path.glob("*no.*"))


def test_info_refuses(tmp_path, capsys):
    refused(capsys, "info", tmp_path / "nowhere")
    refused(capsys, "info", tmp_path)
    (tmp_path / "state.pt").write_bytes(b"none")
    assert "state.pt" in refused(capsys, "info", tmp_path / "state.pt")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which always says that the disk is full")
def test_full_disk(model, store, tmp_path, capsys, monkeypatch):
    """Writing fails as on a full disk: one sentence, and no file that looks whole."""
    from stylegan import images
    from stylegan.training import state_file

    true_open = Path.open

    def full(self, mode="r", *args, **kwargs):
        return true_open(
            Path("/dev/full") if "w" in mode and self.name.endswith(".tmp") else self, mode, *args, **kwargs
        )

    monkeypatch.setattr(images.Path, "open", full)
    said = refused(capsys, "generate", model, "--out", tmp_path / "out")
    assert "No space left" in said and "seed0000.png" in said
    assert not list((tmp_path / "out").glob("*.png"))
    with pytest.raises(OSError, match=r"space|written"):
        state_file.save(tmp_path / "state-1.pt", {"g": {}})
    assert "No space left" in refused(capsys, "train", store, tmp_path / "run", *TINY)
    monkeypatch.undo()
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".pt", ".safetensors", ".tmp")]


def test_folder_without_permission(model, tmp_path, capsys):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    refused(capsys, "generate", model, "--out", tmp_path / "out")


def test_when_memory_runs_out(store, tmp_path, capsys, monkeypatch):
    """Both ways in which torch says it; a CPU can be asked for too much."""
    import torch

    def too_much(arguments):
        torch.empty(2**60)

    monkeypatch.setattr(cli, "command", lambda name: too_much)
    assert "--micro-batch" in refused(capsys, "train")

    def out_of_memory(arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    monkeypatch.setattr(cli, "command", lambda name: out_of_memory)
    assert "--batch" in refused(capsys, "generate")


def test_freed_memory_is_kept():
    """A freed block comes back at once, instead of fresh pages from the system."""
    code = """
import resource, sys, torch
from stylegan.allocator import keep_freed_memory
kept = keep_freed_memory()
for _ in range(30):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(kept, faults)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, faults = done.stdout.split()
    if kept == "False":
        pytest.skip("this is no glibc")
    assert int(faults) < 20_000  # of 10 x 16,384 pages


def test_programming_errors_keep_their_traceback(monkeypatch):
    def broken(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "command", lambda name: broken)
    with pytest.raises(ZeroDivisionError):
        cli.main(["info"])


# --- what is written never replaces what is read, or something else


def test_outputs_are_never_inputs(model, tmp_path, capsys):
    directions, latents = tmp_path / "d.safetensors", tmp_path / "out" / "latents.safetensors"
    assert run("directions", "find", model, directions, "--method", "sefa", "--components", "2") == 0
    assert run("edit", model, directions, "sefa0=1", "--seeds", "0,1", "--out", tmp_path / "out") == 0
    before = latents.read_bytes()
    edited = ("edit", model, directions, "sefa0=1", "--latents", latents)
    assert "choose another folder" in refused(capsys, *edited, "--out", tmp_path / "out")
    assert "choose another folder" in refused(
        capsys, "generate", model, "--latents", latents, "--out", tmp_path / "out"
    )
    again = ("generate", model, "--latents", latents, "--save-latents", latents, "--out", tmp_path / "other")
    assert "what is read" in refused(capsys, *again)
    assert latents.read_bytes() == before and not (tmp_path / "other").exists()
    assert run(*edited, "--out", tmp_path / "other") == 0

    assert "what is read" in refused(capsys, "export", model, model)
    assert run("project", model, tmp_path / "out" / "edited0000.png", "--steps", "1", "--candidates", "2",
               "--distance", "none", "--out", tmp_path / "projected") == 0  # fmt: skip
    words = shlex.split(capsys.readouterr().out.split("Next: ")[1])  # can be pasted, and does not undo its own work
    assert words[:3] == ["stylegan", "edit", str(model)] and "--out" not in words
    found = (tmp_path / "projected" / "latents.safetensors").read_bytes()
    paste = [{"DIRECTIONS": str(directions), "NAME=STRENGTH": "sefa0=1"}.get(word, word) for word in words[1:]]
    with contextlib.chdir(tmp_path):
        assert run(*paste) == 0
    assert (tmp_path / "projected" / "latents.safetensors").read_bytes() == found


def test_only_what_is_ours_is_replaced(model, tmp_path, capsys):
    photograph, notes = tmp_path / "photograph.png", tmp_path / "other.safetensors"
    Image.new("RGB", (8, 8)).save(photograph)
    directions = tmp_path / "d.safetensors"
    assert run("directions", "find", model, directions, "--method", "sefa", "--components", "2") == 0
    assert run("directions", "find", model, directions, "--method", "sefa", "--components", "3") == 0  # once more
    notes.write_bytes(model.read_bytes())
    kept = {path: path.read_bytes() for path in (photograph, notes, directions)}
    for command in (
        ("figure", "uncurated", model, "--out", photograph),
        ("directions", "show", model, directions, "--out", photograph),
        ("directions", "find", model, notes, "--method", "sefa"),
        ("export", model, directions),
        ("generate", model, "--save-latents", notes, "--out", tmp_path / "out"),
    ):
        assert "is something else" in refused(capsys, *command)
    assert all(path.read_bytes() == content for path, content in kept.items()) and not (tmp_path / "out").exists()
    assert run("figure", "uncurated", model, "--out", tmp_path / "u.png") == 0
    assert run("figure", "uncurated", model, "--out", tmp_path / "u.png") == 0  # our own sheet
    assert "is a file" in refused(capsys, "generate", model, "--out", photograph)
    assert "make it first" in refused(capsys, "figure", "uncurated", model, "--out", tmp_path / "no" / "u.png")


def test_latents_remember_their_noise(model, tmp_path):
    def drawn(name: str, *options) -> np.ndarray:
        assert run("generate", model, "--out", tmp_path / name, *options) == 0
        return np.stack(pictures(tmp_path / name))

    file = tmp_path / "w.safetensors"
    for noise in ("const", "none"):
        before = drawn(f"{noise}-before", "--seeds", "3,4", "--noise", noise, "--save-latents", file)
        assert np.array_equal(drawn(f"{noise}-after", "--latents", file), before)
        assert not np.array_equal(drawn(f"{noise}-new", "--latents", file, "--noise", "random"), before)


def test_what_would_be_ignored_is_refused(model, tmp_path, capsys):
    directions, labels = tmp_path / "d.safetensors", tmp_path / "l.csv"
    find = ("directions", "find", model, directions)
    assert "for labels" in refused(capsys, *find, "--labels", labels, "--method", "sefa")
    assert "for sefa" in refused(capsys, *find, "--layers", "0-3", "--method", "pca")
    assert "for pca and sefa" in refused(capsys, *find, "--components", "3", "--method", "svm")
    assert "ends with .safetensors" in refused(capsys, *find[:3], tmp_path / "d.npz", "--method", "sefa")
    assert run(*find, "--method", "sefa", "--components", "1") == 0
    assert "name what to change" in refused(capsys, "edit", model, directions, "--out", tmp_path / "out")
    assert "each direction once" in refused(capsys, "edit", model, directions, "sefa0=1", "sefa0=2")
    assert "ends with .png" in refused(capsys, "directions", "show", model, directions, "--out", tmp_path / "x.jpg")
    Image.new("RGB", (8, 8)).save(tmp_path / "photograph.png")
    assert "choose another folder" in refused(capsys, "project", model, tmp_path / "photograph.png", "--out", tmp_path)
    video = ("video", "style-mixing", model, tmp_path / "v.mp4")
    assert "goes through W" in refused(capsys, *video, "--path", "spherical")
    assert "leave out one" in refused(capsys, *video, "--grid", "4", "2", "--destinations", "1-3")
    assert "count is 0" in refused(capsys, "figure", "noise-detail", model, "--count", "0")


def test_old_names_of_options(model, tmp_path):
    assert run("export", model, tmp_path / "a.safetensors", "--licence", "MIT") == 0
    assert run("export", model, tmp_path / "b.safetensors", "--license=MIT") == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_paths_in_printed_commands_are_quoted(photographs, tmp_path, capsys):
    store = tmp_path / "my store"
    assert run("prepare", photographs, store, "--resolution", "16", "--allow-upscale") == 0
    words = shlex.split(capsys.readouterr().out.split("Next: ")[1])
    assert words[:4] == ["stylegan", "train", str(store), "RUN"]
