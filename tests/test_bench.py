"""The speed measurements: that they measure what they say, not how fast it is."""

import json
from dataclasses import replace

import pytest
import torch
from test_cli import refused, run

from stylegan import bench, presets
from stylegan.networks import ops
from stylegan.networks.layers import FeatureMaps

CPU = torch.device("cpu")


def tiny():
    config = presets.PRESETS["config-f"](presets.Shape(16))
    maps = FeatureMaps(base=64, maximum=8)
    g = replace(config.generator, z_dim=8, w_dim=8, mapping_width=8, feature_maps=maps)
    return replace(config, generator=g, discriminator=replace(config.discriminator, feature_maps=maps), device="cpu")


@pytest.mark.parametrize("work", ["sample", "train"])
def test_a_row(work):
    row = bench.measure(tiny(), work, 16, 4, bench.Machine(gemm=0.5, product=0.25), seconds=0.0)
    assert row.gemms == pytest.approx(row.seconds / 4 / 0.5) and row.images_per_second == pytest.approx(4 / row.seconds)
    assert row.utilisation > 0 and row.memory_mb > 0
    assert len(bench.line(row, 1.5)) == len(bench.HEADER)


def test_a_compiled_row_is_compiled_and_counted_all_the_same(monkeypatch):
    ran = []

    def backend(graph, _):
        return lambda *inputs: ran.append(graph) or graph(*inputs)

    monkeypatch.setattr(bench, "compile_blocks", lambda *blocks: [block.compile(backend=backend) for block in blocks])
    counted = []
    for compiled in (False, True):
        machine = bench.Machine(gemm=0.5, product=0.25)
        row = bench.measure(replace(tiny(), compile=compiled), "sample", 16, 4, machine, seconds=0.0)
        counted.append(row.utilisation * row.seconds)
        assert bool(ran) == compiled
    assert counted[0] == pytest.approx(counted[1])


def test_multiplications_are_counted():
    with bench._Flops() as counter:
        torch.randn(3, 4) @ torch.randn(4, 5)
        torch.nn.functional.conv2d(torch.randn(2, 3, 8, 8), torch.randn(6, 3, 3, 3), padding=1)
    assert counter.total == 2 * 3 * 4 * 5 + 2 * 2 * 64 * 6 * 27


def test_reference_paths_are_taken_and_left():
    fast = ops.upsample_conv
    with bench.reference_paths():
        assert ops.upsample_conv is ops.upsample_conv_reference and ops.blur is ops.blur_reference
    assert ops.upsample_conv is fast


def test_time_of_a_whole_schedule():
    config = tiny()
    brief = replace(config.schedule, initial_resolution=8, stable_kimg=100, fade_kimg=100, total_kimg=400)
    config = replace(config, schedule=brief)
    rows = [bench.Measurement("train", r, 10, seconds, 0, 0, 0) for r, seconds in ((8, 1.0), (16, 4.0))]
    # 8 x 8 until 100 kimg, then 16 x 16: its batch and speed count from the beginning of the fade
    assert bench.schedule_seconds(config, rows) == pytest.approx(110 * 100 + 290 * 400)
    assert bench.schedule_seconds(config, rows[:1]) is None


def test_bench_on_the_command_line(capsys, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "demo", lambda shape: tiny())
    monkeypatch.setattr(bench, "machine", lambda device, precision: bench.Machine(0.5, 0.5))
    options = ("--preset", "demo", "--resolution", "16", "--seconds", "0", "--batch", "4", "--device", "cpu")
    assert run("bench", *options, "--reference") == 0
    printed = capsys.readouterr().out
    assert printed.count("sample") == printed.count("train") == 2 and "hours" in printed
    assert run("bench", *options, "--work", "sample", "--json") == 0
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [row["resolution"] for row in rows] == [8, 16] and rows[0]["gain"] is None
    assert run("bench", *options, "--work", "train", "--resolutions", "8", "--precision", "bf16", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["precision"] == "bf16" and not row["compiled"] and row["device"].startswith("cpu")
    assert "no preset" in refused(capsys, "bench", "--preset", "biggan")
    assert "powers of two" in refused(capsys, "bench", *options, "--resolutions", "32")
