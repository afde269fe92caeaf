"""Data sets by the name KIND:PATH: photographs with masks or fixations, clips with masks, and published gaze sets."""

from __future__ import annotations

from collections.abc import Callable

from vsal.errors import SettingsError
from vsal.evaluate.saliency.items import Dataset, DatasetBroken, Item, Reading
from vsal.evaluate.saliency.sets.avimos import avimos
from vsal.evaluate.saliency.sets.davis import davis
from vsal.evaluate.saliency.sets.dhf1k import dhf1k
from vsal.evaluate.saliency.sets.hollywood2 import hollywood2
from vsal.evaluate.saliency.sets.ledov import ledov
from vsal.evaluate.saliency.sets.parquet import parquet
from vsal.evaluate.saliency.sets.photographs import masks
from vsal.evaluate.saliency.sets.synthetic import synthetic
from vsal.evaluate.saliency.sets.ucf_sports import ucf_sports


def open_dataset(name: str) -> Dataset:
    """A data set by its name.

    Args:
        name: KIND:PATH, where KIND is one of `KINDS` and PATH its root; for synthetic titles their number.

    Raises:
        SettingsError: there is no such kind.
        DatasetBroken: the path does not hold a data set in that layout.
    """
    kind, colon, path = name.partition(":")
    if not colon or kind not in KINDS:
        raise SettingsError(f"a data set is KIND:PATH with KIND one of {', '.join(KINDS)}, not {name!r}")
    return _dataset(name, *KINDS[kind](path))


def open_training_part(name: str) -> Dataset:
    """What a published gaze set gives out to train on; nothing of it is in `open_dataset` of the same name.

    Args:
        name: KIND:PATH, where KIND is one of `TRAINING`.

    Raises:
        SettingsError: there is no such kind, or it names no part for training.
        DatasetBroken: the path does not hold a data set in that layout, or nothing of it is for training.
    """
    kind, colon, path = name.partition(":")
    if not colon or kind not in TRAINING:
        raise SettingsError(f"a set to train on is KIND:PATH with KIND one of {', '.join(TRAINING)}, not {name!r}")
    return _dataset(name, *TRAINING[kind](path, train=True))


def _dataset(name: str, truth: str, items: list[Item], part: str) -> Dataset:
    kind, _, path = name.partition(":")
    if not items:
        raise DatasetBroken(f"{path} holds nothing in the layout of {kind}: see the data sets in docs/models.md")
    return Dataset(name, truth, sorted(items, key=lambda item: item.name), part)


KINDS: dict[str, Callable[[str], Reading]] = {
    "masks": masks,
    "parquet": parquet,
    "davis": davis,
    "synthetic": synthetic,
    "dhf1k": dhf1k,
    "hollywood2": hollywood2,
    "ucf-sports": ucf_sports,
    "ledov": ledov,
    "avimos": avimos,
}
# LEDOV's folders do not say what is for training.
TRAINING: dict[str, Callable[..., Reading]] = {
    "dhf1k": dhf1k,
    "hollywood2": hollywood2,
    "ucf-sports": ucf_sports,
    "avimos": avimos,
}
