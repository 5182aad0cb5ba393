"""Threads: the variables that are set before torch loads, and what other programs take of the processor."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stylegan import threads
from stylegan.system import system
from stylegan.threads import (
    Clocks,
    Crowd,
    busy_elsewhere,
    cpu_quota,
    crowded,
    leave_busy_cores,
    limit_spinning,
    notice,
    read_clocks,
)
from stylegan.training.monitor import Monitor

NAMES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME", "KMP_LIBRARY")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# --- before torch loads


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(threads, "_own_cores", lambda: set(range(8)))
    monkeypatch.setattr(threads, "cpu_quota", lambda: None)


def test_waiting_is_set_for_each_openmp(without_torch):
    environment = {}
    assert limit_spinning(environment)
    assert environment == {"KMP_BLOCKTIME": "1"}


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"])
def test_the_users_way_of_waiting_stays(without_torch, name):
    environment = {name: "theirs"}
    limit_spinning(environment)
    assert environment == {name: "theirs"}


def test_a_containers_share_of_the_cores_limits_the_threads(without_torch, monkeypatch):
    for quota, expected in ((None, None), (8, None), (3, "3")):
        monkeypatch.setattr(threads, "cpu_quota", lambda quota=quota: quota)
        environment = {}
        limit_spinning(environment)
        assert environment.get("OMP_NUM_THREADS") == expected
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        environment = {name: "6"}
        limit_spinning(environment)
        assert environment.keys() & {"OMP_NUM_THREADS", "MKL_NUM_THREADS"} == {name} and environment[name] == "6"


def test_nothing_is_set_once_torch_is_loaded():
    environment = {}
    assert not limit_spinning(environment) and not environment


def test_the_program_sets_it_in_time():
    """The command runs with it, and torch has not been loaded before."""
    code = """
import json, os, sys
from stylegan import cli
cli.command = lambda name: lambda _: print(json.dumps([os.environ.get("KMP_BLOCKTIME"), "torch" in sys.modules]))
cli.main(["presets"])
"""
    bare = {name: value for name, value in os.environ.items() if name not in NAMES}
    for given, expected in (({}, "1"), ({"OMP_WAIT_POLICY": "active"}, None)):
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=bare | given, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout) == [expected, False]


def test_quota_of_control_groups(tmp_path):
    assert cpu_quota(tmp_path) is None  # no Linux

    write(tmp_path / "2/proc/self/cgroup", "0::/user/app\n")
    write(tmp_path / "2/sys/fs/cgroup/user/app/cpu.max", "max 100000\n")
    assert cpu_quota(tmp_path / "2") is None
    write(tmp_path / "2/sys/fs/cgroup/user/cpu.max", "250000 100000\n")  # of the group above
    assert cpu_quota(tmp_path / "2") == 3
    write(tmp_path / "2/sys/fs/cgroup/user/app/cpu.max", "50000 100000\n")
    assert cpu_quota(tmp_path / "2") == 1

    # version 1, seen from inside a container: its group is the root of the mount
    write(tmp_path / "1/proc/self/cgroup", "5:cpuset:/\n3:cpu,cpuacct:/docker/1f\n1:name=systemd:/docker/1f\n")
    write(tmp_path / "1/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    write(tmp_path / "1/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert cpu_quota(tmp_path / "1") is None
    write(tmp_path / "1/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n")
    assert cpu_quota(tmp_path / "1") == 4


# --- what other programs take


def clocks(wall: float, everybody: float, own: float, cores: int = 2) -> Clocks:
    return Clocks(wall, cores, everybody, own)


def test_what_is_not_ours_is_elsewhere():
    assert busy_elsewhere(clocks(10, 100, 5), clocks(14, 108, 9)) == 1.0  # 8 s in 4, of which 4 are ours
    assert busy_elsewhere(clocks(10, 100, 5), clocks(14, 107.9, 13)) == 0.0  # clocks differ a little
    assert busy_elsewhere(clocks(10, 100, 5), clocks(14, 109, 5)) == 2.0


def test_only_the_cores_of_the_process_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(threads, "_own_cores", lambda: {1, 3})
    second = os.sysconf("SC_CLK_TCK")
    ticks = [[n * second for n in (user, 2, 3, 1000, 1000, 4, 5, 6, user, 0)] for user in (10, 20, 40, 80)]
    lines = ["cpu " + " ".join(str(sum(column)) for column in zip(*ticks, strict=True))]
    lines += [f"cpu{core} " + " ".join(map(str, numbers)) for core, numbers in enumerate(ticks)]
    write(tmp_path / "stat", "\n".join([*lines, "intr 3580782 0", "ctxt 12"]) + "\n")
    read = read_clocks(tmp_path / "stat")
    assert read.cores == 2 and read.everybody == 20 + 80 + 2 * (2 + 3 + 4 + 5 + 6)  # idle, waiting, guests left out
    assert read_clocks(tmp_path / "elsewhere") is None


def test_when_threads_find_no_core():
    assert crowded(1.0, threads=2, cores=2) and crowded(0.5, 2, 2) and not crowded(0.4, 2, 2)
    assert not crowded(1.0, threads=2, cores=8) and crowded(7.0, 2, 8)


def test_the_notice():
    assert notice(0.4, 2) == "" and notice(1.2, 2) == "1 of 2 cores busy elsewhere"
    assert notice(1.9, 2) == "2 of 2 cores busy elsewhere" and notice(0.5, 2) == "1 of 2 cores busy elsewhere"
    assert notice(3.0, 16) == "" and notice(4.0, 16) == "4 of 16 cores busy elsewhere"


def readings(*each: tuple[float, float], cores: int = 2):
    """A reader of clocks: (everybody, own) at intervals of ten seconds, the first of them long ago."""
    start = time.monotonic() - 10 * len(each)
    left = [clocks(start + 10 * i, *pair, cores) for i, pair in enumerate(each)]
    return lambda: left.pop(0)


def test_the_progress_line_says_so(tmp_path, capsys):
    monitor = Monitor(tmp_path, 1000, 0)
    monitor._crowd = Crowd(readings((0, 0), (20, 10), (30, 20)))  # one core elsewhere, then none
    for expected in ("about 01:00 left, 1 of 2 cores busy elsewhere", "about 01:00 left"):
        monitor.progress(100, 10.0, 60.0, 8, 0.0)
        monitor.report({"images_seen": 100})
        assert capsys.readouterr().err.rstrip().endswith(expected)
    monitor.close()


def test_nothing_is_said_where_it_cannot_be_known():
    crowd = Crowd(lambda: None)
    crowd.look(threads=2)
    assert crowd.notice == ""


def test_readings_are_rare():
    count = []
    crowd = Crowd(lambda: count.append(1) or clocks(time.monotonic(), 0, 0))
    for _ in range(100):
        crowd.look(threads=2)
    assert len(count) == 1


SPINNING = """
import os, sys, time, torch
from stylegan.threads import Clocks, Crowd

def seconds_of_spinning():
    torch.ones(2**20).neg_()
    start = time.process_time()
    time.sleep(0.5)
    return time.process_time() - start

if sys.argv[1] == "ours":
    del os.environ["GOMP_SPINCOUNT"]  # OpenMP has read it
n, now = torch.get_num_threads(), time.monotonic()
left = [Clocks(now - 30, n, 0, 0), Clocks(now - 20, n, 10, 0), Clocks(now - 10, n, 10, 0)]
crowd = Crowd(lambda: left.pop(0))
print(seconds_of_spinning())
crowd.look(n)  # one core busy elsewhere
time.sleep(0.3)
print(seconds_of_spinning())
crowd.look(n)  # none
time.sleep(0.3)
print(seconds_of_spinning())
"""


@pytest.mark.parametrize("decision", ["ours", "the user's"])
def test_beside_others_threads_wait_without_spinning(decision):
    """And spin again once they are gone. GNU's OpenMP, told to spin for ever, shows it."""
    cores = len(threads._own_cores())
    if system() != "linux" or cores < 2:
        pytest.skip("needs Linux and two cores")
    bare = {name: value for name, value in os.environ.items() if name not in NAMES}
    environment = bare | {"GOMP_SPINCOUNT": "100000000000", "OMP_NUM_THREADS": str(cores)}
    command = [sys.executable, "-c", SPINNING, decision]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    alone, beside, again = map(float, done.stdout.split())
    if alone < 0.01:
        pytest.skip("torch has another OpenMP")
    assert again > 0.01 and (beside < 0.1 * min(alone, again)) == (decision == "ours")


@pytest.mark.parametrize(("elsewhere", "count"), [(0.0, None), (0.3, None), (0.9, 3), (3.8, 1), (9.0, 1)])
def test_a_training_begins_with_the_cores_that_are_free(without_torch, elsewhere, count):
    readings = iter([Clocks(0.0, 4, 0.0, 0.0), Clocks(1.0, 4, elsewhere, 0.0)])
    environment = {}
    assert leave_busy_cores(environment, lambda: next(readings), seconds=0) == count
    assert environment == ({} if count is None else {"OMP_NUM_THREADS": str(count)})
    users = {"OMP_NUM_THREADS": "4"}
    assert leave_busy_cores(users, lambda: pytest.fail("not asked"), seconds=0) is None
    assert leave_busy_cores({}, lambda: None, seconds=0) is None  # where it cannot be known
