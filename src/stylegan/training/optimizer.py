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
            taken = max((int(self.state[p]["step"]) for p in group["params"] if p in self.state), default=0)
            corrected = 1 - group["betas"][1] ** (taken + 1)
            group["eps"] = self.OFFICIAL_EPSILON / sqrt(corrected)
        super().step(closure)
