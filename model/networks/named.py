"""The image networks by name, with the size of picture that each is made for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from model.networks.naive import NaiveUNet
from model.networks.student import SMALL, STUDENT, ImageStudent


@dataclass(frozen=True, slots=True)
class Network:
    """How to make a network, and the pixels (height * width) of the pictures that it is run on."""

    make: Callable[[], nn.Module]
    input_pixels: int


NETWORKS = {
    "student": Network(lambda: ImageStudent(STUDENT), 256 * 144),
    "small": Network(lambda: ImageStudent(SMALL), 224 * 128),
    "naive": Network(NaiveUNet, 256 * 144),
}


def make_network(name: str) -> nn.Module:
    """A network with fresh weights; its name is a key of NETWORKS."""
    return NETWORKS[name].make()
