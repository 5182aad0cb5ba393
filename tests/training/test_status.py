"""`stylegan status`: what a run's files say of it, on one screen."""

import json
import shutil

import pytest
from conftest import tiny_config

from stylegan import cli
from stylegan.errors import InputError
from stylegan.run_files import read_stats
from stylegan.training import run_folder
from stylegan.training.lock import RunState
from stylegan.training.status import status


def printed(capsys, *arguments) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(["status", *map(str, arguments)])
    return end.value.code or 0, capsys.readouterr().out


def test_a_finished_run(finished, capsys):
    _, run = finished
    now = status(run)
    assert now.finished and now.images_seen == now.total_images == 400 and now.passes == "pass 10 of 10"
    assert now.seconds_left == 0 and now.idle >= 0 and now.warnings == [] and now.last_warning is None
    assert len(now.models) == len(now.states) == 3 and len(now.grids) >= 8 and now.bytes > 0
    assert {"report.html", "stats.jsonl"} <= set(now.others)
    code, text = printed(capsys, run)
    assert "state      finished" in text
    assert code == 0 and "finished" in text and "pass 10 of 10" in text and now.models[-1] in text
    assert len(text.splitlines()) < 24


def test_a_run_on_its_way(finished, store, tmp_path, capsys):
    config = tiny_config(store)
    run_folder.begin(config, tmp_path)
    now = status(tmp_path)
    assert now.images_seen == 0 and now.seconds_left is None and now.idle is None and not now.finished
    code, text = printed(capsys, tmp_path)
    assert code == 3 and "never" in text and "state      stopped" in text

    lines = [json.loads(line) for line in (finished[1] / "stats.jsonl").read_text().splitlines()][:4]
    lines[3]["skipped_g"] = 2
    (tmp_path / "stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    scores = [{"metric": "fid50k", "values": {"fid": v}, "images_seen": 48 * i} for i, v in enumerate((9.0, 7.0, 8.0))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in scores))
    now = status(tmp_path)
    assert now.images_seen == lines[3]["images_seen"] and now.seconds_left > 0 and now.resolution == 16
    assert (now.scores[0].newest, now.scores[0].best, now.scores[0].images_seen) == (8.0, 7.0, 48)
    assert "steps of G are skipped" in now.warnings[0] and now.last_warning.sentence == now.warnings[0]
    text = printed(capsys, tmp_path)[1]
    assert "fid 8, best 7 at 0.048 kimg" in text and "steps of G" in text and " left" in text


def test_without_its_store_and_with_damaged_files(finished, tmp_path, capsys):
    shutil.copytree(finished[1], tmp_path / "run")
    options = json.loads((tmp_path / "run" / "run.json").read_text()) | {"data": str(tmp_path / "gone")}
    (tmp_path / "run" / "run.json").write_text(json.dumps(options))
    (tmp_path / "run" / "stats.jsonl").write_text('{"images_seen": 48, "cut sh')
    code, text = printed(capsys, tmp_path / "run")
    assert code == 0 and "pass" not in text.splitlines()[1] and "finished" in text
    whole = (finished[1] / "stats.jsonl").read_text()
    assert len(read_stats(finished[1])) == len(whole.splitlines()) > 1
    for damaged in (whole + '{"images_seen": 48, "cut sh', "[1]\n" + whole + '{"tick": 2}\n', "\xff\n" + whole):
        (tmp_path / "run" / "stats.jsonl").write_text(damaged, encoding="latin-1")
        assert read_stats(tmp_path / "run") == read_stats(finished[1])


def test_the_exit_code_says_what_is_to_be_done(finished, tmp_path, capsys, monkeypatch):
    for state, code in {"alive": 0, "finished": 0, "stopped": 3, "stalled": 4, "damaged": 5}.items():
        with monkeypatch.context() as patch:
            patch.setattr("stylegan.cli.train.run_state", lambda run, state=state: RunState(state, "a sentence", 0, 0))
            assert printed(capsys, finished[1])[0] == code
    shutil.copytree(finished[1], tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text("{")
    code, text = printed(capsys, tmp_path / "run")
    assert code == 5 and text.startswith("state      damaged: ")


def test_no_run(tmp_path, capsys):
    with pytest.raises(InputError, match="holds no run"):
        status(tmp_path)
    assert printed(capsys, tmp_path)[0] == 2
