"""The schedule: a pure function of the images seen."""

import pytest
import torch

from stylegan.errors import InputError
from stylegan.training.schedule import ScheduleConfig, groups, state_at

CPU = torch.device("cpu")


def test_schedule_is_constant_within_a_group_and_ends():
    config = ScheduleConfig(total_kimg=1, stable_kimg=0.3, fade_kimg=0.2, batch_size={4: 16})
    seen = list(groups(config, 32))
    assert [images for images, _ in seen] == list(range(0, 1024, 64))
    assert all(state == state_at(config, 32, images) for images, state in seen)
    assert list(groups(config, 32, 640)) == seen[10:]


def test_schedule_without_growing():
    config = ScheduleConfig(initial_resolution=64)
    assert state_at(config, 64, 0).stage == state_at(config, 64, 10**7).stage == (64, False)


@pytest.mark.parametrize(
    "options",
    [{"initial_resolution": 6}, {"batch_size": {}}, {"batch_size": {16: 4}}, {"repeats": 0}, {"total_kimg": 0}],
)
def test_bad_schedules_are_refused(options):
    with pytest.raises(InputError):
        ScheduleConfig(**options)
