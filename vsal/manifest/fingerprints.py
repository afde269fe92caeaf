"""What a manifest depends on: its source, the model, the settings that act in it, and the version of each algorithm.

Settings that nothing of a run asks for are left out, so that they do no title again; a corrected algorithm is another
one, and does all titles again that it was used for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from vsal.settings import ema_weight, samples_per_span
from vsal.storage import SourceInfo

SCHEMA_VERSION = 1

# One number a stage, or a variant of one. Raise it when the same input comes to other maps; tests/golden tells when.
ALGORITHMS: dict[str, int] = {
    "decode": 1,  # which frames there are, their times and pixels
    "scores": 1,  # what two frames say of a cut between them, and their motion
    "cuts.adaptive": 1,
    "cuts.content": 1,
    "cuts.transnetv2": 1,
    "samples": 1,  # which frames the model sees, and how they are made fit for it
    "masks": 1,  # from the model's output to masks
    "aggregate.mean": 1,
    "aggregate.ema": 1,
    "aggregate.max": 1,
    "aggregate.motion": 1,
    "aggregate.learned": 1,
    "aggregate.smooth": 1,
    "maps": 1,  # which samples a map rests on, and their mask in blocks
    "qp.rd": 1,
    "qp.linear": 1,
}
_VARIANTS = {"cuts": "shot_detector", "aggregate": "aggregator", "qp": "qp_mapping"}

# Under these values a setting changes nothing of what there was before it: it is left out then. A new setting gets a
# row, and does no title again that does not use it. A default that changes later is no reason to change a row.
NEUTRAL: dict[str, Any] = {"exact_decode": False, "regions": None}


def algorithms(settings: Mapping[str, Any]) -> dict[str, int]:
    """The versions of the algorithms that these settings use."""
    used = {f"{stage}.{settings[name]}" for stage, name in _VARIANTS.items() if name in settings}
    return {name: version for name, version in ALGORITHMS.items() if "." not in name or name in used}


def effective(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that act, in the form in which they do; those that vsal does not know are taken to."""
    acts = dict(settings)

    def drop(*names: str) -> None:
        for name in names:
            acts.pop(name, None)

    drop("saliency_mode")  # it chooses model and aggregator, where nobody does
    if settings.get("map_interval") != "shot":
        drop("samples_per_map")
        if "map_interval" in settings and "sample_rate" in settings:
            acts["map_interval"] = samples_per_span(settings["map_interval"], settings["sample_rate"])
    if settings.get("aggregator") == "ema" and {"sample_rate", "ema_half_life_s"} <= settings.keys():
        rate, half_life_s = settings["sample_rate"], settings["ema_half_life_s"]
        # To 12 digits: the last ones differ from machine to machine.
        acts["ema_alpha"] = float(f"{ema_weight(settings.get('ema_alpha'), rate, half_life_s):.12g}")
        drop("ema_half_life_s")
    elif settings.get("aggregator") != "ema":
        drop("ema_alpha", "ema_half_life_s")
    if settings.get("aggregator") != "smooth":
        drop("smooth_s")
    drop("min_shot_s" if settings.get("shot_detector") == "transnetv2" else "shot_model")
    drop("qp_floor" if settings.get("qp_mapping") == "linear" else "qp_offset")
    return {name: value for name, value in acts.items() if name not in NEUTRAL or value != NEUTRAL[name]}


def fingerprint(
    source: SourceInfo, model_sha256: str, settings: Mapping[str, Any], versions: Mapping[str, int] | None = None
) -> str:
    """What a title's manifest depends on, as 64 hex digits; equal if and only if nothing of it changed.

    Args:
        source: as `storage.stat` gives it. The etag marks the content where there is one, else the time of change.
        model_sha256: of the model file.
        settings: those that shape a manifest, as plain JSON values; their order does not matter.
        versions: of the algorithms, where it was made by others than those of today.

    Raises:
        ValueError: a setting has no exact JSON form.
    """
    version = {"etag": source.etag} if source.etag else {"mtime_ns": source.mtime_ns}
    facts = {
        "schema_version": SCHEMA_VERSION,
        "source": {"uri": source.uri, "size": source.size, **version},
        "model_sha256": model_sha256,
        "settings": effective(settings),
        "algorithms": dict(algorithms(settings) if versions is None else versions),
    }
    return hashlib.sha256(canonical(facts).encode()).hexdigest()


def canonical(value: Any) -> str:
    """The one JSON text of a value.

    Raises:
        ValueError: it has no exact JSON form.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
