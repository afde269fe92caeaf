"""The network that a newcomer would write: a U-Net of dense 3x3 convolutions that begins at full resolution.

It is here to be compared with. It is trained by the same command and on the same pictures as the students.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

CHANNELS = (16, 32, 64, 128)  # at strides 1, 2, 4, 8


def _twice(channels_in: int, channels_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for given in (channels_in, channels_out):
        layers += [nn.Conv2d(given, channels_out, 3, 1, 1, bias=False), nn.BatchNorm2d(channels_out), nn.ReLU()]
    return nn.Sequential(*layers)


class NaiveUNet(nn.Module):
    """Picture in, logits of objects and of gaze out: the interface of `model.networks.student.ImageStudent`.

    forward: float [n, 3, h, w] in 0..1, h and w multiples of 8 -> logits [n, 2, h/2, w/2], averaged from full size; in
    training also an empty list, for it has no coarser outputs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(_twice(a, b) for a, b in pairwise((3, *CHANNELS)))
        self.up = nn.ModuleList(_twice(a + b, a) for a, b in pairwise(CHANNELS))
        self.head = nn.Conv2d(CHANNELS[0], 2, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """See the class."""
        features = []
        for i, level in enumerate(self.down):
            x = level(F.max_pool2d(x, 2) if i else x)
            features.append(x)
        for i in (2, 1, 0):
            x = self.up[i](torch.cat([features[i], F.interpolate(x, scale_factor=2.0, mode="nearest")], 1))
        logits = F.avg_pool2d(self.head(x), 2)
        return (logits, []) if self.training else logits
