"""The speed measurements: that they measure what they say, not how fast it is."""

import json
from dataclasses import replace

import pytest
import torch
from test_cli import refused, run

from stylegan import bench, presets
from stylegan.networks import ops
from stylegan.networks.discriminator import Discriminator
from stylegan.networks.layers import Conv, FeatureMaps
from stylegan.training.state import new_state

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
    assert len(bench.line(row, 1.5)) == len(bench.line(row)) == len(bench.HEADER) < 100


def test_lazy_penalties_count_as_often_as_they_come():
    def flops(interval: int) -> float:
        config = replace(tiny(), loss=replace(tiny().loss, penalty_interval=interval))
        row = bench.measure(config, "train", 16, 4, bench.Machine(gemm=0.5, product=0.25), seconds=0.0)
        return row.utilisation * row.seconds

    every, fourth, hardly = flops(1), flops(4), flops(10**6)
    assert every > 1.2 * hardly and fourth == pytest.approx((every + 3 * hardly) / 4, rel=1e-4)


def test_a_batch_that_no_training_could_have(capsys):
    said = refused(capsys, "bench", "--preset", "small", "--resolution", "16", "--batch", "6", "--work", "train")
    assert "a batch of 6 does not divide into groups of 4" in said


def test_a_row_of_a_network_with_classes():
    config = tiny()
    classes = {name: replace(getattr(config, name), label_count=3) for name in ("generator", "discriminator")}
    for work in ("sample", "train"):
        row = bench.measure(replace(config, **classes), work, 16, 4, bench.Machine(0.5, 0.25), seconds=0.0)
        assert row.images_per_second > 0


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
    with bench._Operations() as counter:
        torch.randn(3, 4) @ torch.randn(4, 5)
        torch.nn.functional.conv2d(torch.randn(2, 3, 8, 8), torch.randn(6, 3, 3, 3), padding=1)
        torch.zeros(2, 3).t()
    assert counter.flops == 2 * 3 * 4 * 5 + 2 * 2 * 64 * 6 * 27


def test_reference_paths_are_taken_and_left():
    fast, gradients = ops.upsample_conv, Discriminator.scores_and_gradients
    with bench.reference_paths():
        assert ops.upsample_conv is ops.upsample_conv_reference and ops.blur is ops.blur_reference
        assert Discriminator.scores_and_gradients is Discriminator.scores_and_gradients_reference
        plain = new_state(tiny(), CPU)
        weights = [module.weight for network in (plain.g, plain.d) for module in network.modules() if is_conv(module)]
        assert weights and all(weight.is_contiguous() for weight in weights)
        x = torch.ones(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
        assert x.is_contiguous()
    assert ops.upsample_conv is fast and Discriminator.scores_and_gradients is gradients
    assert torch.channels_last != torch.contiguous_format


def is_conv(module) -> bool:
    return isinstance(module, Conv)


def test_a_plain_row_is_measured_in_another_process():
    assert bench.measure_plain(tiny(), "train", 8, 4, seconds=0.0) > 0


def row(resolution: int, seconds: float, *, batch: int = 10, utilisation: float = 0.1, starting: float = 0.1):
    return bench.Measurement("train", resolution, batch, seconds, 0, utilisation, 0, starting)


def test_times_of_a_whole_schedule():
    config = tiny()
    batches = {4: 10, 16: 5}
    brief = replace(
        config.schedule, initial_resolution=8, stable_kimg=100, fade_kimg=100, total_kimg=400, batch_size=batches
    )
    config = replace(config, schedule=brief, preset="brief")
    rows = [row(8, 1.0), row(16, 2.0, batch=5, starting=0.8)]
    times = bench.schedule_times(config, rows)
    # 8 x 8 until 100 kimg, then 16 x 16, whose fade, which was not measured, takes a little longer for each image
    assert times.first_picture == pytest.approx(100 * 100) and times.estimated == ()
    assert 100 * 400 <= times.faded_in - times.first_picture < 110 * 400
    assert times.total == pytest.approx(times.faded_in + 200 * 400)
    assert bench.schedule_times(config, rows[:1]).estimated == (16,)
    assert bench.schedule_times(config, [replace(rows[0], work="sample")]) is None

    text = bench.summary(config, times, rows)
    assert "400 kimg of brief take about 36." in text
    assert "16 x 16 come after 2.8 hours" in text and "schedule.batch_size" in text
    late = replace(config, schedule=replace(brief, total_kimg=50))
    assert "before 16 x 16" in bench.summary(late, bench.schedule_times(late, rows), rows)


def test_what_limits_a_row():
    assert row(8, 1.0, utilisation=0.5, starting=0.3).limit == "products"
    assert row(8, 1.0, utilisation=0.1, starting=1.4).limit == "small operations"
    assert row(8, 1.0, utilisation=0.3, starting=0.3).limit == "memory traffic"


@pytest.mark.parametrize(
    "seconds, text", [(40, "40 seconds"), (720, "12 minutes"), (18720, "5.2 hours"), (3.4 * 86400, "3.4 days")]
)
def test_durations(seconds, text):
    assert bench.duration(seconds) == text


def test_bench_on_the_command_line(capsys, monkeypatch):
    monkeypatch.setitem(presets.PRESETS, "demo", lambda shape: tiny())
    monkeypatch.setattr(bench, "machine", lambda device, precision: bench.Machine(0.5, 0.5))
    options = ("--preset", "demo", "--resolution", "16", "--seconds", "0", "--batch", "4", "--device", "cpu")
    assert run("bench", *options, "--reference") == 0
    printed = capsys.readouterr().out
    assert printed.count("\nsample") == printed.count("\ntrain") == 2 and "25000 kimg of demo take about" in printed
    assert all(len(line) <= 100 for line in printed.splitlines())
    assert run("bench", *options, "--work", "sample", "--json") == 0
    rows = [json.loads(row) for row in capsys.readouterr().out.splitlines()]
    assert [row["resolution"] for row in rows] == [8, 16] and rows[0]["gain"] is None
    thin = ("--generator.feature-maps.maximum", "4", "--work", "sample", "--resolutions", "8", "--json")
    assert run("bench", *options, *thin) == 0  # a training's option, whose value is no store
    assert "write the store first" in refused(capsys, "bench", *options, "--resolutions", "8", "--json", "a-store")
    assert run("bench", *options, "--work", "train", "--resolutions", "8", "--precision", "bf16", "--json") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["precision"] == "bf16" and not row["compiled"] and row["device"].startswith("cpu")
    assert "no preset" in refused(capsys, "bench", "--preset", "biggan")
    assert "powers of two" in refused(capsys, "bench", *options, "--resolutions", "32")
