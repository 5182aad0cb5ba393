"""CUDA graphs of the two passes of an iteration: the discriminator's and the generator's, each with its gradients.

Launching the 2,500 small kernels of a step takes the CPU longer than a thin network at a low resolution takes the GPU.
A graph is a recording of these kernels, launched as one. It reads and writes the memory that it was recorded with, so
whatever differs between two iterations lies in tensors that are filled before each replay: images, labels, places in
the batch, the fade, and the keys that the random numbers are hashed from. Optimizer, all-reduce and moving average stay
outside.
"""

from collections.abc import Callable, Hashable
from dataclasses import replace

import torch
from torch import Tensor, nn

from stylegan.errors import InputError
from stylegan.training.schedule import State

Keys = Callable[[str], int | Tensor]  # purpose -> the key of its random numbers, int64 [] if it is a tensor
Result = tuple[dict[str, Tensor], Tensor]  # what is reported [n], by name, and the sum of the first w [w_dim]
Pass = Callable[..., Result]  # (now, keys, *inputs); adds to the gradients of a network
Recording = tuple[Callable[[], None], tuple]  # a call that does the work again, and the results it is written to
Capture = Callable[[Callable[[], tuple]], Recording]

WARM_UPS = 3  # as torch recommends: libraries choose their algorithms and take their memory in the first calls


def capture_on(device: torch.device) -> Capture:
    """How work is recorded on this device. Raises InputError where it cannot be."""
    if device.type != "cuda":
        raise InputError(f"graphs need a CUDA GPU, and this run is on {device}; leave out --graphs")
    return _capture_on_cuda


def _capture_on_cuda(work: Callable[[], tuple]) -> Recording:
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UPS):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # others may go on to prefetch images
        results = work()
    return graph.replay, results


class Graphs:
    """The graphs of one resolution, batch size and loss, fading or not; recorded when they are first needed."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._stage: tuple[int, bool, int] | None = None
        self._graphs: dict[Hashable, _Graph] = {}

    def run(
        self, name: Hashable, work: Pass, network: nn.Module, now: State, keys: Keys, *inputs: Tensor | None
    ) -> Result:
        """What `work(now, keys, *inputs)` returns, and the network's gradients, from a replay.

        name: what tells the pass from others of its stage. The results hold until the next call. Gradients must be None
        before.
        """
        stage = (now.resolution, now.fade > 0, now.batch_size)
        if stage != self._stage:  # the graphs of the one before have had their day; let go of their memory
            self._stage, self._graphs = stage, {}
        if name not in self._graphs:
            self._graphs[name] = _Graph(self._capture, work, network, now, keys, inputs)
        return self._graphs[name].replay(now, keys, inputs)


class _Graph:
    """One recorded pass, and the tensors it reads and writes."""

    def __init__(self, capture, work, network, now, keys, inputs) -> None:
        device = inputs[0].device
        self._parameters = list(network.parameters())
        self._inputs = [None if tensor is None else tensor.clone() for tensor in inputs]
        self._fade = torch.tensor(now.fade, dtype=torch.float64, device=device)
        self._keys: dict[str, Tensor] = {}
        frozen = replace(now, fade=self._fade) if now.fade > 0 else now

        def key(purpose: str) -> Tensor:
            if purpose not in self._keys:  # in the first of the calls that warm up
                self._keys[purpose] = torch.tensor(keys(purpose), device=device)
            return self._keys[purpose]

        def pass_and_gradients() -> tuple:
            network.zero_grad(set_to_none=True)  # so that gradients are written, not added to
            result = work(frozen, key, *self._inputs)
            return result, [parameter.grad for parameter in self._parameters]

        self._again, (self._result, self._gradients) = capture(pass_and_gradients)

    def replay(self, now: State, keys: Keys, inputs: tuple[Tensor | None, ...]) -> Result:
        for own, tensor in zip(self._inputs, inputs, strict=True):
            if own is not None:
                own.copy_(tensor)
        self._fade.fill_(now.fade)
        for purpose, own in self._keys.items():
            own.fill_(keys(purpose))
        self._again()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._result
