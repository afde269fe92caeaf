"""What every title of a run shares, and the actors that it runs on."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal

import ray

from vsal.saliency.contract import ModelInput
from vsal.settings import PrepareSettings, RunSettings

SessionDevice = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Pools:
    """The actors of a run: each saliency actor with its node, and the model in its list."""

    saliency: tuple[tuple[str, Any], ...]
    aggregators: tuple[Any, ...]
    device: SessionDevice
    model: list[Any]

    def stop(self) -> None:
        """Ends them: others may want their place, in a Ray that lives on."""
        for actor in (*(actor for _, actor in self.saliency), *self.aggregators):
            ray.kill(actor)

    def aggregator_of(self, title_id: str) -> Any:
        """The aggregator that a title is dealt to, the same in every process."""
        return self.aggregators[zlib.crc32(title_id.encode()) % len(self.aggregators)]

    def saliency_near(self, node_id: str) -> list[Any]:
        """The sessions on that node, or all where it has none: pixels stay on their node."""
        local = [actor for node, actor in self.saliency if node == node_id]
        return local or [actor for _, actor in self.saliency]


@dataclass(frozen=True, slots=True)
class Job:
    """A run: where it writes, what shapes it, how it is run, and on which actors."""

    out: str
    settings: PrepareSettings
    run: RunSettings
    model_name: str
    model_sha256: str
    model_input: ModelInput
    shot_model: bytes | None
    workers: int  # segments that the cluster scans at a time
    pools: Pools
