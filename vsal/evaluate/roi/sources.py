"""What makes the saliency of an arm or of an account, apart from any mapping to QP."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from vsal.manifest.fingerprints import algorithms, effective
from vsal.settings import PrepareSettings


@dataclass(frozen=True, slots=True)
class MapSource:
    """What makes saliency of a title: a model as `prepare` runs it.

    Attributes:
        model: name, path or URI.
        settings: of prepare; the mapping does not count, for offsets are made anew.
    """

    model: str
    settings: PrepareSettings

    @property
    def key(self) -> str:
        """Short, of all that shapes saliency; the same for arms that differ in their mapping alone."""
        shaping = self.settings.shaping()
        acting = {key: value for key, value in effective(shaping).items() if not key.startswith("qp_")}
        versions = {stage: version for stage, version in algorithms(shaping).items() if not stage.startswith("qp.")}
        return hashlib.sha256(json.dumps([self.model, acting, versions], sort_keys=True).encode()).hexdigest()[:16]
