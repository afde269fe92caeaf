"""The one contract that every saliency model keeps, and the check that an ONNX graph does.

A graph takes `frames` uint8 [n, h, w, 3] (RGB, upright) and gives `saliency` float32 [n, h', w'] in 0..1. A video model
also takes `motion` uint8 [n, h, w] and gives `gate` float32 [n, h', w'] in 0..1. Casts, colour normalisation and layout
live inside the graph, so nothing is copied or converted in Python. Three `metadata_props` of the graph say the rest:
`vsal.kind` ("image" or "video"), `vsal.input_pixels` (the h * w it was made for) and `vsal.size_multiple` (what h and w
must be multiples of).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from vsal.errors import SettingsError

MAX_MODEL_BYTES = 512 << 20  # far above any network that keeps up with a decoder, far below what hurts a worker
MAX_ASPECT = 4.0  # longer pictures are squeezed: no network here was trained on strips
DEFAULT_MULTIPLE = 32  # the total stride of most published networks, for graphs that do not state theirs

_UINT8, _FLOAT = onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT


class ModelRefused(SettingsError):
    """A model that vsal does not run; the text says what is wrong with it and what would help."""


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model wants to see.

    pixels: preferred height * width; None where `fixed` is given. multiple: height and width must be multiples of it.
    fixed: (width, height) that the graph demands, or None. motion: whether it also takes per-pixel motion.
    batch: the number of frames a call of the graph takes, None for any.
    """

    pixels: int | None
    multiple: int
    fixed: tuple[int, int] | None
    motion: bool
    batch: int | None = None

    def size_for(self, display_aspect: float) -> tuple[int, int]:
        """The (width, height) to scale a picture to before the model sees it.

        Args:
            display_aspect: width / height of the picture as it is shown, pixel aspect included; more than 0. Beyond 4:1
                or 1:4 the picture is squeezed.

        Returns:
            (width, height), multiples of `multiple`, of about `pixels` pixels and that aspect; `fixed` if there is one.

        Raises:
            ValueError: the aspect is not a finite number above 0.
        """
        if not (math.isfinite(display_aspect) and display_aspect > 0):
            raise ValueError(f"display aspect must be a finite number above 0, not {display_aspect}")
        if self.fixed is not None:
            return self.fixed
        assert self.pixels is not None
        aspect = min(max(display_aspect, 1 / MAX_ASPECT), MAX_ASPECT)
        ideal_width = math.sqrt(self.pixels * aspect) / self.multiple
        ideal_height = ideal_width / aspect

        def misfit(size: tuple[int, int]) -> float:
            # A wrong shape squeezes the picture, a wrong pixel count only costs or saves time: it counts a third.
            width, height = size
            return (
                abs(math.log(width / height / aspect)) + abs(math.log(width * height / ideal_width / ideal_height)) / 3
            )

        width, height = min(
            ((w, h) for w in _around(ideal_width) for h in _around(ideal_height)), key=lambda size: (misfit(size), size)
        )
        return width * self.multiple, height * self.multiple


def _around(ideal: float) -> range:
    return range(max(1, math.floor(ideal) - 1), math.ceil(ideal) + 2)


def parse(model_bytes: bytes) -> onnx.ModelProto:
    """The graph in `model_bytes`, with nothing read from anywhere else.

    Raises:
        ModelRefused: more than 512 MB, not an ONNX file, or tensors kept in other files.
    """
    if len(model_bytes) > MAX_MODEL_BYTES:
        raise ModelRefused(
            f"the model has {len(model_bytes) >> 20} MB, the limit is {MAX_MODEL_BYTES >> 20} MB: use a smaller one"
        )
    try:
        model: onnx.ModelProto = onnx.load_model_from_string(model_bytes)
    except DecodeError:
        raise ModelRefused("not an ONNX model: the file does not parse. Give a .onnx file") from None
    if not model.graph.node:
        raise ModelRefused("not an ONNX model: it has no graph. Give a .onnx file")
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            where = next((e.value for e in tensor.external_data if e.key == "location"), "?")
            raise ModelRefused(
                f"weights of {tensor.name!r} lie in another file ({where}): vsal opens no file that a model names. "
                "Save the model in one file (onnx.save with save_as_external_data=False)"
            )
    return model


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside it (bodies of Scan and the like)."""
    yield graph
    for node in graph.node:
        yield from _inner(node)


def _inner(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            yield from graphs(inner)


def operators(model: onnx.ModelProto) -> list[str]:
    """Names of the operators of a model, sorted; those outside the ONNX standard as `domain::Name`."""
    bodies = list(graphs(model.graph))
    nodes = [node for graph in bodies for node in graph.node]
    for function in model.functions:
        nodes += list(function.node)
        nodes += [node for outer in function.node for graph in _inner(outer) for node in graph.node]
    return sorted({n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}::{n.op_type}" for n in nodes})


def parameter_count(model: onnx.ModelProto) -> int:
    """How many numbers the stored float tensors of the graph hold (weights and biases as exported)."""
    return sum(math.prod(t.dims) for g in graphs(model.graph) for t in g.initializer if t.data_type == _FLOAT)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    nodes: list[onnx.NodeProto] = []
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        nodes += graph.node
    for function in model.functions:
        nodes += function.node
        nodes += [node for outer in function.node for graph in _inner(outer) for node in graph.node]
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def read_contract(model_bytes: bytes) -> ModelInput:
    """Check that a model keeps the contract of this module.

    Args:
        model_bytes: a whole .onnx file.

    Returns:
        What the model wants to see.

    Raises:
        ModelRefused: it does not; the text names what differs and the remedy.
    """
    model = parse(model_bytes)
    properties = {p.key: p.value for p in model.metadata_props}
    kind = properties.get("vsal.kind")
    if kind not in ("image", "video"):
        raise ModelRefused(
            f"metadata property vsal.kind is {kind!r}, not 'image' or 'video': this graph was not made for vsal. "
            "Export it with model/export.py, or add the property and keep the contract (see vsal/saliency/contract.py)"
        )
    initialised = {t.name for t in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in initialised}
    outputs = {v.name: v for v in model.graph.output}
    wanted = {"frames": 4, "motion": 3} if kind == "video" else {"frames": 4}
    given = {"saliency": 3, "gate": 3} if kind == "video" else {"saliency": 3}
    _same_names("inputs", kind, set(wanted), set(inputs))
    _same_names("outputs", kind, set(given), set(outputs))
    dims = {name: _dims(inputs[name], _UINT8, rank) for name, rank in wanted.items()}
    for name, rank in given.items():
        _dims(outputs[name], _FLOAT, rank)
    batch, height, width, colours = dims["frames"]
    if colours != 3:
        raise ModelRefused(
            f"`frames` must be [n, h, w, 3] with the colours last, is {dims['frames']}: transpose in the graph"
        )
    if (height is None) != (width is None):
        raise ModelRefused(f"`frames` must fix both height and width or neither, is {dims['frames']}")
    fixed = (width, height) if width is not None and height is not None else None
    multiple = _number(properties, "vsal.size_multiple", DEFAULT_MULTIPLE)
    pixels = None if fixed else _number(properties, "vsal.input_pixels", None)
    return ModelInput(pixels, multiple, fixed, "motion" in wanted, batch)


def _same_names(what: str, kind: str, wanted: set[str], found: set[str]) -> None:
    if wanted != found:
        raise ModelRefused(
            f"a model of kind {kind!r} has the {what} {sorted(wanted)}, this one has {sorted(found)}: "
            "rename them in the graph, or set vsal.kind to what it is"
        )


def _dims(value: onnx.ValueInfoProto, dtype: int, rank: int) -> list[int | None]:
    tensor: Any = value.type.tensor_type
    found = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if tensor.elem_type != dtype:
        expected = onnx.TensorProto.DataType.Name(dtype).lower()
        raise ModelRefused(f"`{value.name}` must be {expected}, is {found}: cast inside the graph")
    dims = [d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim]
    if len(dims) != rank:
        raise ModelRefused(
            f"`{value.name}` must have {rank} dimensions, has {len(dims)}: squeeze or reshape in the graph"
        )
    if any(d is not None and d < 1 for d in dims):
        raise ModelRefused(f"`{value.name}` has the shape {dims}: sizes must be at least 1")
    return dims


def _number(properties: dict[str, str], key: str, default: int | None) -> int:
    text = properties.get(key)
    if text is None and default is not None:
        return default
    if text is None or not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 1 << 24:
        raise ModelRefused(
            f"metadata property {key} is {text!r}, not a whole number from 1 to {1 << 24}: set it in the file"
        )
    return int(text)
