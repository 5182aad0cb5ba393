"""Powers of two: the one check and the one list."""

import pytest

from stylegan.data.prepare import PrepareConfig, prepare
from stylegan.data.store_writer import StoreWriter
from stylegan.errors import InputError
from stylegan.networks.generator import GeneratorConfig
from stylegan.resolutions import check_resolution, is_resolution, log2, resolutions
from stylegan.training.schedule import ScheduleConfig


def test_powers_of_two():
    assert resolutions(1024) == [4, 8, 16, 32, 64, 128, 256, 512, 1024]
    assert resolutions(32, 8) == [8, 16, 32] and resolutions(2) == []
    assert [log2(r) for r in (1, 2, 4, 1024)] == [0, 1, 2, 10]
    assert [n for n in range(-8, 3000) if is_resolution(n)] == resolutions(1024)


@pytest.mark.parametrize("value", [0, -4, 2, 48, 2048])
def test_everybody_refuses_the_same(tmp_path, value):
    sentence = f"resolution is {value}; use a power of two from 4 to 1024$"
    for refuse in (
        lambda: check_resolution(value),
        lambda: GeneratorConfig(resolution=value),
        lambda: ScheduleConfig(initial_resolution=value),
        lambda: StoreWriter(tmp_path / "s", value, 3, made={}),
        lambda: prepare(tmp_path, tmp_path / "s", PrepareConfig(resolution=value)),
    ):
        with pytest.raises(InputError, match=sentence):
            refuse()
