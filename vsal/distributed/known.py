"""What a run that begins takes from the journals of others."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.compute as pc

from vsal.distributed import parts
from vsal.distributed.outcomes import Outcome
from vsal.errors import Reason
from vsal.planning import Committed
from vsal.storage import SourceInfo


def committed_files(table: Any) -> dict[str, Committed]:
    """By title the manifest file that a run was the last to write or find.

    Args:
        table: the rows of all runs.
    """
    rows = parts.committed(_of_kind(table, "prepare"))
    names = ("title_id", "fingerprint", "size", "mtime_ns", "etag", "frames", "figures")
    columns = (rows[name].to_pylist() for name in names)
    found = {}
    for title_id, fingerprint, size, mtime_ns, etag, frames, figures in zip(*columns, strict=True):
        counts = json.loads(figures)
        counts = {"frames": frames, "shots": counts.get("shots", 0), "maps": counts.get("maps", 0)}
        found[title_id] = Committed(fingerprint, SourceInfo("", size, mtime_ns, etag), counts)
    return found


def encodes(table: Any) -> dict[str, Outcome]:
    """By title how the last encode ended that was committed, whatever came after it.

    Args:
        table: the rows of all runs.
    """
    rows = parts.committed(_of_kind(table, "encode"))
    return {outcome.title_id: outcome for outcome, _ in parts.outcomes_in(rows)}


def failed_titles(table: Any, kind: str) -> set[str]:
    """Titles that failed the last time; what a stopped run left open did not fail."""
    rows = parts.newest(_of_kind(table, kind))
    failed = pc.and_(pc.equal(rows["status"], "failed"), pc.not_equal(rows["reason"], str(Reason.INTERRUPTED)))
    return set(rows.filter(failed)["title_id"].to_pylist())


def settled_titles(table: Any) -> set[str]:
    """Titles whose last word is that their manifest is there: to find it there again is no news."""
    rows = parts.newest(_of_kind(table, "prepare"))
    settled = pc.and_(pc.not_equal(rows["status"], "failed"), pc.is_valid(rows["fingerprint"]))
    return set(rows.filter(settled)["title_id"].to_pylist())


def _of_kind(table: Any, kind: str) -> Any:
    return table.filter(pc.equal(table["kind"], kind))
