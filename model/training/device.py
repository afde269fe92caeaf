"""Where a network is: pictures follow its parameters, so that training and judging run wherever it was put."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn


def _parameter(net: nn.Module) -> Tensor:
    for parameter in net.parameters():
        return parameter
    raise ValueError(f"{type(net).__name__} has no parameters, so nothing says where its pictures belong")


def device_of(net: nn.Module) -> torch.device:
    """The device of a network's parameters.

    Raises:
        ValueError: it has none, so nothing says where it is.
    """
    return _parameter(net).device


def as_input(net: nn.Module, array: NDArray[Any]) -> Tensor:
    """An array as a tensor of the device and the float type of a network's parameters.

    Raises:
        ValueError: it has none, so nothing says where it is.
    """
    like = _parameter(net)
    return torch.from_numpy(array).to(like.device).to(like.dtype)
