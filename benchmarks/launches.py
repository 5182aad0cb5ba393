#!/usr/bin/env python3
"""What one iteration of training does, operation by operation, without doing it: on any machine, at any size.

    benchmarks/launches.py [--resolution 1024] [--batch 8] [--precision float32] [--top 30]

Runs an iteration on fake tensors, which have shapes and layouts but no numbers. Prints launches (views left out),
bytes read and written, and multiplications, by phase and by operation. Cached reads are not modelled: each operation is
taken to read its inputs and to write its results once.
"""

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

from stylegan.networks.discriminator import DiscriminatorConfig
from stylegan.networks.generator import GeneratorConfig
from stylegan.networks.layers import FeatureMaps
from stylegan.training import steps
from stylegan.training.batches import Reals
from stylegan.training.config import TrainingConfig
from stylegan.training.monitor import Means
from stylegan.training.schedule import state_at
from stylegan.training.state import new_state

NO_LAUNCH = {"view", "_unsafe_view", "reshape", "_reshape_alias", "detach", "lift_fresh", "alias"}


@dataclass(frozen=True)
class Operation:
    """One call of an operation of torch."""

    phase: str
    """"average", "D" or "G"."""
    name: str
    inputs: tuple[tuple[int, ...], ...]
    """Shapes of the tensors it reads."""
    outputs: tuple[tuple[int, ...], ...]
    layouts: frozenset[str]
    """"channels first", "channels last", "expanded" or "other": of its inputs and outputs that are images."""
    bytes: int
    flops: int

    @property
    def filter(self) -> tuple[int, int] | None:
        """Height and width of a convolution's filter."""
        if self.name not in ("convolution", "convolution_backward"):
            return None
        return self.inputs[1 if self.name == "convolution" else 2][2:]


def trace(resolution: int, batch: int, precision: str = "float32", maps: FeatureMaps | None = None) -> list[Operation]:
    """The operations of one iteration: moving average, a step of D with R1, and one of G."""
    maps = maps or FeatureMaps()
    config = TrainingConfig(
        generator=GeneratorConfig(resolution=resolution, feature_maps=maps),
        discriminator=DiscriminatorConfig(resolution=resolution, feature_maps=maps),
        device="cpu",
        precision=precision,
    )
    config = replace(config, schedule=replace(config.schedule, batch_size={4: batch}))
    now = replace(state_at(config.schedule, resolution, 0), resolution=resolution, fade=0.0)
    recorder = _Recorder()
    with FakeTensorMode(allow_non_fake_inputs=True), _no_numbers_asked_for(), _phases_told(recorder):
        state = new_state(config, torch.device("cpu"))
        images = torch.randint(0, 256, (batch, resolution, resolution, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
        reals, means = [Reals(images, torch.arange(batch))], Means()
        steps.iteration(state, now, reals, means)  # makes the optimizers' state
        with recorder:
            steps.iteration(state, now, reals, means)
    return recorder.operations


@contextmanager
def _phases_told(recorder: "_Recorder") -> Iterator[None]:
    """Inside, the parts of an iteration tell the recorder that they begin."""

    def telling(phase: str, part: Callable) -> Callable:
        def work(*inputs) -> None:
            recorder.phase = phase
            part(*inputs)

        return work

    with ExitStack() as stack:
        for name, phase in (("update_average", "average"), ("step_discriminator", "D"), ("step_generator", "G")):
            stack.enter_context(mock.patch.object(steps, name, telling(phase, getattr(steps, name))))
        yield


@contextmanager
def _no_numbers_asked_for() -> Iterator[None]:
    """Inside, networks stay on their (fake) device, and no step is skipped."""
    with (
        mock.patch.object(nn.Module, "to", lambda module, *_, **__: module),
        mock.patch("stylegan.training.optimizer.Adam.skipped_last", lambda optimizer: None),
    ):
        yield


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.phase = ""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        name = function._schema.name.split("::")[1]
        if name in NO_LAUNCH or function.is_view or function.namespace == "prim":
            return result
        inputs, outputs = (
            [tensor for tensor in tree_flatten(part)[0] if isinstance(tensor, Tensor)]
            for part in ((args, kwargs), result)
        )
        formula = flop_registry.get(function._overloadpacket)
        self.operations.append(
            Operation(
                self.phase,
                name,
                tuple(tuple(tensor.shape) for tensor in inputs),
                tuple(tuple(tensor.shape) for tensor in outputs),
                frozenset(_layout(tensor) for tensor in inputs + outputs) - {""},
                sum(map(_bytes, inputs + outputs)),
                0 if formula is None else formula(*args, **kwargs, out_val=result),
            )
        )
        return result


def _bytes(tensor: Tensor) -> int:
    """Of the numbers stored: what is expanded counts once."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return prod(size for size, stride in sizes if stride) * tensor.element_size()


def _layout(tensor: Tensor) -> str:
    """Of a batch of images or feature maps whose layout makes a difference."""
    if tensor.ndim != 4 or tensor.shape[2] * tensor.shape[3] == 1:
        return ""
    if any(stride == 0 and size > 1 for size, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        return "expanded"
    first, last = tensor.is_contiguous(), tensor.is_contiguous(memory_format=torch.channels_last)
    if first and last:
        return ""
    return "channels first" if first else "channels last" if last else "other"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resolution", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    parser.add_argument("--top", type=int, default=30, help="How many kinds of operations are listed.")
    options = parser.parse_args()
    operations = trace(options.resolution, options.batch, options.precision)

    def row(label: str, part: list[Operation]) -> str:
        moved, flops = sum(o.bytes for o in part) / 1e9, sum(o.flops for o in part) / 1e12
        return f"{label:38} {len(part):6} {moved:9.2f} GB {flops:8.3f} TFLOP"

    print(f"torch {torch.__version__}, {options.resolution} x {options.resolution}, batch {options.batch}")
    for phase in ("average", "D", "G"):
        print(row(phase, [o for o in operations if o.phase == phase]))
    print(row("all", operations))
    by_name = defaultdict(list)
    for operation in operations:
        by_name[operation.name].append(operation)
    for name, part in sorted(by_name.items(), key=lambda item: -sum(o.bytes for o in item[1]))[: options.top]:
        print(row(name, part))


if __name__ == "__main__":
    main()
