"""UCF Sports with the gaze of Mathe and Sminchisescu (TPAMI 2015), in the layout of Hollywood-2."""

from __future__ import annotations

from vsal.evaluate.saliency.items import Reading
from vsal.evaluate.saliency.sets.folders import films


def ucf_sports(path: str, train: bool = False) -> Reading:
    """UCF Sports with the gaze of Mathe and Sminchisescu (TPAMI 2015): the testing part."""
    return films(path, train)
