"""What the journals below a place tell of its runs and titles, while a run goes on or long after it."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

from vsal import storage
from vsal.distributed import parts
from vsal.distributed.journal import PART_S
from vsal.errors import SettingsError

SILENT_S = 12 * PART_S  # after which a run that says that it runs is taken for dead
OWN_WORK = {"prepare": "decode", "encode": "encode"}  # what steps of a kind do when they wait for nobody
LISTED = 1000  # failed titles in the document at most
RUNS = 10  # the last runs that are told of


def read_status(place: str, now: float | None = None) -> dict[str, Any]:
    """The state of OUT or DEST, from its journals alone.

    Args:
        place: OUT or DEST.
        now: seconds since 1970, if not the present.

    Returns:
        a JSON document: `titles` and `reasons` by the newest word on each title, over all runs; `failed`, the titles
        that failed; `run`, the run that began last, as its `run.json` has it, with `phase` (`running`, `stopping`,
        `ended`, `stopped`, `failed`, or `dead` where it has not been heard of for a minute) and `silent_s`; `runs`, the
        last of the others, shorter.

    Raises:
        SettingsError: there is no journal.
        OSError: the place cannot be read.
    """
    now = time.time() if now is None else now
    files = storage.list_files(storage.join(place, "journal"))
    states = sorted(info.uri for info in files if storage.name(info.uri) == "run.json")
    if not states:
        raise SettingsError(
            f"{place} holds no journal: name the --out of `vsal prepare`, or the --dest of `vsal encode`"
        )
    last = [run for uri in states[-RUNS:] if (run := _read_run(uri, now)) is not None]
    rows = parts.newest(parts.read_all(place).table)
    titles: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    failed = []
    names = ("title_id", "uri", "status", "reason", "detail", "attempts", "trace")
    for values in zip(*(rows[name].to_pylist() for name in names), strict=True):
        title = dict(zip(names, values, strict=True))
        if title["status"] != "failed":
            titles["done"] += 1
        elif title["reason"] == "interrupted":
            titles["interrupted"] += 1
        else:
            titles["failed"] += 1
            reasons[title["reason"]] += 1
            failed.append({name: value for name, value in title.items() if name != "status" and value != ""})
    failed.sort(key=lambda title: title["title_id"])
    return {
        "place": place,
        "titles": {"done": titles["done"], "failed": titles["failed"], "interrupted": titles["interrupted"]},
        "reasons": dict(reasons.most_common()),
        "failed": failed[:LISTED],
        "run": last[-1] if last else None,
        "runs": [_shorter(run) for run in reversed(last[:-1])],
    }


def _read_run(uri: str, now: float) -> dict[str, Any] | None:
    try:
        run: dict[str, Any] = json.loads(storage.read_bytes(uri))
    except (FileNotFoundError, ValueError):
        return None
    run["silent_s"] = round(max(0.0, now - run["written"]), 1)
    if run["phase"] in ("running", "stopping") and run["silent_s"] > SILENT_S:
        run["phase"] = "dead"
    own = OWN_WORK.get(run["kind"], run["kind"])
    stages: Mapping[str, float] = run.get("stages", {})
    run["stages"] = {own if stage == "work" else stage: share for stage, share in stages.items()}
    if run.get("limited_by") == "work":
        run["limited_by"] = own
    return run


def _shorter(run: Mapping[str, Any]) -> dict[str, Any]:
    kept = ("run_id", "kind", "phase", "began", "titles", "done", "skipped", "failed", "interrupted", "left", "stopped")
    return {name: run[name] for name in kept if name in run}
