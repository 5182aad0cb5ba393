"""report.html: what is in it, that it costs little and changes nothing."""

import json
import re
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import same, tensors_of, tiny_config, write_store
from PIL import Image

from stylegan.data.store import open_store
from stylegan.errors import InputWarning
from stylegan.training import outputs, report
from stylegan.training.loop import train
from stylegan.training.report import Reporter


def data_of(path) -> dict:
    text = path.read_text("utf-8")
    assert not re.search(r"""(src|href)=["']?http|@import|url\(http""", text)  # by itself, whole
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_a_run_has_a_report(finished):
    _, run = finished
    data = data_of(run / "report.html")
    assert data["facts"]["seen"] == 400 and data["facts"]["ended"] and data["facts"]["passes"] == "pass 10 of 10"
    grids = [path.name for path in sorted(run.glob("fakes-*.png"))]
    assert [name for name, _ in data["grids"]] == ["reals.png", *grids] and grids[0] == "fakes-0000000000.png"
    assert all(url.startswith("data:image/jpeg;base64,") for _, url in data["grids"])
    titles = {chart["title"] for chart in data["charts"]}
    assert {"Losses", "Scores by D", "Gradient norms", "Images a second", "Variety of the samples"} <= titles
    assert json.loads(data["config"])["grid"] == [3, 2]


def test_without_a_report_the_same_is_learned(finished, store, tmp_path):
    outcome = train(replace(tiny_config(store), report=False), tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "report.html").exists()
    assert same(tensors_of(outcome), tensors_of(finished[0]))


def test_a_folder_in_its_place_costs_no_training(store, tmp_path):
    (tmp_path / "run" / "report.html").mkdir(parents=True)
    config = tiny_config(store)
    config = replace(config, schedule=replace(config.schedule, total_kimg=0.1))
    with pytest.warns(InputWarning, match=r"report\.html cannot be written"):
        assert train(config, tmp_path / "run", progress=False).images_seen >= 100


def reporter(store, folder, said=None) -> Reporter:
    return Reporter(tiny_config(store), open_store(store), folder, (said if said is not None else []).append)


def records(count: int, **changes) -> list[dict]:
    return [{"images_seen": 16 * (i + 1), "resolution": 16, "fade": 0.0, "loss_g": 1.0} | changes for i in range(count)]


def test_a_page_is_renewed_rarely_and_at_the_end(store, tmp_path, monkeypatch):
    keeper, (first, second, third) = reporter(store, tmp_path), records(3)
    keeper.renew()
    keeper.renew(first)
    assert data_of(tmp_path / "report.html")["facts"]["seen"] == 0
    keeper.renew(second, last=True)
    assert data_of(tmp_path / "report.html")["facts"]["seen"] == 32
    monkeypatch.setattr(report, "_as_jpeg", lambda path: pytest.fail("made already"))
    ahead = time.monotonic() + report.INTERVAL + 1
    monkeypatch.setattr(report.time, "monotonic", lambda: ahead)
    keeper.renew(third)
    assert data_of(tmp_path / "report.html")["facts"]["seen"] == 48


def test_pages_are_renewed_less_often_where_they_take_long(store, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(report.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Reporter, "_write", lambda *args, **options: now.__setitem__(0, now[0] + 2.0))
    keeper = reporter(store, tmp_path)
    for record in records(1000):
        now[0] += 10
        before = now[0]
        keeper.renew(record)
        written = now[0] > before
        if written and record["images_seen"] > 16:
            break
    assert 200 <= now[0] < 250  # a hundredth of the time


def test_long_runs_stay_small(store, tmp_path):
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records(900)))
    noise = np.random.RandomState(0).randint(0, 256, (60, 60, 4), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "fakes-0000000000.png")
    for i in range(1, 120):
        (tmp_path / f"fakes-{400 * i:010d}.png").hardlink_to(tmp_path / "fakes-0000000000.png")
    reporter(store, tmp_path).renew(last=True)
    data = data_of(tmp_path / "report.html")
    names = [name for name, _ in data["grids"]]
    assert len(names) <= report.GRIDS and (names[0], names[-1]) == ("fakes-0000000000.png", "fakes-0000047600.png")
    (losses,) = (chart["lines"][0][1] for chart in data["charts"] if chart["title"] == "Losses")
    assert len(losses) <= report.POINTS + 1 and losses[-1][0] == 14_400


def test_the_grids_that_are_kept_stay_as_a_run_goes_on():
    shorter = [f"fakes-{i:010d}.png" for i in range(60)]
    longer = [f"fakes-{i:010d}.png" for i in range(90)]
    assert set(report._spaced(shorter)[:-1]) & set(report._spaced(longer)) >= set(report._spaced(shorter)[:-1:2])


def test_advice_is_said_once_and_stands_in_the_page(store, tmp_path):
    said: list[str] = []
    keeper = reporter(store, tmp_path, said)
    for i, record in enumerate(records(6)):
        keeper.renew(record | {"skipped_d": i}, last=i == 5)
    assert len(said) == 1 and said[0].startswith("advice: steps of D are skipped")
    ((seen, sentence, holds),) = data_of(tmp_path / "report.html")["advice"]
    assert seen == 32 and holds and said[0].endswith(sentence)


def test_the_nearest_pairs_are_shown_where_they_were_measured(store, tmp_path):
    reporter(store, tmp_path).renew(last=True)
    assert data_of(tmp_path / "report.html")["pairs"] == ""
    Image.new("RGB", (40, 20)).save(tmp_path / "memorization.png")
    reporter(store, tmp_path).renew(last=True)
    assert data_of(tmp_path / "report.html")["pairs"].startswith("data:image/jpeg;base64,")


def test_no_name_ends_the_script(store, tmp_path):
    odd = write_store(tmp_path / "<!--<script>", count=8)
    keeper = Reporter(tiny_config(odd), open_store(odd), tmp_path, print)
    keeper.renew(last=True)
    assert data_of(tmp_path / "report.html")["facts"]["title"] == "<!--<script>"


def test_variety():
    reals = torch.randint(0, 256, (64, 3, 16, 16), dtype=torch.uint8)
    assert outputs.variety(reals.float() / 127.5 - 1, reals) == pytest.approx(1, abs=0.05)
    assert outputs.variety(torch.zeros(64, 3, 16, 16), reals) == 0
    assert outputs.variety(torch.randn(4, 3, 8, 8), torch.zeros(4, 3, 16, 16, dtype=torch.uint8)) > 0
