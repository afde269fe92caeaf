"""Where people look, as a density: a trunk that recognises, a small readout, and a prior of place.

The output is a log density up to a constant. The readout adds what it sees at stride 16, 8 and, of finer nets, 4; the
prior is a polynomial of the place whose coefficients depend on the picture's shape, added to the log density as in
DeepGaze II (Kümmerer et al., ICCV 2017). Everything after the trunk is depthwise and 1x1, which ONNX Runtime's CPU
kernels and int8 like.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from model.networks.narrow import narrowed
from model.networks.trunk import Trunk, imagenet_trunk
from vsal.saliency.density import CLIP_AT


@dataclass(frozen=True, slots=True)
class Shape:
    """How a gaze network is built.

    trunk, blocks: which EfficientNet-Lite, and how many of its blocks. shares: of the inner channels of each block that
    stay; () for all. readout: channels of the readout. input_pixels: height * width of pictures that it is made for.
    """

    trunk: str = "lite0"
    blocks: int = 8
    shares: tuple[float, ...] = ()
    readout: int = 48
    input_pixels: int = 256 * 144


class Mix(nn.Module):
    """Residual block of a readout: depthwise 5x5 (space), ReLU, 1x1 (channels)."""

    def __init__(self, channels: int, kernel: int = 5) -> None:
        super().__init__()
        self.space = nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels)
        self.channels = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, c, h, w] -> the same shape."""
        return x + F.relu(self.channels(F.relu(self.space(x))))


class Prior(nn.Module):
    """Log density of place alone: a polynomial of x and y, measured in picture sides from the middle.

    forward: a map float [n, 1, h, w], for its shape -> float [h, w].
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(7, 2))
        with torch.no_grad():
            self.weight[0, 0] = self.weight[1, 0] = -6.0  # a Gaussian of 0.28 of the sides to begin with

    def forward(self, like: Tensor) -> Tensor:
        """See the class."""
        rows, cols = like.shape[2], like.shape[3]
        y = (torch.arange(rows, device=like.device).to(like.dtype) + 0.5)[:, None] / rows - 0.5
        x = (torch.arange(cols, device=like.device).to(like.dtype) + 0.5)[None] / cols - 0.5
        x2, y2 = x * x, y * y
        ratio = torch.log(x.new_ones(1) * cols / rows)
        w = self.weight[:, 0] + self.weight[:, 1] * ratio
        along_x = (w[0] + w[2] * x2 + w[6] * y2) * x2
        return along_x + (w[1] + w[3] * y2) * y2 + w[4] * y + w[5] * y * y2


class Readout(nn.Module):
    """From the trunk's features to a log density at stride 8.

    forward: features float [n, c, h / s, w / s] at strides 8 and 16 (and 32) -> float [n, h / 8, w / 8].
    """

    def __init__(self, channels: list[int], width: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.coarse = nn.ModuleList(nn.Sequential(Mix(width), Mix(width)) for _ in channels[1:])
        self.context = nn.Conv2d(width, width, 1)
        self.fine = Mix(width, 3)
        self.head = nn.Conv2d(width, 1, 1)
        self.prior = Prior()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]

    def forward(self, features: list[Tensor]) -> Tensor:
        """See the class."""
        return self.log_density(self.fine_features(features))

    def log_density(self, fine: Tensor) -> Tensor:
        """What is looked at, of `fine_features`: float [n, h / 8, w / 8]."""
        logits = self.head(fine)
        return logits[:, 0] + self.prior(logits)

    def fine_features(self, features: list[Tensor]) -> Tensor:
        """From the trunk's features to those that the density is read from, float [n, width, h / 8, w / 8]."""
        y = F.relu(self.lateral[-1](features[-1]))
        y = y + F.relu(self.context(y.mean((2, 3), keepdim=True)))
        for i in range(len(features) - 2, -1, -1):
            y = self.coarse[i](y)
            size = features[i].shape[2:]
            y = F.interpolate(y, size=size, mode="bilinear", align_corners=False)
            y = F.relu(y + self.lateral[i](features[i]))
        fine: Tensor = self.fine(y)
        return fine


class GazeNet(nn.Module):
    """Picture in, log density of looks out.

    forward: float [n, 3, h, w] in 0..255, h and w multiples of 16 -> float [n, h / 8, w / 8], up to a constant.
    """

    def __init__(self, trunk: Trunk, readout: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.readout = Readout(trunk.channels[1:], readout)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.readout(self.trunk(x)[1:])


GAZE_NETWORKS = {
    "base": Shape(shares=(1, 2 / 3, 0.6, 0.7, 1, 1, 1, 1)),
    "small": Shape(shares=(1, 0.5, 0.4, 0.4, 0.5, 0.5, 0.5, 0.5), readout=32, input_pixels=192 * 112),
}


def make_gaze_network(name: str, pictures: Sequence[NDArray[np.uint8]] = ()) -> GazeNet:
    """A gaze network with the trunk's weights from its package and a fresh readout; its name is a key of GAZE_NETWORKS.

    pictures: what narrows the trunk, uint8 [h, w, 3]; without any only the shapes are right, to load weights into.
    """
    shape = GAZE_NETWORKS[name]
    trunk = imagenet_trunk(shape.trunk, shape.blocks)
    if shape.shares:
        trunk = narrowed(trunk, shape.shares, pictures or [np.zeros((64, 64, 3), np.uint8)])
    return GazeNet(trunk, shape.readout)


def density(log_density: Tensor) -> Tensor:
    """Log densities [n, h, w], up to a constant, as densities whose mean is 1."""
    e = torch.exp(log_density - log_density.amax((1, 2), keepdim=True))
    return e / e.mean((1, 2), keepdim=True)


def saliency(log_density: Tensor) -> Tensor:
    """The map of the contract: min(1, density / (CLIP_AT * its mean)), float [n, h, w] in 0..1."""
    return (density(log_density) / CLIP_AT).clamp(max=1.0)
