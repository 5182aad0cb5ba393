"""What one iteration at 1024 x 1024, batch 8, does, from a trace on fake tensors: no GPU and no time are needed."""

import pytest
from launches import Operation, trace

from stylegan.networks.discriminator import Discriminator

MOVES = {"clone", "copy_", "_to_copy", "cat", "stack", "constant_pad_nd", "permute_copy"}  # may change the layout


@pytest.fixture(scope="module")
def operations() -> list[Operation]:
    return trace(1024, 8)


def largest_filter(operations: list[Operation]) -> int:
    return max(max(operation.filter) for operation in operations if operation.filter)


def test_no_convolution_has_an_image_for_its_filter(operations):
    assert largest_filter(operations) == 4


def test_double_backward_has_images_for_filters(monkeypatch):
    """The test above can fail, and would at a twentieth of the size as well."""
    assert largest_filter(trace(64, 4)) == 4
    monkeypatch.setattr(Discriminator, "scores_and_gradients", Discriminator.scores_and_gradients_reference)
    assert largest_filter(trace(64, 4)) >= 64


def test_launches_and_bytes(operations):
    assert {operation.phase for operation in operations} == {"average", "D", "G"}
    assert len(operations) <= 2900
    assert 100e9 < sum(operation.bytes for operation in operations) <= 260e9


def test_elementwise_operations_have_one_layout(operations):
    """Of feature maps: images of three channels come and go in the layout of their files."""
    mixed = [
        operation
        for operation in operations
        if operation.filter is None and operation.name not in MOVES and len(operation.layouts) > 1
        if any(len(shape) == 4 and shape[1] > 4 and shape[2] >= 8 for shape in operation.outputs)
    ]
    assert not mixed
