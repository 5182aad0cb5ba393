"""The training state as a file: what is damaged or foreign is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import same, tiny_config

from stylegan.data.store import open_store
from stylegan.errors import InputError
from stylegan.training import state_file
from stylegan.training.state import new_state

CPU = torch.device("cpu")


def test_no_flipped_bit_goes_unnoticed(finished, tmp_path):
    """A damaged state is refused by name, or the flip was in a byte that carries nothing."""
    path = sorted(finished[1].glob("state-*.pt"))[-1]
    data, truth = path.read_bytes(), torch.load(path, weights_only=True)
    refused, rng = 0, np.random.RandomState(0)
    for place in rng.randint(0, len(data), 60):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randint(8)
        (tmp_path / path.name).write_bytes(damaged)
        try:
            saved = state_file.load(tmp_path / path.name)
        except InputError as error:
            assert path.name in str(error)
            refused += 1
        else:
            assert saved["images_seen"] == truth["images_seen"]
            assert all(same(saved[name], truth[name]) for name in ("g", "d", "g_ema"))
            for name in ("g_adam", "d_adam"):
                for index, moments in truth[name]["state"].items():
                    assert same(saved[name]["state"][index], moments)
    assert refused > 30


def test_a_state_of_other_networks(finished, store, tmp_path):
    """What fits the format but not the run is refused as well."""
    shutil.copytree(finished[1], tmp_path / "run")
    newest = sorted((tmp_path / "run").glob("state-*.pt"))[-1]
    saved = state_file.load(newest)
    changes = {"g": "does not fit", "g_adam": "does not fit", "skipped": "does not hold", "stage": "does not hold"}
    for change, message in changes.items():
        content = saved | {change: {"w_avg": torch.zeros(9)}}
        state_file.save(
            newest, {name: value for name, value in content.items() if name not in ("kind", "format_version")}
        )
        with pytest.raises(InputError, match=message):
            new_state(tiny_config(store), CPU, open_store(store).content_hash).restore(state_file.load(newest))


def test_a_pickle_is_never_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "owned",))

    path = tmp_path / "state-0000000001.pt"
    torch.save({"kind": "stylegan-state", "format_version": 1, "evil": Evil()}, path)
    with pytest.raises(InputError, match="state-0000000001"):
        state_file.load(path)
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match="state-0000000001"):
        state_file.load(path)
    assert not (tmp_path / "owned").exists()
