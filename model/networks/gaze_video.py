"""Where people look in a video: an image network, what moves by itself, and a memory.

It begins as its image twin. Beside the twin's features it sees signed changes of luma over two times, less the
camera's motion (`vsal.video.camera`), and adds to the twin's log density; and it says how fast what was seen before is
forgotten, at each place. Densities accumulate as m_t = m_(t-1) + w_t (d_t - m_(t-1)), where w_t = 1 - exp(-r_t dt) and
the rate r depends on the frame alone: so frames batch freely, and what is remembered lasts as long at any sample rate.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from model.networks.gaze import GazeNet, density

STRIDE = 8
NOISE = 4.0  # of luma squared: gradients below it are a sensor's, and say nothing of how far something moved
GATE_S = 1 / 3  # the gate is the share of a new frame after so long, as vsal's contract has it
FIRST_GATE = 2.0  # a logit: where training starts, a frame a third of a second later takes 88 % of a map
STEM = 16
CUES = 8


class MotionCues(nn.Module):
    """What the changes say before anything is learned, at stride 8.

    How far something moved is the change over the gradient (normal flow), both as means over cells; and what moves more
    than the rest of the picture draws looks, so each is also taken over its mean.

    forward: grey float [n, h, w] and changes float [n, 2, h, w], of 255 -> float [n, CUES, h / 8, w / 8].
    """

    def forward(self, grey: Tensor, changes: Tensor) -> Tensor:
        """See the class."""
        energy = self._cells(changes.square())
        x, y = grey[:, :-1, 1:] - grey[:, :-1, :-1], grey[:, 1:, :-1] - grey[:, :-1, :-1]
        slope = self._cells(F.pad(x.square() + y.square(), (0, 1, 0, 1))[:, None])
        change, moved = energy.clamp(min=1e-8).sqrt(), (energy / (slope + NOISE)).clamp(min=1e-8).sqrt()
        over_mean = moved / (moved.mean((2, 3), keepdim=True) + 0.1)
        mean = torch.log1p(change).mean((2, 3), keepdim=True).expand_as(change)
        return torch.cat([torch.log1p(change), torch.log1p(moved), torch.log1p(over_mean), mean], 1)

    @staticmethod
    def _cells(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.avg_pool2d(x, STRIDE), 3, 1, 1, count_include_pad=False)


class GazeVideoNet(nn.Module):
    """Pictures and their motion in; log densities of looks, and logits of gates, out.

    Where nothing moves it is its image twin, whatever it has learned: what is seen in motion is weighed by what is seen
    in the picture, and no constant is added on the way to the log density. So a few clips cannot unteach what the twin
    knows of pictures.

    forward: frames float [n, 3, h, w] in 0..255 and motion float [n, 2, h, w] in -127..127, h and w multiples of 16 ->
    float [n, h / 8, w / 8] both.
    """

    def __init__(self, image: GazeNet) -> None:
        super().__init__()
        self.trunk, self.twin = image.trunk, image.readout
        width = self.twin.head.in_channels
        self.cues = MotionCues()
        self.stem = nn.Sequential(
            nn.Conv2d(2, STEM, 5, 4, 2, bias=False),
            nn.ReLU(),
            nn.Conv2d(STEM, STEM, 3, 2, 1, groups=STEM, bias=False),
            nn.Conv2d(STEM, STEM, 1, bias=False),
        )
        self.moving = nn.Conv2d(CUES + STEM, width, 1, bias=False)
        self.weighed = nn.Conv2d(width, width, 1)
        self.space = nn.Conv2d(width, width, 5, 1, 2, groups=width, bias=False)
        self.channels = nn.Conv2d(width, width, 1, bias=False)
        self.moves = nn.Conv2d(width, 2, 1, bias=False)
        self.forgets = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.moves.weight)
        nn.init.zeros_(self.forgets.weight)
        assert self.forgets.bias is not None
        nn.init.constant_(self.forgets.bias, FIRST_GATE)

    def forward(self, frames: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """See the class."""
        return self.read(self.trunk(frames)[1:], self.see(frames.mean(1), motion))

    def see(self, grey: Tensor, motion: Tensor) -> Tensor:
        """What is made of motion and the mean of the colours, [n, h, w]: float [n, CUES + STEM, h / 8, w / 8]."""
        return torch.cat([self.cues(grey, motion), F.relu(self.stem(motion / 32))], 1)

    def read(self, taps: list[Tensor], moved: Tensor) -> tuple[Tensor, Tensor]:
        """From the trunk's features and those of motion to the outputs."""
        fine = self.twin.fine_features(taps)
        y = F.relu(self.moving(moved)) * self.weighed(fine).sigmoid()
        y = y + F.relu(self.channels(F.relu(self.space(y))))
        more, gate = self.moves(y).unbind(1)
        return self.twin.log_density(fine) + more, gate + self.forgets(fine)[:, 0]


def weight_after(gate: Tensor, elapsed_s: Tensor) -> Tensor:
    """The share of a new frame, 1 - exp(-r dt), of the logits of gates; elapsed_s broadcasts against them."""
    return 1 - torch.exp(-F.softplus(gate) * elapsed_s / GATE_S)  # 1 - sigmoid(x) = exp(-softplus(x))


def accumulate(log_density: Tensor, gate: Tensor, elapsed_s: Tensor) -> Tensor:
    """Densities over time, each of mean 1.

    Args:
        log_density: float [n, t, h, w], up to a constant.
        gate: logits, float [n, t, h, w].
        elapsed_s: seconds since the frame before, float [n, t]; of the first frame it does not matter.
    """
    count, samples = log_density.shape[:2]
    seen = density(log_density.flatten(0, 1)).unflatten(0, (count, samples))
    weight = weight_after(gate, elapsed_s[..., None, None])
    over_time = [seen[:, 0]]
    for t in range(1, samples):
        over_time.append(over_time[-1] + weight[:, t] * (seen[:, t] - over_time[-1]))
    return torch.stack(over_time, 1)


def half_life_s(gate: float) -> float:
    """How long half of a map is remembered under a gate in 0..1."""
    return math.inf if gate <= 0 else GATE_S * math.log(0.5) / math.log1p(-min(gate, 1 - 1e-9))
