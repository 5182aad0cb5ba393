"""Adam: steps that are skipped, states that lay otherwise in memory."""

import pytest
import torch

from stylegan.training.optimizer import Adam

CPU = torch.device("cpu")


@pytest.mark.parametrize("fused", [True, False])
def test_a_step_without_finite_gradients_changes_nothing(fused):
    weight = torch.nn.Parameter(torch.ones(3))
    adam, twin_weight = Adam([weight], lr=0.1, fused=fused), torch.nn.Parameter(torch.ones(3))
    twin = Adam([twin_weight], lr=0.1, fused=fused)
    for gradient in (1.0, float("inf"), 2.0):
        weight.grad = torch.full((3,), gradient)
        adam.step_if(weight.grad.isfinite().all())
        assert adam.skipped_last() == (gradient == float("inf")) and adam.skipped_last() is None
        if gradient != float("inf"):
            twin_weight.grad = weight.grad.clone()
            twin.step()
    assert torch.equal(weight, twin_weight) and adam.param_groups[0]["taken"] == 2


def test_states_with_another_layout_are_taken_up():
    """Moments lie in memory as their weights do; those of version 0.1 lay otherwise."""
    weight = torch.nn.Parameter(torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last))
    adam = Adam([weight], fused=True)
    weight.grad = torch.randn_like(weight)
    adam.step()
    state = adam.state_dict()
    state["state"][0] = {name: value.contiguous() for name, value in state["state"][0].items()}
    again = Adam([weight], fused=True)
    again.load_state_dict(state)
    for name in ("exp_avg", "exp_avg_sq"):
        assert again.state[weight][name].stride() == weight.stride()
        assert torch.equal(again.state[weight][name], adam.state[weight][name])
