"""A trunk with fewer channels inside its blocks: those that carry most are kept, training mends the rest.

The first blocks of EfficientNet-Lite take most of its time at video's sizes: they work at half and quarter resolution
on six times their channels. Only channels inside a block are taken out, so that its input and output stay what the
blocks after it know.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.networks.trunk import Block, Conv, Trunk

CHANNEL_STEP = 16  # ONNX Runtime's CPU kernels work on blocks of 16 channels


@torch.no_grad()
def narrowed(trunk: Trunk, shares: Sequence[float], pictures: Sequence[NDArray[np.uint8]]) -> Trunk:
    """The trunk with a share of the inner channels of each block, those of the most weight on some pictures.

    The weight of a channel is its standard deviation after the depthwise convolution times the norm of what the block
    makes of it; what the channels left out give on the average goes into the bias.

    Args:
        trunk: a whole one; it is changed and returned.
        shares: for each block, what share of the inner channels is kept; rounded to CHANNEL_STEP. Blocks without an
            expansion stay whole.
        pictures: uint8 [h, w, 3] of any sizes, multiples of 16; a few dozen.

    Raises:
        ValueError: there are not as many shares as blocks.
    """
    if len(shares) != len(trunk.blocks):
        raise ValueError(f"{len(shares)} shares for {len(trunk.blocks)} blocks: give one for each")
    x = [torch.from_numpy(picture).permute(2, 0, 1)[None].float() for picture in pictures]
    x = [trunk.stem(one) for one in x]
    for block, share in zip(trunk.blocks, shares, strict=True):
        assert isinstance(block, Block)
        if block.expand is not None and share < 1:
            inner = [block.depthwise(block.expand(one)) for one in x]
            _keep(block, inner, share)
        x = [block(one) for one in x]
    return trunk


def _keep(block: Block, inner: list[Tensor], share: float) -> None:
    assert block.expand is not None
    assert block.project.conv.bias is not None
    flat = torch.cat([one.flatten(2)[0] for one in inner], 1)
    weight = block.project.conv.weight[:, :, 0, 0]
    carried = flat.std(1) * weight.norm(dim=0)
    count = max(CHANNEL_STEP, round(len(carried) * share / CHANNEL_STEP) * CHANNEL_STEP)
    kept = carried.argsort(descending=True)[:count].sort().values
    gone = torch.ones(len(carried), dtype=torch.bool)
    gone[kept] = False
    block.project.conv.bias += weight[:, gone] @ flat.mean(1)[gone]
    _cut(block.expand, kept, outputs=True)
    _cut(block.depthwise, kept, outputs=True)
    block.depthwise.conv.groups = block.depthwise.conv.in_channels = len(kept)
    _cut(block.project, kept, outputs=False)


def _cut(layer: Conv, kept: Tensor, outputs: bool) -> None:
    conv = layer.conv
    assert conv.bias is not None
    if outputs:
        conv.weight, conv.bias = nn.Parameter(conv.weight[kept]), nn.Parameter(conv.bias[kept])
        conv.out_channels = len(kept)
    else:
        conv.weight, conv.in_channels = nn.Parameter(conv.weight[:, kept]), len(kept)
