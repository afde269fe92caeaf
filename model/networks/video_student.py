"""The video student: a small U-Net on colour and motion, and a recurrence with a gate for each pixel.

From a frame and its motion it predicts a mask s and a gate g; the masks accumulate as m_t = (1 - g_t) m_(t-1) + g_t s_t
with m_0 = s_0. The gate looks at the input alone, so frames batch freely and the recurrence, being linear in its state,
runs in vsal's aggregator `learned`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.networks.student import ImageStudent, Widths

WIDTHS = Widths((16, 16, 32, 64, 96), (1, 2, 3, 2), (16, 16, 32))
MOTION_GAIN = 4.0  # a change of luma by 64 of 255 is as much as can be
GATE_BIAS = 1.0  # where training starts: three quarters of a mask come from its own frame


class VideoStudent(nn.Module):
    """Frames and motion in, logits of mask and gate at half resolution out.

    forward: float [n, 3, h, w] and float [n, h, w], both in 0..255, h and w multiples of 16 -> logits [n, 2, h/2, w/2],
    mask and gate; in training also the coarser logits of `model.networks.student.ImageStudent`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = ImageStudent(WIDTHS, inputs=4)
        assert self.net.head.bias is not None
        nn.init.constant_(self.net.head.bias[1], GATE_BIAS)

    def forward(self, frames: Tensor, motion: Tensor) -> Tensor | tuple[Tensor, list[Tensor]]:
        """See the class."""
        moved = (motion * MOTION_GAIN).clamp(max=255)[:, None]
        return self.net(torch.cat([frames, moved], 1) / 255)  # type: ignore[no-any-return]


def accumulate(logits: Tensor) -> Tensor:
    """The recurrence over clips: logits float [n, t, 2, h, w] -> masks [n, t, h, w] in 0..1."""
    masks, gates = logits.sigmoid().unbind(2)
    over_time = [masks[:, 0]]
    for mask, gate in zip(masks.unbind(1)[1:], gates.unbind(1)[1:], strict=True):
        over_time.append(over_time[-1] + gate * (mask - over_time[-1]))
    return torch.stack(over_time, 1)
