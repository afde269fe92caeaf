"""Hollywood-2 with the gaze of Mathe and Sminchisescu (TPAMI 2015): `testing/NAME/{images,maps,fixation}/*.png`."""

from __future__ import annotations

from vsal.evaluate.saliency.items import Reading
from vsal.evaluate.saliency.sets.folders import films


def hollywood2(path: str, train: bool = False) -> Reading:
    """Hollywood-2 with the gaze of Mathe and Sminchisescu (TPAMI 2015), one folder a shot: the testing part."""
    return films(path, train)
