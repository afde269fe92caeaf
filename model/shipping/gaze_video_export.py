"""Write a trained video network of gaze as two ONNX files from the same weights.

    python -m model.export gaze-video --checkpoint DIR/last.pt --name video_saliency_student_v2

The parallel form gives density and gate of every frame by itself, and vsal's aggregator `learned` remembers. The step
form, NAME_step, does it in the graph: frame, motion, the map before (`prev`) and `elapsed_s` in, `mask` out, for
whoever runs frame by frame; a `prev` of zeros means that nothing was seen yet, and the frame's own map comes out.
"""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data.looks import SIZE_MULTIPLE
from model.networks.gaze import saliency
from model.networks.gaze_video import STRIDE, GazeVideoNet, weight_after
from model.shipping.gaze_export import CLIPS, OPSET, STILLS, TRUNK, padded_as_trained, pads_both_sides
from vsal.saliency.contract import MOTION_LAYERS

SIZES = ((256, 144), (176, 208), (144, 256))  # width, height that torch and ONNX Runtime are compared at
TWIN = "the weights of vsal's image student of the same size, and soft labels of its base, drawn by motion"


class Parallel(nn.Module):
    """uint8 [n, h, w, 3] and int8 [n, 2, h, w] -> maps and gates float32 [n, h / 8, w / 8] in 0..1."""

    def __init__(self, net: GazeVideoNet) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).cpu().eval()
        pads_both_sides(self.net)

    def forward(self, frames: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """The graph that is exported."""
        log_density, gate = self.net(frames.permute(0, 3, 1, 2).float(), motion.float())
        return saliency(log_density), gate.sigmoid()


class Step(Parallel):
    """One frame and the map before it -> the map; all float32 [1, h / 8, w / 8]."""

    def forward(self, frames: Tensor, motion: Tensor, prev: Tensor, elapsed_s: Tensor) -> Tensor:  # type: ignore[override]
        """The graph that is exported."""
        log_density, gate = self.net(frames.permute(0, 3, 1, 2).float(), motion.float())
        now = saliency(log_density)
        # The mean of a map is never 0, so zeros are no map: nothing was seen yet.
        unseen = (prev.amax((1, 2), keepdim=True) <= 0).float()
        weight = torch.maximum(weight_after(gate, elapsed_s), unseen)
        return prev + weight * (now - prev)


def training_data(run: Mapping[str, Any]) -> list[str]:
    """What the network of a run has seen, with its licence."""
    stills = [told for name, told in STILLS.items() if name in {Path(path).stem for path in run["looks"]}]
    return [TRUNK, *stills, CLIPS, TWIN]


def to_onnx(net: GazeVideoNet, input_pixels: int, step: bool) -> bytes:
    """The network as an ONNX file of kind "video", or as the step form of kind "recurrent"."""
    height, width = 144, 256
    frames = torch.zeros(1, height, width, 3, dtype=torch.uint8)
    motion = torch.zeros(1, MOTION_LAYERS, height, width, dtype=torch.int8)
    batch = {} if step else {0: "n"}
    axes = {"frames": {**batch, 1: "h", 2: "w"}, "motion": {**batch, 2: "h", 3: "w"}}
    masks = {**batch, 1: "rows", 2: "cols"}
    names = ["mask"] if step else ["saliency", "gate"]
    given: tuple[Tensor, ...] = (frames, motion)
    inputs = list(axes)
    if step:
        given = (*given, torch.zeros(1, height // STRIDE, width // STRIDE), torch.zeros(1))
        inputs, axes = [*inputs, "prev", "elapsed_s"], {**axes, "prev": masks}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scripted exporter is deprecated; the new one needs a package more
        torch.onnx.export(
            Step(net) if step else Parallel(net), given, buffer, dynamo=False, opset_version=OPSET,
            input_names=inputs, output_names=names, dynamic_axes={**axes, **dict.fromkeys(names, masks)},
        )  # fmt: skip
    model = onnx.load_model_from_string(buffer.getvalue())
    padded_as_trained(model, {f"net.trunk.{name}.weight" for name, _ in net.trunk.named_modules()})
    properties = {
        "kind": "recurrent" if step else "video",
        "input_pixels": input_pixels,
        "size_multiple": SIZE_MULTIPLE,
        **({"mask_stride": STRIDE} if step else {}),
    }
    for key, value in properties.items():
        model.metadata_props.add(key=f"vsal.{key}", value=str(value))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def scene(
    rng: np.random.Generator, samples: int, width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.int8]]:
    """Patches that change, with motion: frames uint8 [t, h, w, 3] and motion int8 [t, 2, h, w]."""
    coarse = rng.integers(0, 256, (samples, height // 16, width // 16, 3), np.uint8)
    frames = np.repeat(np.repeat(coarse, 16, 1), 16, 2)
    motion = (rng.normal(0, 1, (samples, MOTION_LAYERS, height, width)) ** 3 * 8).clip(-127, 127).astype(np.int8)
    motion[:, :, : height // 2] = 0
    return frames, motion


@torch.no_grad()
def parity(net: GazeVideoNet, parallel: bytes, step: bytes, samples: int = 64) -> float:
    """Largest difference of both files from torch over sizes and `samples` frames, in maps, gates and over time."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    whole, one = (ort.InferenceSession(m, options, providers=["CPUExecutionProvider"]) for m in (parallel, step))
    rng, worst = np.random.default_rng(0), 0.0
    for width, height in SIZES:
        frames, motion = scene(rng, samples, width, height)
        elapsed = rng.choice([1 / 12, 1 / 3, 1.0], samples).astype(np.float32)
        log_density, gate = net.eval()(
            torch.from_numpy(frames).permute(0, 3, 1, 2).float(), torch.from_numpy(motion).float()
        )
        maps = saliency(log_density)
        given = whole.run(["saliency", "gate"], {"frames": frames, "motion": motion})
        for mine, wanted in zip(given, (maps, gate.sigmoid()), strict=True):
            worst = max(worst, float(np.abs(mine - wanted.numpy()).max()))
        weight = weight_after(gate, torch.from_numpy(elapsed)[:, None, None])
        now, prev = maps[0], np.zeros((1, height // STRIDE, width // STRIDE), np.float32)
        for t in range(samples):
            now = now + weight[t] * (maps[t] - now)
            feed = {
                "frames": frames[t : t + 1],
                "motion": motion[t : t + 1],
                "prev": prev,
                "elapsed_s": elapsed[t : t + 1],
            }
            (prev,) = one.run(["mask"], feed)
            worst = max(worst, float(np.abs(prev[0] - now.numpy()).max()))
    return worst
