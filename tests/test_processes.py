"""Devices by name, and torchrun's group: joined for the work, and left."""

import socket
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta
from functools import partial

import pytest
import torch
import torch.distributed as dist
from conftest import in_two_processes, tiny_config

from stylegan import processes
from stylegan.device import pick_device
from stylegan.errors import InputError, SharedError

CPU = torch.device("cpu")


@pytest.fixture
def torchrun(monkeypatch):
    """This process as torchrun would have started it, alone."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name, value in {"WORLD_SIZE": 1, "RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def test_a_group_is_left_by_whoever_joined_it(torchrun):
    with processes.joined(CPU):
        assert dist.is_initialized() and processes.world_size() == 1
        with processes.joined(CPU):
            pass
        assert dist.is_initialized()
    assert not dist.is_initialized()
    with pytest.raises(InputError), processes.joined(CPU):
        raise InputError("a reason")
    assert not dist.is_initialized()


def test_training_from_python_leaves_no_group(torchrun, store, tmp_path, monkeypatch):
    from stylegan.training import steps
    from stylegan.training.loop import train

    train(tiny_config(store), tmp_path / "run", progress=False)
    assert not dist.is_initialized()
    with pytest.raises(InputError):
        train(tiny_config(tmp_path / "nowhere"), tmp_path / "other", progress=False)
    assert not dist.is_initialized()

    def broken(*_):
        assert dist.is_initialized()
        raise RuntimeError("in the middle of it")

    monkeypatch.setattr(steps, "step_generator", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        train(tiny_config(store), tmp_path / "broken", progress=False)
    assert not dist.is_initialized()


@pytest.mark.parametrize(("nccl", "backend"), [(True, "nccl"), (False, "gloo")])
def test_gloo_where_nccl_is_missing(monkeypatch, nccl, backend):
    monkeypatch.setattr(dist, "is_nccl_available", lambda: nccl)
    assert processes._backend(torch.device("cuda")) == backend
    assert processes._backend(CPU) == processes._backend(torch.device("mps")) == "gloo"


def test_sums_over_two_processes():
    in_two_processes(sums)


def sums() -> None:
    with processes.joined(CPU):
        a, b = torch.ones(2) * (processes.rank() + 1), torch.ones(1, 3)
        processes.all_reduce_sum([a, b])
        assert a.tolist() == [3, 3] and b.tolist() == [[2, 2, 2]]
        assert processes.largest(15 * processes.rank(), a.device) == 15 and processes.largest(0, a.device) == 0
        assert processes.on_first(lambda: {"rank": processes.rank()}) == {"rank": 0}
        for error in (InputError("no room for it"), OSError(28, "no room for it")):
            with pytest.raises(SharedError, match=r"^no room for it$"):
                processes.on_first(partial(fail, error))


def fail(error: Exception) -> None:
    assert processes.rank() == 0
    raise error


def test_only_those_who_meet_now_meet():
    """In a store that holds what the dead of two earlier starts have left, in any order of arrival."""
    store = dist.HashStore()
    for number in range(1, 3):
        store.set(f"asks {number}", f"dead {number}")
    names = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        met = [""] * 3

        def come(number: int, met: list = met) -> None:
            met[number] = processes.meeting(store, number, 3, timedelta(seconds=60))

        threads = [threading.Thread(target=come, args=(number,)) for number in order]
        for thread in threads:
            assert not any(met), "one has left before all have come"
            thread.start()
            time.sleep(0.05)
        for thread in threads:
            thread.join()
        assert len(set(met)) == 1 and met[0]
        names.append(met[0])
    assert len(set(names)) == 3
    with pytest.raises(InputError, match="of 4 processes 3 did not come"):
        processes.meeting(store, 0, 4, timedelta(seconds=0.1))


def available(monkeypatch, **counts: int) -> None:
    for name in ("cuda", "xpu"):
        monkeypatch.setattr(getattr(torch, name), "is_available", lambda name=name: counts.get(name, 0) > 0)
        monkeypatch.setattr(getattr(torch, name), "device_count", lambda name=name: counts.get(name, 0))
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: counts.get("mps", 0) > 0)


@pytest.mark.parametrize(
    ("counts", "name", "device"),
    [
        ({}, "auto", "cpu"),
        ({"mps": 1}, "auto", "mps"),
        ({"xpu": 2}, "auto", "xpu"),
        ({"cuda": 1, "xpu": 1}, "auto", "cuda"),
        ({"cuda": 2}, "cuda:1", "cuda:1"),
        ({"cuda": 2}, "cpu", "cpu"),
    ],
)
def test_devices_by_name(monkeypatch, counts, name, device):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    available(monkeypatch, **counts)
    assert pick_device(name) == torch.device(device)


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_each_process_takes_its_own_gpu(monkeypatch, kind):
    monkeypatch.setenv("LOCAL_RANK", "1")
    available(monkeypatch, **{kind: 2})
    assert pick_device("auto") == torch.device(kind, 1)


@pytest.mark.parametrize("kind", ["cuda", "xpu"])
def test_more_processes_than_gpus(monkeypatch, kind):
    monkeypatch.setenv("LOCAL_RANK", "2")
    available(monkeypatch, **{kind: 2})
    with pytest.raises(InputError, match=f"this machine has 2 {kind} devices"):
        pick_device("auto")


def test_half_of_a_group_is_refused(monkeypatch):
    for name in ("RANK", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(InputError, match=r"2 processes \(WORLD_SIZE\), but has no RANK, MASTER_PORT; .* torchrun"):
        processes.start(torch.device("cpu"))
    assert not dist.is_initialized()


@pytest.mark.parametrize("name", ["cuda", "xpu:0", "cuda:2", "cuda:", "cuda:x", "tpu", ""])
def test_devices_that_are_not_there(monkeypatch, name):
    available(monkeypatch, cuda=2 if name.startswith("cuda:") else 0)
    with pytest.raises(InputError, match="is not available here; use auto or one of"):
        pick_device(name)


def test_a_process_that_hangs_while_it_joins_the_others_ends(tmp_path):
    """Even where it holds the interpreter; and one that has joined goes on."""
    stuck = "import ctypes\nctypes.PyDLL(None).sleep(60)" if sys.platform != "win32" else "import time\ntime.sleep(60)"
    for seconds, inside, code in ((1, stuck, 1), (1, "pass", 0)):
        program = "from stylegan import processes\nimport time\n"
        program += f"with processes._ended_after({seconds}):\n" + textwrap.indent(inside, "    ") + "\ntime.sleep(2)"
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50, check=False)
        assert ended.returncode == code and ("Timeout" in ended.stderr) == bool(code)
