"""An image student in int8: static quantisation of an exported file, with pictures that were trained on.

    python -m model.quantise --model image_saliency_student_v1 --data DUTS --name image_saliency_student_v1_int8

Weights are int8 per channel, in 7 bits: processors without VNNI sum the products of 8 bits in pairs in 16 bits, which
would saturate. Activations are uint8. The layer that makes the mask itself stays in float.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from model.data.stills import Dataset, load
from model.judging.evaluate import shrink
from model.shipping.registering import enter

CALIBRATION_PICTURES = 100
QUANTISED = ["Conv", "Add", "Relu", "Resize", "Concat"]
FLOAT_LAYERS = 1  # convolutions at the end that stay in float: the head


class _Pictures(CalibrationDataReader):  # type: ignore[misc]
    """Some pictures of a data set as the graph takes them."""

    def __init__(self, data: Dataset, name: str) -> None:
        chosen = range(0, len(data), max(1, len(data) // CALIBRATION_PICTURES))
        self._feeds: Iterator[dict[str, NDArray[np.uint8]]] = (
            {name: shrink(data.image(i), (256, 144))[None]} for i in chosen
        )

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        return next(self._feeds, None)


def quantise(model_bytes: bytes, data: Dataset) -> bytes:
    """An exported image student with its convolutions in int8.

    Args:
        model_bytes: ONNX file of `model.export`.
        data: pictures to measure the range of the activations on; training pictures, never those that judge.
    """
    with tempfile.TemporaryDirectory() as folder:
        given, ready, made = (str(Path(folder) / name) for name in ("given.onnx", "ready.onnx", "made.onnx"))
        Path(given).write_bytes(model_bytes)
        quant_pre_process(given, ready, skip_symbolic_shape=True)
        graph = onnx.load(ready).graph
        head = [node.name for node in graph.node if node.op_type == "Conv"][-FLOAT_LAYERS:]
        quantize_static(
            ready, made, _Pictures(data, graph.input[0].name), quant_format=QuantFormat.QDQ, per_channel=True,
            reduce_range=True, op_types_to_quantize=QUANTISED, nodes_to_exclude=head, weight_type=QuantType.QInt8,
            activation_type=QuantType.QUInt8,
        )  # fmt: skip
        model = onnx.load(made)
    kept = onnx.load_model_from_string(model_bytes)
    del model.metadata_props[:]
    model.metadata_props.extend(kept.metadata_props)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]  # not the quantiser's own, unused ones
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def main() -> None:
    """Parse the command line and quantise."""
    from vsal.saliency import load_model

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="registered name, or an .onnx file")
    parser.add_argument("--data", required=True, help="folder of DUTS-style shards: train-*.parquet")
    parser.add_argument("--cache", default=".cache/stills", help="where the decoded stills go")
    parser.add_argument("--name", required=True, help="of the new file")
    parser.add_argument(
        "--folder", type=Path, default=Path("model/shipped"), help="where the file and registry.json go"
    )
    args = parser.parse_args()
    given = load_model(args.model)
    made = quantise(given.data, load(args.data, "train", args.cache))
    entry = enter(args.folder, args.name, made, given.entry.training_data if given.entry else ())
    print(f"{entry['file']}: {len(made) / 1e6:.2f} MB from {len(given.data) / 1e6:.2f}; sha256 {entry['sha256']}")


if __name__ == "__main__":
    main()
