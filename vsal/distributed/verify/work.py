"""Verifying as a kind of work: a title is one step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vsal.distributed.failures import Failure
from vsal.distributed.outcomes import Outcome
from vsal.distributed.verify.tasks import verify_task
from vsal.distributed.work import Item, Step
from vsal.encode.proof.titles import Verification


class VerifyWork:
    """As `vsal.distributed.work.Work` says.

    Args:
        asked: what is verified, and how.
        items: the titles that are left.
    """

    kind = "verify"

    def __init__(self, asked: Verification, items: Sequence[Item]) -> None:
        self._asked, self._items = asked, items

    def actors(self) -> Mapping[str, Any]:
        """None."""
        return {}

    def todo(self) -> Iterator[Item]:
        """The titles by the size of their maps."""
        return iter(self._items)

    def first(self, item: Item) -> Sequence[Step]:
        """The proof."""
        return [Step("verify", lambda ticket: verify_task.remote(ticket, self._asked, item.title_id), "verifying it")]

    def then(self, item: Item, step: Step, value: Any) -> Sequence[Step] | Outcome:
        """Its end."""
        return proved(item, value)

    def failed(self, item: Item, step: Step, failure: Failure) -> Sequence[Step] | Outcome:
        """Its end too."""
        return unproved(item, failure)


def proved(item: Item, proof: dict[str, Any]) -> Outcome:
    """Of a title that was looked at, whatever came of it."""
    figures = {name: value for name, value in proof.items() if name not in ("title_id", "detail")}
    return Outcome(item.title_id, item.uri, "done", detail=proof["detail"], figures=figures)


def unproved(item: Item, failure: Failure) -> Outcome:
    """Of a title that could not be looked at."""
    return Outcome(item.title_id, item.uri, "failed", failure.reason, failure.detail, trace=failure.trace)
