"""Gaze networks out of the files that ship: the checkpoint of their training is not needed."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from model.networks.gaze import GAZE_NETWORKS, GazeNet, make_gaze_network

PRIOR = "readout.prior.weight"


@dataclass(frozen=True, slots=True)
class GazeFile:
    """A shipped gaze network: its name in GAZE_NETWORKS and its weights."""

    name: str
    net: GazeNet

    @property
    def input_pixels(self) -> int:
        """The height * width of pictures that it is made for."""
        return GAZE_NETWORKS[self.name].input_pixels


class _Seen(nn.Module):
    """A gaze network with what its trunk gives at strides 8 and 16 beside its output."""

    def __init__(self, net: GazeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        taps = self.net.trunk(x)[1:]
        return (self.net.readout(taps), *taps)


class Seer:
    """A gaze network that is no longer trained, in ONNX Runtime: several times as fast as torch on one core."""

    def __init__(self, net: GazeNet) -> None:
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the scripted exporter is deprecated; the new one needs a package more
            torch.onnx.export(
                _Seen(net).eval(), (torch.zeros(1, 3, 144, 256),), buffer, dynamo=False, opset_version=17,
                input_names=["x"], dynamic_axes={"x": {2: "h", 3: "w"}},
            )  # fmt: skip
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = ort.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])

    def see(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Of a picture uint8 [h, w, 3]: log density float32 [h / 8, w / 8], up to a constant, and taps [1, c, h, w]."""
        x = frame.transpose(2, 0, 1)[None].astype(np.float32)
        log_density, *taps = self._session.run(None, {"x": x})
        return log_density[0], taps


def read_gaze_network(path: Path) -> GazeFile:
    """The network of a file that `model.export gaze` wrote.

    Raises:
        SystemExit: its weights are those of no network here.
    """
    held = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in onnx.load(str(path)).graph.initializer}
    weights = {name.removeprefix("net."): value for name, value in held.items() if name.startswith("net.")}
    # The exporter has taken the prior's two columns apart; the one that the picture's shape multiplies comes last.
    columns = [value.reshape(-1) for name, value in held.items() if name.startswith("onnx::")]
    if len(columns) == 2:
        weights[PRIOR] = torch.stack(columns, 1)
    for name in GAZE_NETWORKS:
        net = make_gaze_network(name)
        shapes = {key: value.shape for key, value in net.state_dict().items()}
        if shapes == {key: value.shape for key, value in weights.items()}:
            net.load_state_dict(weights)
            return GazeFile(name, net.eval())
    raise SystemExit(
        f"{path} holds none of the networks {', '.join(GAZE_NETWORKS)}: give a file of `model.export gaze`"
    )
