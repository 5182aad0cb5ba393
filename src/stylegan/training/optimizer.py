"""Adam as the official code has it (appendix C; Kingma and Ba, 2015)."""

from math import sqrt
from typing import Any

import torch
from torch import Tensor


class Adam(torch.optim.Adam):
    """Adam whose epsilon is added before the second moment's bias is corrected, as in TensorFlow.

    step = lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).
    """

    OFFICIAL_EPSILON = 1e-8
    _unread: Tensor | bool | None = None  # whether the last step was skipped, on its way from the device
    _arrived: torch.cuda.Event | None = None  # when it is here

    @torch.no_grad()
    def step(self, closure=None) -> None:  # type: ignore[override]  # no loss is known here
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1  # the optimizer's own count may lie on the device
            group["eps"] = self.OFFICIAL_EPSILON / sqrt(1 - group["betas"][1] ** group["taken"])
        super().step(closure)

    def step_if(self, finite: Tensor | bool) -> None:
        """Step, unless `finite` is False: then nothing changes.

        The host does not wait for a boolean on the device; `skipped_last` tells it, and must be called before the next
        step.
        """
        if isinstance(finite, bool) or not self.defaults["fused"]:
            self._unread = not finite
            if finite:
                self.step()
            return
        self.found_inf = (~finite).float()  # torch's fused optimizers leave everything as it is where this is 1
        self.step()
        self._unread = torch.empty(1, pin_memory=finite.is_cuda).copy_(self.found_inf, non_blocking=True)
        self._arrived = torch.cuda.current_stream(finite.device).record_event() if finite.is_cuda else None

    def skipped_last(self) -> bool | None:
        """Whether the last step was skipped because of gradients that were not finite; None if that was asked before.

        Waits for that step, which has usually been over for long.
        """
        if self._unread is None:
            return None
        if self._arrived is not None:
            self._arrived.synchronize()
        skipped, self._unread = bool(self._unread), None
        if skipped and self.defaults["fused"]:
            for group in self.param_groups:
                group["taken"] -= 1
        return skipped

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As torch's; the moments come to lie in memory as their parameters do, as the fused step expects."""
        super().load_state_dict(state_dict)
        for parameter, moments in self.state.items():
            for name in ("exp_avg", "exp_avg_sq"):
                moments[name] = torch.empty_like(parameter).copy_(moments[name])
