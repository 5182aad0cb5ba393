"""Generators as ONNX graphs, which run without this program, without torch, and outside Python."""

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from stylegan.config import to_dict
from stylegan.device import in_precision
from stylegan.errors import InputError
from stylegan.files import atomic_file
from stylegan.networks.generator import Generator

Part = Literal["all", "mapping", "synthesis"]

OPSET, IR_VERSION = 18, 8  # of early 2023; what the exporter writes without conversion, and every runtime reads
TOLERANCE, HALF_TOLERANCE = 1e-4, 0.1
MOST_PARAMETERS = 250_000_000  # a file may have 2 GB, and the kernels of up-convolutions grow by 16/9
SMALLEST_HALVED = 64  # numbers; smaller constants are kept as they are
NO_LIMIT = 2**40


def export(
    path: Path | str,
    generator: Generator,
    *,
    part: Part = "all",
    cutoff: int | None = None,
    half: bool = False,
    provenance: dict[str, Any] | None = None,
) -> float:
    """Write a generator, or one of its two networks, as an ONNX file, once onnxruntime has drawn the same with it.

    Inputs, float32 unless said otherwise; N is any number, alike in all:

    - `all`: z [N, z_dim], labels int64 [N] (a conditional generator's), psi [] (where there is a W), noise0 ...
    - `mapping`: z, labels, psi
    - `synthesis`: w [N, num_layers, w_dim], noise0 ... [N, 1, R, R], a plane for each layer (where there is noise)

    Output: w [N, num_layers, w_dim], truncated with psi around the tracked average, or images [N, channels, R, R] in
    about [-1, 1]. A generator in mid-growth draws at the resolution and with the fade that it has reached.

    cutoff: how many layers psi works on, as for `Generator.truncate`. half: store the weights as float16, half the
    size; what is computed stays float32. provenance: goes into the file's metadata with the configuration, as JSON
    under the key `stylegan`.

    Returns the largest deviation found, relative to the largest value. Raises InputError, and leaves no file, if that
    is above 1e-4 (0.1 with `half`), if the file would be larger than 2 GB, or if the libraries are
    missing.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401  (for _tried)
        import onnxscript.optimizer  # noqa: F401  (for _onnx_model)
    except ImportError as missing:
        raise InputError(f"ONNX files need {missing.name}: pip install 'stylegan[onnx]'") from None
    if part not in get_args(Part):
        raise InputError(f"part is {part}; use one of: {', '.join(get_args(Part))}")
    if cutoff is not None and (cutoff < 0 or part == "synthesis"):
        raise InputError(f"cutoff is {cutoff}; give a number of layers, 0 or more, and none for the part synthesis")
    if sum(parameter.numel() for parameter in generator.parameters()) > MOST_PARAMETERS:
        raise InputError("this generator is too large for an ONNX file, which may have 2 GB")
    graph = _Graph(deepcopy(generator).cpu().eval(), part, 8 if cutoff is None else cutoff)
    model = _onnx_model(graph)
    description = {
        "kind": "stylegan-onnx",
        "format_version": 1,
        "part": part,
        "generator": to_dict(generator.config),
        "grown": generator.synthesis.grown._asdict(),
        "cutoff": graph.cutoff if graph.takes_psi else None,
        "half": half,
        "provenance": provenance or {},
    }
    onnx.helper.set_model_props(model, {"stylegan": json.dumps(description)})
    onnx.checker.check_model(model)

    data, error = _tried(model, graph)
    if not error <= TOLERANCE:
        raise InputError(
            f"the exported network deviates by {error:.1e} from this one, more than {TOLERANCE:g}; other versions of "
            "torch, onnxscript or onnxruntime may do better"
        )
    if half:
        data, error = _tried(_halved(model), graph)
        if not error <= HALF_TOLERANCE:
            raise InputError(f"with weights in half precision the network deviates by {error:.1e}; leave out --half")
    with atomic_file(path) as file:
        file.write(data)
    return error


def _tried(model: Any, graph: "_Graph") -> tuple[bytes, float]:
    """A model as a file has it, and how far it deviates from the network."""
    import onnxruntime

    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return data, max(_deviation(session, graph, count) for count in (1, 3))


def _halved(model: Any) -> Any:
    """The model with its weights as float16. Each is cast back to float32, which runtimes do once, while loading."""
    from onnx import TensorProto, helper, numpy_helper

    halved, casts = deepcopy(model), []
    for weight in halved.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and math.prod(weight.dims) >= SMALLEST_HALVED:
            name, values = weight.name, numpy_helper.to_array(weight)
            with np.errstate(over="ignore"):  # what is too large shows in the comparison
                halves = values.astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(halves, f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved


@torch.no_grad()
def _onnx_model(graph: "_Graph") -> Any:
    """The graph as an ONNX model."""
    import onnxscript.optimizer

    # torch.export fails where cuDNN must not round to tf32 (torch 2.14); on the CPU this changes nothing
    with in_precision("tf32"):
        inputs, batch = graph.examples(2), torch.export.Dim("batch")
        shapes = {name: None if name == "psi" else {0: batch} for name in inputs}
        # strict, since otherwise every len(tensor) in the networks would fix the batch size
        program = torch.export.export(graph, (inputs,), dynamic_shapes=(shapes,), strict=True)
        first, *others = inputs
        model = torch.onnx.export(
            program,
            dynamo=True,  # the older exporter is deprecated
            input_names=list(inputs),
            output_names=["w" if graph.part == "mapping" else "images"],
            dynamic_shapes=({first: {0: "batch"}, **dict.fromkeys(others)},),  # named once; it is one and the same
            opset_version=OPSET,
            optimize=False,  # its rules take the 1e-8 of the norms for zero, and a map without variance becomes NaN
            verbose=False,
        ).model_proto
    # with the weights' constants multiplied in, loading takes a third of the time
    onnxscript.optimizer.fold_constants(model, input_size_limit=NO_LIMIT, output_size_limit=NO_LIMIT)
    onnxscript.optimizer.remove_unused_nodes(model)
    _forget_origin(model)
    return model


class _Graph(nn.Module):
    """A part of a generator as a function of named tensors."""

    def __init__(self, generator: Generator, part: Part, cutoff: int) -> None:
        super().__init__()
        self.generator, self.part = generator, part
        self.cutoff = min(cutoff, generator.config.num_layers)

    @property
    def takes_psi(self) -> bool:
        return self.part != "synthesis" and self.generator.has_w and self.cutoff > 0

    def examples(self, count: int) -> dict[str, Tensor]:
        """Random inputs for so many images."""
        config, synthesis = self.generator.config, self.generator.synthesis
        stream = torch.Generator().manual_seed(count)
        if self.part == "synthesis":  # each layer with a w of its own
            z = torch.randn(count * config.num_layers, config.z_dim, generator=stream)
            inputs = {"w": self.generator.mapping(z)[:, 0].view(count, config.num_layers, config.w_dim)}
        else:
            inputs = {"z": torch.randn(count, config.z_dim, generator=stream)}
            if config.label_count:
                inputs["labels"] = torch.arange(count) % config.label_count
            if self.takes_psi:
                inputs["psi"] = torch.rand((), generator=stream)
        if self.part != "mapping" and config.use_noise:
            for layer, r in enumerate(synthesis.layer_resolutions(synthesis.grown.resolution)):
                inputs[f"noise{layer}"] = torch.randn(count, 1, r, r, generator=stream)
        return inputs

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        if self.part == "synthesis":
            w = inputs["w"]
        else:
            w = self.generator.mapping(inputs["z"], inputs.get("labels"))
            if "psi" in inputs:  # Generator.truncate with a tensor for psi
                w_bar = self.generator.w_avg
                low = w_bar + inputs["psi"] * (w[:, : self.cutoff] - w_bar)
                w = torch.cat([low, w[:, self.cutoff :]], dim=1)
        if self.part == "mapping":
            return w
        noise = [plane for name, plane in inputs.items() if name.startswith("noise")]
        return self.generator.synthesis(w, noise=noise or "none")


@torch.no_grad()
def _deviation(session, graph: _Graph, count: int) -> float:
    """Largest difference between file and network for a batch of `count`, relative to the largest value."""
    inputs = graph.examples(count)
    truth = graph(inputs).numpy()
    (found,) = session.run(None, {name: tensor.numpy() for name, tensor in inputs.items()})
    if found.shape != truth.shape:
        return math.inf
    return float(abs(found - truth).max() / max(abs(truth).max(), 1e-12))


def _forget_origin(model) -> None:
    """Take out what the exporter noted of our code: the stack of every node, with the paths of this machine."""
    model.ir_version = IR_VERSION
    for part in [model.graph, *model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output]:
        del part.metadata_props[:]
