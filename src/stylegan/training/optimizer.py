"""Adam as the official code has it (appendix C; Kingma and Ba, 2015)."""

from math import sqrt

import torch


class Adam(torch.optim.Adam):
    """Adam whose epsilon is added before the second moment's bias is corrected, as in TensorFlow.

    step = lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps).
    """

    OFFICIAL_EPSILON = 1e-8

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            group["taken"] = group.get("taken", 0) + 1  # the optimiser's own count may lie on the device
            group["eps"] = self.OFFICIAL_EPSILON / sqrt(1 - group["betas"][1] ** group["taken"])
        super().step(closure)
