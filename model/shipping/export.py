"""Write a trained student as one ONNX file in vsal's contract, and enter it into the registry and its card.

    python -m model.export gaze --checkpoint DIR/last.pt --name image_saliency_student_v2
    python -m model.export image --checkpoint DIR/last.pt --name image_saliency_student_v1 --folder model/shipped

uint8 [n, h, w, 3] in, float32 [n, h/2, w/2] in 0..1 out; batch, height and width are free. The scaling by 1/255 is
folded into the first convolution and batch norms into theirs, so the graph starts with one transposition and one cast.
The file is refused when it differs from torch by more than 1e-3 anywhere.
"""

from __future__ import annotations

import argparse
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

from model.judging.evaluate import torch_predict
from model.networks.gaze import GAZE_NETWORKS, make_gaze_network
from model.networks.gaze_file import read_gaze_network
from model.networks.gaze_video import GazeVideoNet
from model.networks.named import NETWORKS, make_network
from model.networks.student import saliency
from model.networks.video_student import VideoStudent
from model.shipping import gaze_export, gaze_video_export, video_export
from model.shipping.registering import enter

OPSET = 17
PARITY = 1e-3  # largest difference from torch, anywhere in any mask
SIZE_MULTIPLE = 16
DEFAULT_NAMES = {
    "gaze": "image_saliency_student_v2",
    "gaze-video": "video_saliency_student_v2",
    "image": "image_saliency_student_v1",
    "video": "video_saliency_student_v1",
}
DUTS = "DUTS-TR (Wang et al., CVPR 2017): free for academic research"
OSIE = "OSIE (Xu et al., Journal of Vision 2014): MIT"
OBJECTS_TEACHER = "soft labels of U2-Net-p (Qin et al., 2020), itself trained on DUTS-TR: Apache-2.0"
IMAGE_TEACHER = "soft labels of vsal's image student, which has seen the sets below"
GAZE_TEACHER = "soft labels of the gaze model of twitter-research/image-crop-analysis: Apache-2.0"


class Contract(nn.Module):
    """A student behind vsal's contract: uint8 [n, h, w, 3] -> float32 [n, h/2, w/2] in 0..1."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = copy.deepcopy(net).eval()
        stem = next(m for m in self.net.modules() if isinstance(m, nn.Conv2d))
        with torch.no_grad():
            stem.weight.div_(255)  # exact: the convolution has no bias and pads with zeros

    def forward(self, frames: Tensor) -> Tensor:
        """The graph that is exported."""
        return saliency(self.net(frames.permute(0, 3, 1, 2).float()))


def to_onnx(net: nn.Module, input_pixels: int = NETWORKS["student"].input_pixels) -> bytes:
    """An image network as an ONNX file; input_pixels is the height * width that it is made for."""
    buffer = io.BytesIO()
    axes = {"frames": {0: "n", 1: "h", 2: "w"}, "saliency": {0: "n", 1: "rows", 2: "cols"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the scripted exporter is deprecated; the new one needs a package more
        torch.onnx.export(
            Contract(net), (torch.zeros(1, 144, 256, 3, dtype=torch.uint8),), buffer, dynamo=False, opset_version=OPSET,
            input_names=["frames"], output_names=["saliency"], dynamic_axes=axes,
        )  # fmt: skip
    model = onnx.load_model_from_string(buffer.getvalue())
    for key, value in (("kind", "image"), ("input_pixels", input_pixels), ("size_multiple", SIZE_MULTIPLE)):
        model.metadata_props.add(key=f"vsal.{key}", value=str(value))
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def parity(net: nn.Module, model_bytes: bytes) -> float:
    """Largest difference between torch and ONNX Runtime over sizes, batches, noise, and black and white."""
    session = ort.InferenceSession(model_bytes, providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(0), 0.0
    for n, width, height in ((1, 256, 144), (3, 256, 192), (2, 176, 208), (1, 144, 256), (1, 384, 96), (2, 320, 176)):
        coarse = rng.integers(0, 256, (n, height // 16, width // 16, 3), np.uint8)
        frames = np.repeat(np.repeat(coarse, 16, 1), 16, 2)  # patches: noise alone would drive the network nowhere
        frames[:, : height // 2] = rng.integers(0, 256, (n, height // 2, width, 3), np.uint8)
        for some in (frames, np.zeros_like(frames), np.full_like(frames, 255)):
            got = session.run(["saliency"], {"frames": some})[0]
            worst = max(worst, float(np.abs(got - torch_predict(net, some)).max()))
    return worst


def training_data(run: Mapping[str, Any]) -> list[str]:
    """What the network of a training run has seen, with its licence."""
    data = [DUTS]
    if run["gaze"]:
        data.append(OSIE)
    if run["object_labels"]:
        data.append(OBJECTS_TEACHER)
    if run["gaze_labels"]:
        data.append(GAZE_TEACHER)
    if run.get("teacher"):
        data += [IMAGE_TEACHER, OSIE, OBJECTS_TEACHER, GAZE_TEACHER]
    if run.get("clips"):
        data.append(f"videos with soft labels of `model.gaze_clips`: {Path(run['clips']).name}")
    return data


def load_state(checkpoint: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The checkpoint's state and the settings of its run."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")
    return state, json.loads(state["run"])


def hold(difference: float) -> None:
    """Refuse a file that differs from torch by too much.

    Raises:
        SystemExit: it does; nothing is written.
    """
    if difference > PARITY:
        raise SystemExit(f"ONNX Runtime differs from torch by {difference:.2e}, more than {PARITY:.0e}: not written")


def export_image(checkpoint: str, name: str, folder: Path) -> None:
    """Write the image network of a checkpoint, and enter it."""
    state, run = load_state(checkpoint)
    net = make_network(run["network"])
    net.load_state_dict(state["ema"])
    net.eval()
    model_bytes = to_onnx(net, NETWORKS[run["network"]].input_pixels)
    difference = parity(net, model_bytes)
    hold(difference)
    _tell(enter(folder, name, model_bytes, training_data(run)), model_bytes, state["step"], difference)


def export_gaze(checkpoint: str, name: str, folder: Path) -> None:
    """Write the gaze network of a checkpoint, and enter it."""
    state, run = load_state(checkpoint)
    net = make_gaze_network(run["network"])
    net.load_state_dict(state["ema"])
    net.eval()
    model_bytes = gaze_export.to_onnx(net, GAZE_NETWORKS[run["network"]].input_pixels)
    difference = gaze_export.parity(net, model_bytes)
    hold(difference)
    _tell(enter(folder, name, model_bytes, gaze_export.training_data(run)), model_bytes, state["step"], difference)


def export_gaze_video(checkpoint: str, name: str, folder: Path) -> None:
    """Write both forms of the video network of a checkpoint, NAME and NAME_step, and enter them."""
    state, run = load_state(checkpoint)
    twin = read_gaze_network(Path(run["init"]))
    net = GazeVideoNet(twin.net)
    net.load_state_dict(state["ema"])
    net.eval()
    forms = {
        form: gaze_video_export.to_onnx(net, twin.input_pixels, step=form != name) for form in (name, f"{name}_step")
    }
    difference = gaze_video_export.parity(net, *forms.values())
    hold(difference)
    for form, model_bytes in forms.items():
        entry = enter(folder, form, model_bytes, gaze_video_export.training_data(run))
        _tell(entry, model_bytes, state["step"], difference)


def export_video(checkpoint: str, name: str, folder: Path) -> None:
    """Write both forms of the video student of a checkpoint, NAME and NAME_step, and enter them."""
    state, run = load_state(checkpoint)
    net = VideoStudent()
    net.load_state_dict(state["ema"])
    net.eval()
    forms = {name: video_export.to_onnx(net, step=False), f"{name}_step": video_export.to_onnx(net, step=True)}
    difference = video_export.parity(net, *forms.values())
    hold(difference)
    for form, model_bytes in forms.items():
        _tell(enter(folder, form, model_bytes, training_data(run)), model_bytes, state["step"], difference)


def _tell(entry: dict[str, object], model_bytes: bytes, step: int, difference: float) -> None:
    size = f"{len(model_bytes) / 1e6:.2f} MB, {entry['parameters']} parameters"
    print(f"{entry['file']}: step {step}, {size}, differs from torch by at most {difference:.1e}")
    print(f"  sha256 {entry['sha256']}")


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(DEFAULT_NAMES))
    parser.add_argument("--checkpoint", required=True, help="last.pt of a training run")
    parser.add_argument("--name", help=f"of the file [default by kind: {DEFAULT_NAMES}]")
    parser.add_argument("--folder", default="model/shipped", type=Path, help="where the file and registry.json go")
    args = parser.parse_args()
    torch.set_num_threads(1)  # seconds of work; threads that wait for each other on a busy machine make minutes of it
    exports = {"gaze": export_gaze, "gaze-video": export_gaze_video, "image": export_image, "video": export_video}
    export = exports[args.kind]
    export(args.checkpoint, args.name or DEFAULT_NAMES[args.kind], args.folder)


if __name__ == "__main__":
    main()
