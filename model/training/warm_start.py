"""Go on training from a shipped ONNX file: the checkpoint of its training is not needed.

In the file every batch norm is folded into its convolution. Its place in the network is found by order of execution;
then the norms are set, layer by layer on one batch of pictures, to what changes nothing: they take away the mean and
variance that they meet and put them back, with the folded bias. Filters are brought to norm 1 on the way, which the
norm behind them undoes, so that the optimiser's steps have the size that they have on a network trained from scratch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from model.training.device import device_of


def _convolutions(model: onnx.ModelProto) -> list[tuple[Tensor, Tensor | None]]:
    """(weight, bias) of the Conv nodes in order of execution."""
    held = {i.name: i for i in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            arrays = [torch.from_numpy(np.array(numpy_helper.to_array(held[name]))) for name in node.input[1:]]
            found.append((arrays[0], arrays[1] if len(arrays) > 1 else None))
    return found


@torch.no_grad()
def start_from(net: nn.Module, file: str, frames: Tensor) -> int:
    """Set a network's weights to those of an ONNX file exported from one of the same shape.

    Args:
        net: the network, whose convolutions without a bias have a batch norm next. Parts that run in training only, and
            output channels that the file does not have, keep the weights they have.
        file: ONNX file of `model.export`, whose first convolution takes 0..255.
        frames: float [n, 3, h, w] in 0..1, pictures to set the norms by.

    Returns:
        How many convolutions were set.

    Raises:
        SystemExit: the file is of another network.
    """
    stored = iter(_convolutions(onnx.load(file)))
    device = device_of(net)
    count, scale, bias = 0, torch.ones((), device=device), torch.zeros((), device=device)
    eps_floor = 1e-6

    def before_convolution(layer: nn.Conv2d, _: Any) -> None:
        nonlocal count, scale, bias
        weight, folded = next(stored, (None, None))
        if weight is None or weight.shape[1:] != layer.weight.shape[1:] or len(weight) > len(layer.weight):
            raise SystemExit(
                f"{file}: convolution {count} is {None if weight is None else tuple(weight.shape)}, the network's is "
                f"{tuple(layer.weight.shape)}: give a file that `model.export` wrote from this network"
            )
        weight, folded = weight.to(device), None if folded is None else folded.to(device)
        if count == 0:
            weight = weight * 255
        count += 1
        if layer.bias is None:
            assert folded is not None
            norm = weight.flatten(1).norm(dim=1)
            scale, bias = torch.where(norm > eps_floor, 1 / norm, 1.0), folded
            layer.weight.copy_(weight * scale[:, None, None, None])
        else:
            layer.weight[: len(weight)] = weight
            if folded is not None:
                layer.bias[: len(weight)] = folded

    def before_norm(layer: nn.BatchNorm2d, inputs: tuple[Tensor]) -> None:
        x = inputs[0].float()
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        layer.running_mean.copy_(mean)  # type: ignore[union-attr]
        layer.running_var.copy_(variance)  # type: ignore[union-attr]
        layer.weight.copy_((variance + layer.eps).sqrt() / scale)
        layer.bias.copy_(bias + mean / scale)

    hooks = [
        module.register_forward_pre_hook(before_convolution if isinstance(module, nn.Conv2d) else before_norm)  # type: ignore[arg-type]
        for module in net.modules()
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d)
    ]
    try:
        net.eval()(frames)
    finally:
        for hook in hooks:
            hook.remove()
    left = sum(1 for _ in stored)
    if left:
        raise SystemExit(f"{file} has {left} convolutions more than the network")
    return count
