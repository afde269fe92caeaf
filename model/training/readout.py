"""Readouts on frozen trunks: the features of every picture are computed once, so a readout trains in a minute."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from model.data import looks
from model.networks.gaze import Readout, density
from model.networks.trunk import Trunk
from model.training.density import density_loss

F32 = NDArray[np.float32]

STEPS, BATCH, RATE = 500, 32, 4e-3
WIDTH = 64  # channels of a teacher's readout
DROPPED = 0.1  # share of the trunk's channels that a step does not see
PRIOR_RATE = 5  # the prior has 14 weights and a long way to go


@dataclass(frozen=True, slots=True)
class Features:
    """What a frozen trunk makes of pictures of one shape: float16 [n, c, h, w] of each tap, and what is wanted of them.

    density, points: float32 [n, rows, cols]. rows: indices of the scenes that the pictures are of.
    """

    taps: list[Tensor]
    density: Tensor
    points: Tensor
    rows: NDArray[np.int64]

    def only(self, kept: NDArray[np.bool_]) -> Features:
        """Those of the scenes that are kept, bool by scene."""
        at = torch.from_numpy(np.flatnonzero(kept[self.rows]))
        return Features([tap[at] for tap in self.taps], self.density[at], self.points[at], self.rows[at.numpy()])


@torch.no_grad()
def see(trunk: Trunk, image: NDArray[np.uint8], pixels: int, multiple: int) -> list[Tensor]:
    """The trunk's taps from stride 8 on of one picture, float16 [1, c, h, w] each."""
    seen = looks.resized(image, looks.size_for(image, pixels, multiple))
    taps = trunk(torch.from_numpy(seen).permute(2, 0, 1)[None].float())
    return [tap.half() for tap in taps[1:]]


def features(trunk: Trunk, scenes: Sequence[looks.Scene], pixels: int, multiple: int) -> list[Features]:
    """Features of every scene with fixations, whole and cropped to 16:9, each also mirrored; grouped by shape."""
    groups: dict[tuple[int, int], list[tuple[list[Tensor], looks.Scene, int]]] = defaultdict(list)
    for i, scene in enumerate(scenes):
        wide = looks.widened(scene)
        for view in [scene] if wide is scene else [scene, wide]:
            for one in (view, looks.mirrored(view)):
                if len(one.fixations):
                    taps = see(trunk, one.image, pixels, multiple)
                    groups[(taps[0].shape[3], taps[0].shape[2])].append((taps, one, i))
    made = []
    for grid, some in groups.items():
        stacked = [torch.cat([taps[k] for taps, _, _ in some]) for k in range(len(some[0][0]))]
        wanted = np.stack([looks.fixation_density(one.fixations, grid) for _, one, _ in some])
        points = np.stack([looks.fixation_points(one.fixations, grid) for _, one, _ in some])
        rows = np.array([i for _, _, i in some], np.int64)
        made.append(Features(stacked, torch.from_numpy(wanted), torch.from_numpy(points), rows))
    return made


def train_readout(sets: Sequence[Features], seed: int) -> Readout:
    """A readout of WIDTH channels trained on features for STEPS steps, cosine rate, deterministic in its seed."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    sets = [one for one in sets if len(one.rows)]
    net = Readout([tap.shape[1] for tap in sets[0].taps], WIDTH).train()
    prior = list(net.prior.parameters())
    others = [p for name, p in net.named_parameters() if not name.startswith("prior")]
    groups = [{"params": others, "weight_decay": 0.02}, {"params": prior, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, RATE)
    share = np.array([len(one.rows) for one in sets], float)
    for step in range(STEPS):
        rate = RATE * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * step / STEPS))
        optimiser.param_groups[0]["lr"], optimiser.param_groups[1]["lr"] = rate, rate * PRIOR_RATE
        some = sets[int(rng.choice(len(sets), p=share / share.sum()))]
        at = torch.from_numpy(rng.choice(len(some.rows), min(BATCH, len(some.rows)), replace=False))
        taps = [F.dropout2d(tap[at].float(), DROPPED) for tap in some.taps]
        loss = density_loss(net(taps), some.density[at], some.points[at])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
    return net.eval()


@torch.no_grad()
def log_density(net: Readout, taps: Sequence[Tensor]) -> F32:
    """A readout's log density, float32 [n, rows, cols]; the mean density of each picture is 1."""
    values = net([tap.float() for tap in taps])
    return np.asarray(torch.log(density(values) + 1e-9).numpy(), np.float32)
