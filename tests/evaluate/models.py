"""Models that know what the tiny sets look like."""

from __future__ import annotations

import numpy as np

from tests.saliency import foreign_graphs as theirs
from vsal.saliency import SaliencySession
from vsal.saliency.foreign import Interface, wrap


def red_model(sharpness: float = 20.0) -> bytes:
    """Finds the subject of the tiny sets by its colour."""
    g = theirs.Graph()
    x = g.takes("x", ("n", 3, "h", "w"))
    redness = g.add("Conv", x, g.weight(np.array([[1.0], [-1.0], [0.0]]).reshape(1, 3, 1, 1)))
    g.add("Sigmoid", g.add("Mul", g.add("Sub", redness, g.weight(0.4)), g.weight(sharpness)), out="y")
    g.gives("y", ("n", 1, "h", "w"))
    return wrap(g.bytes(), Interface("image", normalise="none", size=(64, 48), multiple=16))


def sees_red(sharpness: float = 20.0) -> SaliencySession:
    """The same as a session."""
    return SaliencySession(red_model(sharpness))
