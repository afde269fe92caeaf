"""Write the trained video student as two ONNX files from the same weights.

    python -m model.export video --checkpoint DIR/last.pt

The parallel form gives mask and gate of every frame by itself, and vsal's aggregator `learned` does the recurrence. The
step form does it in the graph: frame, motion and the mask before (`prev`) in, `mask` out, for whoever runs frame by
frame; a `prev` of zeros means that nothing was seen yet, and the frame's own mask comes out.
"""

from __future__ import annotations

import copy
import io
import warnings

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.networks.named import NETWORKS
from model.networks.video_student import VideoStudent, accumulate

OPSET = 17
SIZE_MULTIPLE = 16
MASK_STRIDE = 2
INPUT_PIXELS = NETWORKS["student"].input_pixels


class Parallel(nn.Module):
    """uint8 [n, h, w, 3] and [n, h, w] -> masks and gates float32 [n, h/2, w/2] in 0..1."""

    def __init__(self, net: VideoStudent) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval()

    def forward(self, frames: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """The graph that is exported."""
        logits = self.net(frames.permute(0, 3, 1, 2).float(), motion.float())
        mask, gate = logits.sigmoid().unbind(1)
        return mask, gate


class Step(Parallel):
    """One frame and the mask before it -> the mask; all float32 [1, h/2, w/2]."""

    def forward(self, frames: Tensor, motion: Tensor, prev: Tensor) -> Tensor:  # type: ignore[override]
        """The graph that is exported."""
        mask, gate = super().forward(frames, motion)
        # A sigmoid is never exactly 0 all over, so zeros are no mask: nothing was seen yet.
        unseen = (prev.amax((1, 2), keepdim=True) <= 0).float()
        weight = torch.maximum(gate, unseen)
        return prev + weight * (mask - prev)


def to_onnx(net: VideoStudent, step: bool) -> bytes:
    """The student as an ONNX file of kind "video", or as the step form of kind "recurrent"."""
    size = (144, 256)
    frames, motion = torch.zeros(1, *size, 3, dtype=torch.uint8), torch.zeros(1, *size, dtype=torch.uint8)
    batch = {} if step else {0: "n"}
    axes = {"frames": {**batch, 1: "h", 2: "w"}, "motion": {**batch, 1: "h", 2: "w"}}
    masks = {**batch, 1: "rows", 2: "cols"}
    names = ["mask"] if step else ["saliency", "gate"]
    given: tuple[Tensor, ...] = (frames, motion)
    if step:
        given, axes = (*given, torch.zeros(1, size[0] // 2, size[1] // 2)), {**axes, "prev": masks}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scripted exporter is deprecated; the new one needs a package more
        torch.onnx.export(
            Step(net) if step else Parallel(net), given, buffer, dynamo=False, opset_version=OPSET,
            input_names=list(axes), output_names=names, dynamic_axes={**axes, **dict.fromkeys(names, masks)},
        )  # fmt: skip
    model = onnx.load_model_from_string(buffer.getvalue())
    properties = {
        "kind": "recurrent" if step else "video",
        "input_pixels": INPUT_PIXELS,
        "size_multiple": SIZE_MULTIPLE,
    }
    for key, value in {**properties, **({"mask_stride": MASK_STRIDE} if step else {})}.items():
        model.metadata_props.add(key=f"vsal.{key}", value=str(value))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def scene(
    rng: np.random.Generator, samples: int, width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Patches that change and noise, with motion: frames uint8 [t, h, w, 3] and motion uint8 [t, h, w]."""
    coarse = rng.integers(0, 256, (samples, height // 16, width // 16, 3), np.uint8)
    frames = np.repeat(np.repeat(coarse, 16, 1), 16, 2)
    motion = (rng.random((samples, height, width)) ** 4 * 255).astype(np.uint8)
    motion[:, : height // 2] = 0
    return frames, motion


def parity(net: VideoStudent, parallel: bytes, step: bytes, samples: int = 64) -> float:
    """Largest difference of both files from torch over sizes and `samples` frames, in masks, gates and over time."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    whole, one = (ort.InferenceSession(m, options, providers=["CPUExecutionProvider"]) for m in (parallel, step))
    rng, worst = np.random.default_rng(0), 0.0
    for width, height in ((256, 144), (176, 208), (144, 256)):
        frames, motion = scene(rng, samples, width, height)
        with torch.no_grad():
            logits = net.eval()(torch.from_numpy(frames).permute(0, 3, 1, 2).float(), torch.from_numpy(motion).float())
            over_time = accumulate(logits[None])[0].numpy()
        masks, gates = whole.run(["saliency", "gate"], {"frames": frames, "motion": motion})
        worst = max(worst, float(np.abs(np.stack([masks, gates], 1) - logits.sigmoid().numpy()).max()))
        prev = np.zeros((1, height // 2, width // 2), np.float32)
        for t in range(samples):
            feed = {"frames": frames[t : t + 1], "motion": motion[t : t + 1], "prev": prev}
            (prev,) = one.run(["mask"], feed)
            worst = max(worst, float(np.abs(prev[0] - over_time[t]).max()))
    return worst
