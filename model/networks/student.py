"""The image student: a U-Net of cheap blocks, its shape chosen by the time it takes in ONNX Runtime, not by FLOPs.

What the time of ONNX Runtime's CPU kernels (blocks of 16 channels) taught: a dense 3x3 convolution at half resolution
costs as much as all blocks at stride 32; a depthwise 3x3 or 5x5 with two 1x1 is cheap at every stride; a 3x3 head with
one output channel costs as much as one with sixteen, so the head is 1x1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

GAZE_SHARE = 0.4  # see `saliency`

KERNELS = (3, 3, 5, 5)  # of the depthwise convolutions, at strides 4, 8, 16, 32


@dataclass(frozen=True, slots=True)
class Widths:
    """The size of a student: channels at strides 2 to 32, blocks at strides 4 to 32, decoder channels at 4, 8, 16."""

    channels: tuple[int, int, int, int, int] = (16, 32, 64, 112, 160)
    blocks: tuple[int, int, int, int] = (1, 2, 4, 3)
    decoder: tuple[int, int, int] = (32, 48, 64)


STUDENT = Widths()
SMALL = Widths((16, 16, 32, 64, 128), (1, 2, 4, 3), (16, 16, 32))  # 0.45 of the time


class Depthwise(nn.Conv2d):
    """A depthwise convolution kept in float32: its bf16 backward pass on CPU is several times slower."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, 1, kernel // 2, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, c, h, w] -> the same shape."""
        if torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float())
        return super().forward(x)


class Mix(nn.Module):
    """Residual block: depthwise (space), 1x1 to twice the channels, ReLU, 1x1 back."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Depthwise(channels, kernel),
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, 2 * channels, 1, bias=False),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.Conv2d(2 * channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, c, h, w] -> the same shape."""
        return x + self.body(x)


def _halve(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, 2, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()
    )


class ImageStudent(nn.Module):
    """Picture in, logits of objects and of gaze at half its resolution out.

    forward: float [n, 3, h, w] in 0..1, h and w multiples of 16 -> logits [n, 2, h/2, w/2], objects and gaze; in
    training also a list of coarser logits of objects, at strides 8 and 16, that the loss sees (deep supervision) and
    the exported graph does not have.

    Args:
        widths: its size.
        inputs: channels of the picture; the video student brings a fourth.
    """

    def __init__(self, widths: Widths = STUDENT, inputs: int = 3) -> None:
        super().__init__()
        channels, decoder = widths.channels, widths.decoder
        self.stem = _halve(inputs, channels[0])
        self.stages = nn.ModuleList(
            nn.Sequential(
                _halve(channels[i], channels[i + 1]),
                *(Mix(channels[i + 1], KERNELS[i]) for _ in range(widths.blocks[i])),
            )
            for i in range(4)
        )
        self.context = nn.Conv2d(channels[4], channels[4], 1)
        below = (*decoder[1:], channels[4])
        self.lateral = nn.ModuleList(nn.Conv2d(channels[i + 1], decoder[i], 1) for i in range(3))
        self.raise_ = nn.ModuleList(nn.Conv2d(below[i], decoder[i], 1) for i in range(3))
        self.refine = nn.ModuleList(Mix(decoder[i], KERNELS[i]) for i in range(3))
        self.fine_lateral = nn.Conv2d(channels[0], 16, 1)
        self.fine_raise = nn.Conv2d(decoder[0], 16, 1)
        self.fine = nn.Sequential(Depthwise(16, 3), nn.BatchNorm2d(16))
        self.head = nn.Conv2d(16, 2, 1)
        self.aux = nn.ModuleList([nn.Conv2d(decoder[1], 1, 1), nn.Conv2d(decoder[2], 1, 1)])

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """See the class."""
        half = self.stem(x)
        features, y = [], half
        for stage in self.stages:
            y = stage(y)
            features.append(y)
        y = F.relu(y + self.context(y.mean((2, 3), keepdim=True)))
        aux = []
        for i in (2, 1, 0):
            up = self.raise_[i](y)
            if i == 2:  # 9 rows at stride 16 are 5 at stride 32: not a factor of two
                up = F.interpolate(up, size=features[i].shape[2:], mode="bilinear", align_corners=False)
            else:
                up = F.interpolate(up, scale_factor=2.0, mode="nearest")
            y = self.refine[i](F.relu(self.lateral[i](features[i]) + up))
            if self.training and i > 0:
                aux.append(self.aux[i - 1](y)[:, 0])
        y = F.relu(self.fine_lateral(half) + F.interpolate(self.fine_raise(y), scale_factor=2.0, mode="nearest"))
        logits = self.head(F.relu(y + self.fine(y)))
        return (logits, aux) if self.training else logits


def saliency(logits: Tensor) -> Tensor:
    """The mask that the exported graph gives: objects, graded by gaze.

    Gaze raises what lies outside of objects to at most GAZE_SHARE and lowers the parts of an object that nobody looks
    at by as much; where the object is as likely as not and gaze half full, the mask is 0.5.

    Args:
        logits: float [n, 2, h, w] of objects and gaze.

    Returns:
        Float [n, h, w] in 0..1.
    """
    objects, gaze = logits.sigmoid().unbind(1)
    return objects + GAZE_SHARE * (gaze - objects)
