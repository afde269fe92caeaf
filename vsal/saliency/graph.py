"""ONNX graphs as data: parsed without touching another file, and what can be told of them without running them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from vsal.errors import SettingsError

MAX_MODEL_BYTES = 512 << 20  # far above any network that keeps up with a decoder, far below what hurts a worker


class ModelRefused(SettingsError):
    """A model that vsal does not run; the text says what is wrong with it and what would help."""


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
        yield from inner_graphs(node)


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs inside a node."""
    for attribute in node.attribute:
        for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
            yield from graphs(inner)


def operators(model: onnx.ModelProto) -> list[str]:
    """Names of the operators of a model, sorted; those outside the ONNX standard as `domain::Name`."""
    bodies = list(graphs(model.graph))
    nodes = [node for graph in bodies for node in graph.node]
    for function in model.functions:
        nodes += list(function.node)
        nodes += [node for outer in function.node for graph in inner_graphs(outer) for node in graph.node]
    return sorted({n.op_type if n.domain in ("", "ai.onnx") else f"{n.domain}::{n.op_type}" for n in nodes})


def parameter_count(model: onnx.ModelProto) -> int:
    """How many numbers the stored tensors of the graph hold: float ones, and the weights of quantised layers."""
    kinds = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
    return sum(math.prod(t.dims) for g in graphs(model.graph) for t in g.initializer if t.data_type in kinds)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    nodes: list[onnx.NodeProto] = []
    for graph in graphs(model.graph):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        nodes += graph.node
    for function in model.functions:
        nodes += function.node
        nodes += [node for outer in function.node for graph in inner_graphs(outer) for node in graph.node]
    for node in nodes:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t


def used_names(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """What nodes read by name, what the graphs inside them read included."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for body in inner_graphs(node):
            found.update(name for inner in body.node for name in inner.input)
            found.update(value.name for value in body.output)
    return found


def needed_nodes(graph: onnx.GraphProto, outputs: Iterable[str]) -> list[onnx.NodeProto]:
    """The nodes that these values depend on, in the graph's order, which is one in which they can be computed."""
    wanted = set(outputs)
    needed = []
    for node in reversed(graph.node):
        if wanted.isdisjoint(node.output):
            continue
        needed.append(node)
        wanted.update(used_names([node]))
    return needed[::-1]


def prefixed(model: onnx.ModelProto, prefix: str) -> onnx.ModelProto:
    """A copy of a model in which every value has another name, so that new nodes can use any name.

    onnx.compose.add_prefix leaves out what a Scan's body takes from the graph around it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for graph in graphs(copy.graph):
        for value in [*graph.input, *graph.output, *graph.value_info, *graph.initializer]:
            value.name = prefix + value.name
        for sparse in graph.sparse_initializer:
            sparse.values.name = prefix + sparse.values.name
        for node in graph.node:
            node.input[:] = [name and prefix + name for name in node.input]  # an empty name is an input left out
            node.output[:] = [name and prefix + name for name in node.output]
    return copy
