"""What the bits of a training depend on besides its state, configuration and data."""

import os
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import torch

from stylegan import processes
from stylegan.system import processor_model


@dataclass(frozen=True)
class Circumstances:
    """Under which a state was computed. Under the same, the same state becomes the same to the bit.

    Sums are rounded in their order, which threads and processes divide among themselves; and which kernels a library
    takes, and how they sum, goes by its version and by the processor.
    """

    torch: str
    """Version of torch, with what it was built for."""
    device: str
    """cpu, or the name of the GPU."""
    processor: str
    """Model of the processor, and the instructions that torch and oneDNN use of it."""
    threads: int
    processes: int


def circumstances(device: torch.device) -> Circumstances:
    """Those of this process."""
    name = device.type
    if device.type in ("cuda", "xpu"):
        name = getattr(torch, device.type).get_device_name(device)
    return Circumstances(str(torch.__version__), name, _processor(), torch.get_num_threads(), processes.world_size())


def circumstances_of(saved: dict[str, Any]) -> Circumstances | None:
    """Those of a state file; None where it does not say, as those of earlier versions, or not as it should."""
    told = saved.get("circumstances", {})
    if {field.name for field in fields(Circumstances)} != told.keys():
        return None
    return Circumstances(
        **{name: value if isinstance(value, int) else str(value)[:200] for name, value in told.items()}
    )


def other_bits(before: Circumstances | None, now: Circumstances) -> str:
    """A sentence where a run goes on under other circumstances than before; "" where they are the same."""
    if before is None or before == now:
        return ""
    names = [field.name for field in fields(Circumstances) if getattr(before, field.name) != getattr(now, field.name)]
    if now.device != "cpu" and before.device == now.device:  # where neither computes anything
        names = [name for name in names if name not in ("processor", "threads")]
    differences = ", ".join(f"{name} {getattr(now, name)} instead of {getattr(before, name)}" for name in names)
    return differences and f"going on with {differences}: the same up to rounding, but not to the bit"


@cache
def _processor() -> str:
    limits = [f"{name}={os.environ[name]}" for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA") if name in os.environ]
    return ", ".join([processor_model(), torch.backends.cpu.get_cpu_capability(), *limits])
