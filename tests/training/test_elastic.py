"""torchrun starts processes again that have died, and the run ends with the bits of one that was never interrupted.

On one machine: tests/test_kills.py. Here: on two.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import same, tiny_config, train_in_two_processes
from safetensors.torch import load_file

from stylegan.training import run_folder
from stylegan.training.config import TrainingConfig

MANY_MACHINES = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # see runs/slurm.sh

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal on Windows")


def config_of(store: Path) -> TrainingConfig:
    config = tiny_config(store, report=False)
    return replace(config, schedule=replace(config.schedule, total_kimg=0.2))


def torchrun(run: Path, stderr: Path, *options: str) -> subprocess.Popen:
    """Train as the run's folder says."""
    code = f"import sys; from stylegan.training.loop import train; sys.exit(train(None, {str(run)!r}).stopped_by)"
    script = run.parent / "script.py"
    script.write_text(code)
    with stderr.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "torch.distributed.run", *options, str(script)],
            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)} | MANY_MACHINES,
            stderr=file,
            start_new_session=True,
        )


def test_a_machine_is_lost_and_comes_back(store, tmp_path):
    run, stderr = tmp_path / "run", tmp_path / "stderr"
    run_folder.begin(config_of(store), run)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        endpoint = f"127.0.0.1:{probe.getsockname()[1]}"
    together = ["--rdzv-backend", "c10d", "--rdzv-endpoint", endpoint, "--rdzv-id", "two", "--local-addr", "127.0.0.1"]
    together += ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3"]
    first = torchrun(run, stderr, *together, "--rdzv-conf", "is_host=1")
    together += ["--rdzv-conf", "is_host=0"]
    second = torchrun(run, stderr, *together)
    try:
        deadline = time.monotonic() + 300
        while len(list(run.glob("state-*.pt"))) < 2:
            assert time.monotonic() < deadline and first.poll() is None, stderr.read_text()
            time.sleep(0.02)
        kill_machine(second)
        second = torchrun(run, stderr, *together)
        assert [first.wait(300), second.wait(60)] == [0, 0], stderr.read_text()
    finally:
        for process in (first, second):
            kill_machine(process)
    train_in_two_processes(config_of(store), tmp_path / "whole")
    ours, whole = (load_file(max((tmp_path / name).glob("model-*.safetensors"))) for name in ("run", "whole"))
    assert same(ours, whole) and "resuming" in stderr.read_text()


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
