"""benchmarks/quality.py: moments, tables, and a comparison from a store to a picture."""

import json
import signal
import sys

import pytest
import quality
from quality import Curve, Length

from stylegan import cli
from stylegan.data.prepare import prepare_portraits
from stylegan.data.store import open_store

TINY = (
    "--generator.feature-maps.base 64 --generator.feature-maps.maximum 8 "
    "--discriminator.feature-maps.base 64 --discriminator.feature-maps.maximum 8 "
    "--generator.z-dim 8 --generator.w-dim 8 --generator.mapping-width 8 "
    "--features.weight 0 --device cpu --precision float32 --threads 1"
)


def test_moments_are_powers_of_two_and_the_end():
    assert Length("seconds", 900).moments() == [60, 120, 240, 480, 900]
    assert Length("seconds", 480).moments() == [60, 120, 240, 480]
    assert Length("seconds", 30).moments() == [30]
    assert Length("images_seen", 12000).moments() == [4000, 8000, 12000]


def test_the_first_model_after_a_moment_is_measured(tmp_path):
    lines = [{"images_seen": 100 * n, "seconds": 25.0 * n} for n in range(1, 8)]
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"cut sho')
    for n in (1, 2, 3, 5, 6, 7):  # the model of 100 s is not there (yet)
        (tmp_path / f"model-{100 * n:010d}.safetensors").touch()
    found = [(at, line["images_seen"]) for at, line, _ in quality.models_at(tmp_path, Length("seconds", 500))]
    assert found == [(60, 300), (120, 500), (240, 700), (480, 700), (500, 700)]
    (tmp_path / "state-0000000100.pt").touch()
    quality._remove_others(tmp_path, Length("seconds", 110))
    assert sorted(int(path.stem[6:]) for path in tmp_path.glob("model-*")) == [300, 500, 600, 700]
    assert (tmp_path / "state-0000000100.pt").exists()  # it is among the two newest


def test_the_table_has_means_ranges_and_the_floor(tmp_path):
    def curve(name: str, seed: int, *distances: float) -> Curve:
        points = [
            {"moment": 60.0 * 2**i, "images_seen": 1000 * (i + 1), "kmd_x1000": d, "precision": 0.5, "recall": 0.25}
            for i, d in enumerate(distances)
        ]
        return Curve(name, seed, "", points)

    curves = [curve("slow", 0, 900, 700), curve("fast", 0, 500, 300), curve("fast", 1, 600, 200)]
    floor = {"kmd_x1000": 0.24, "precision": 0.9, "recall": 0.8, "faces": 0.95}
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in quality.table(curves, floor).splitlines()]
    assert rows[0] == ["configuration", "seeds", "1 min", "2 min", "images", "precision", "recall", "faces"]
    assert rows[2] == ["fast", "2", "550 (500 to 600)", "250 (200 to 300)", "2,000", "0.50", "0.25", ""]
    assert rows[3][:4] == ["slow", "1", "900", "700"]
    assert rows[4] == ["reals", "", "", "0.24", "", "0.90", "0.80", "0.95"]
    quality.write_results(tmp_path / "new" / "r.json", {"machine": "x"}, curves)
    assert quality.read_results(tmp_path / "new" / "r.json") == curves


def test_a_comparison(tmp_path, monkeypatch, capsys):
    """Two configurations for some seconds; repeated, nothing is trained or measured again."""
    pytest.importorskip("matplotlib")
    prepare_portraits(tmp_path / "store", count=48, hold_out=16, resolution=8, progress=False)
    results = tmp_path / "quality.json"
    command = ["quality.py", str(tmp_path / "store"), str(tmp_path / "out"), "--configurations", "--seeds", "0"]
    command += ["--minutes", "0.02", "--count", "16", "--results", str(results)]
    command += ["--try", f"one=small {TINY}", "--try", f"two=small {TINY} --loss.r1-gamma 1"]
    monkeypatch.setattr(quality, "TICK_KIMG", 0.064)
    monkeypatch.setattr(sys, "argv", command)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a shell, for the trainings too
    try:
        quality.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert open_store(tmp_path / "store").held_out_count == 16
    first = json.loads(results.read_text())
    assert [curve["configuration"] for curve in first["curves"]] == ["one", "two"]
    for curve in first["curves"]:
        (point,) = curve["points"]
        assert point["seconds"] >= 1.2 and point["images_seen"] > 0 and point["kmd_x1000"] > first["reals"]["kmd_x1000"]
        assert list((tmp_path / "out" / f"{curve['configuration']}-0").glob("samples-*.png"))
    assert results.with_suffix(".png").stat().st_size > 1000 and "| reals |" in capsys.readouterr().out

    monkeypatch.setattr(quality, "_command", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(quality, "images_of", lambda *_: pytest.fail("measured again"))
    quality.main()
    assert json.loads(results.read_text()) == first


def test_what_is_missing_is_said_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STYLEGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(quality, "train", lambda *_: pytest.fail("trained"))
    prepare_portraits(tmp_path / "plain", count=4, resolution=8, workers=1, progress=False)
    for arguments, said in (
        (["plain"], "prepare it with --hold-out"),
        (["nowhere"], "there is no store"),
        (["plain", "--faces"], "stylegan fetch faces"),
    ):
        store, *options = arguments
        monkeypatch.setattr(sys, "argv", ["quality.py", str(tmp_path / store), str(tmp_path / "out"), *options])
        with pytest.raises(SystemExit) as end:
            quality.main()
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_configurations_are_options_of_train(tmp_path, capsys):
    """Each is taken by `stylegan train`, which prints what it has read."""
    prepare_portraits(tmp_path / "store", count=4, resolution=16, workers=1, progress=False)
    for name, text in quality.CONFIGURATIONS.items():
        command = quality._command(quality.Entry(name, text, 5), tmp_path / "store", tmp_path / "run")
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([*command[3:], "--dry-run"])
        config = json.loads(capsys.readouterr().out)
        assert not end.value.code and command[1:3] == ["-m", "stylegan"]
        assert config["seed"] == 5 and config["keep"] == 0 and config["schedule"]["tick_kimg"] == {"4": 0.5}
        if name == "plain":
            assert config["schedule"]["initial_resolution"] == 16 and config["loss"]["r1_gamma"] == 0.5
    assert not (tmp_path / "run").exists()
