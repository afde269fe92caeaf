"""The titles of an evaluation, and all of it in one process; `vsal.distributed.evaluate` does the same on Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vsal.catalog import Title
from vsal.errors import TitleFailed
from vsal.evaluate.roi.account import Account
from vsal.evaluate.roi.ladder import Judged, Ladder, Row, ladder_of, sources_needed, write_rows
from vsal.evaluate.roi.maps import make_manifest
from vsal.evaluate.saliency.sets.gaze import group_of

OnTitle = Callable[[str, str], None]  # title id, and why it failed or nothing


def judged_titles(titles: Sequence[Title], account: Account) -> list[Judged]:
    """Titles with their groups, each with the next title of another group.

    The account knows groups where its data set names them; else titles go by the names of the published clips, and
    alone where they are none of those.
    """
    groups = {}
    for title in titles:
        own = account.group(title.title_id)
        groups[title.title_id] = group_of(title.title_id) if own == title.title_id else own
    found = []
    for at, title in enumerate(titles):
        following = [*titles[at + 1 :], *titles[:at]]
        other = next((t for t in following if groups[t.title_id] != groups[title.title_id]), None)
        found.append(
            Judged(
                title.title_id,
                title.uri,
                groups[title.title_id],
                None if other is None else other.title_id,
                None if other is None else other.uri,
            )
        )
    return found


def evaluate_here(ladder: Ladder, titles: Sequence[Judged], on_title: OnTitle = lambda title, why: None) -> list[Row]:
    """The rows of all titles, one after another; a title that fails is told, and the others go on."""
    rows: list[Row] = []
    for title in titles:
        try:
            for source, uri, title_id in sources_needed(ladder, title):
                make_manifest(source, uri, title_id, ladder.saliency_out(source))
            found = ladder_of(ladder, title)
        except TitleFailed as failed:
            on_title(title.title_id, str(failed))
            continue
        write_rows(ladder, title.title_id, found)
        rows += found
        on_title(title.title_id, "")
    return rows
