"""torchrun starts processes again that have died, and the run ends with the bits of one that was never interrupted."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import same, tiny_config
from safetensors.torch import load_file

from stylegan.training import steps
from stylegan.training.config import TrainingConfig
from stylegan.training.loop import train

MANY_MACHINES = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # see runs/slurm.sh

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on Windows")

SCRIPT = """
import sys
sys.path[:0] = [{tests!r}, {here!r}]
from test_elastic import *
worker({store!r}, {folder!r}, {dying!r})
"""


def config_of(store: str) -> TrainingConfig:
    config = tiny_config(Path(store), report=False)
    return replace(config, schedule=replace(config.schedule, total_kimg=0.2))


def worker(store: str, folder: str, dying: list[int]) -> None:
    """Train. At each start one process, the next of `dying`, is killed after a state has been saved."""
    config, start, taken = config_of(store), int(os.environ["TORCHELASTIC_RESTART_COUNT"]), []
    true_step = steps.step_generator

    def mortal(*inputs):
        taken.append(None)
        if len(taken) == 8 and dying[start : start + 1] == [int(os.environ["RANK"])]:
            os.kill(os.getpid(), signal.SIGKILL)
        true_step(*inputs)

    steps.step_generator = mortal
    outcome = train(config, f"{folder}/run", progress=False)
    if outcome.stopped_by is not None:
        sys.exit(128 + outcome.stopped_by)


def torchrun(tmp_path: Path, store: Path, dying: list[int], *options: str, **environment: str) -> subprocess.Popen:
    here = Path(__file__).parent
    script = tmp_path / "script.py"
    names = {"tests": str(here.parent), "here": str(here), "store": str(store), "folder": str(tmp_path)}
    script.write_text(SCRIPT.format(**names, dying=dying))
    path = os.pathsep.join([str(here), str(here.parent), *sys.path])
    with (tmp_path / "stderr").open("ab") as stderr:
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, str(script)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path} | environment,
            stderr=stderr,
            start_new_session=True,
        )


def model(run: Path) -> dict:
    return load_file(max(run.glob("model-*.safetensors")))


@pytest.fixture(scope="module")
def whole(store, tmp_path_factory) -> dict:
    """What the same training comes to where nobody dies."""
    folder = tmp_path_factory.mktemp("whole")
    process = torchrun(folder, store, [], "--standalone", "--nproc-per-node", "2")
    assert process.wait(300) == 0, (folder / "stderr").read_text()
    return model(folder / "run")


def test_any_process_may_die(store, whole, tmp_path):
    dying = [0, 1]
    process = torchrun(tmp_path, store, dying, "--standalone", "--nproc-per-node", "2", "--max-restarts", "2")
    assert process.wait(300) == 0, (tmp_path / "stderr").read_text()
    assert same(model(tmp_path / "run"), whole)
    assert "resuming" in (tmp_path / "stderr").read_text()


def test_a_machine_is_lost_and_comes_back(store, whole, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    together = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "two", "--local-addr", "127.0.0.1"]
    together += ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"]
    first = torchrun(tmp_path, store, [], *together, "--rdzv-conf", "is_host=1", **MANY_MACHINES)
    together += ["--rdzv-conf", "is_host=0"]
    second = torchrun(tmp_path, store, [], *together, **MANY_MACHINES)
    try:
        deadline = time.monotonic() + 300
        while len(list((tmp_path / "run").glob("state-*.pt"))) < 2:
            assert time.monotonic() < deadline and first.poll() is None, (tmp_path / "stderr").read_text()
            time.sleep(0.02)
        kill_machine(second)
        second = torchrun(tmp_path, store, [], *together, **MANY_MACHINES)
        assert [first.wait(300), second.wait(60)] == [0, 0], (tmp_path / "stderr").read_text()
    finally:
        for process in (first, second):
            kill_machine(process)
    assert same(model(tmp_path / "run"), whole)
    assert "resuming" in (tmp_path / "stderr").read_text()


def kill_machine(process: subprocess.Popen) -> None:
    """All that torchrun has started, and it: at once."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    children = [int(pid) for pid, parent in map(str.split, listed.splitlines()) if int(parent) == process.pid]
    for pid in [*children, *([process.pid] if process.poll() is None else [])]:
        os.kill(pid, signal.SIGKILL)
    process.wait()


# --- runs/slurm.sh, with stand-ins for the cluster

STAND_INS = {
    "srun": 'echo "srun $*" >>"$SAID"; exec "${@:2}"',
    "scontrol": 'echo "scontrol $*" >>"$SAID"; [ "$1" = requeue ] || printf "first\\nsecond\\n"',
    "torchrun": 'echo "torchrun $*" >>"$SAID"; trap "echo saved >>$SAID; exit 143" TERM; sleep "$LASTS" & wait $!',
    "stylegan": 'echo "stylegan $*" >>"$SAID"; exit "$STATUS"',
}
SLURM = Path(__file__).parents[2] / "runs" / "slurm.sh"


@pytest.fixture
def cluster(tmp_path, monkeypatch) -> Path:
    """Where the stand-ins write down how they were called."""
    for name, line in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SAID", str(tmp_path / "said"))
    return tmp_path / "said"


@pytest.mark.skipif(not SLURM.exists() or sys.platform == "win32", reason="a script for Unix, not in the wheel")
def test_the_slurm_script(cluster, monkeypatch):
    job = {"SLURM_JOB_ID": "40007", "SLURM_JOB_NODELIST": "x[1-2]", "SLURM_JOB_NUM_NODES": "2", "LASTS": "60"}
    process = subprocess.Popen([SLURM, "store", "run", "--kimg", "9"], env=os.environ | job | {"STATUS": "3"})
    while not cluster.exists() or "torchrun" not in cluster.read_text():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    process.terminate()  # as the cluster does before the time is over
    assert process.wait(60) == 3
    said = cluster.read_text()
    assert (
        "--nnodes 2 " in said
        and "--rdzv-endpoint first:20007 " in said
        and "-m stylegan train store run --kimg 9" in said
    )
    assert said.endswith("saved\nstylegan status run\nscontrol requeue 40007\n")
    cluster.unlink()
    done = subprocess.run([SLURM, "store", "run"], env=os.environ | job | {"STATUS": "0", "LASTS": "0"}, check=False)
    assert done.returncode == 0 and "requeue" not in cluster.read_text()


@pytest.mark.skipif(not SLURM.exists() or sys.platform == "win32", reason="a script for Unix, not in the wheel")
def test_the_script_without_slurm(cluster):
    options = {"NODES": "2", "ENDPOINT": "other:29400", "PROCESSES": "1", "LASTS": "0", "STATUS": "0"}
    assert subprocess.run([SLURM, "store", "run"], env=os.environ | options, check=False).returncode == 0
    assert "srun" not in cluster.read_text() and "--rdzv-endpoint other:29400 " in cluster.read_text()
    assert subprocess.run([SLURM], env=os.environ, check=False, stderr=subprocess.DEVNULL).returncode == 2
