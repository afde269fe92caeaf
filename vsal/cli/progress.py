"""How a run looks while it goes on: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from vsal.distributed.outcomes import Progress, Summary

# Plain lines go to logs that somebody pays for.
PLAIN_INTERVAL_S = 5.0
SHOWN_FAILURES = 20


@contextlib.contextmanager
def display(console: Console) -> Iterator[Callable[[Progress], None]]:
    """A callback that draws the state of a run as it is told of it."""
    if console.is_terminal and not console.is_dumb_terminal:
        with _live(console) as report:
            yield report
    else:
        yield plain(console)


def plain(console: Console, clock: Callable[[], float] = time.monotonic) -> Callable[[Progress], None]:
    """Lines: one for each failed title, and where the run stands at most every few seconds."""
    last = clock()

    def report(progress: Progress) -> None:
        nonlocal last
        _tell_failure(console, progress)
        if clock() - last >= PLAIN_INTERVAL_S:
            last = clock()
            ended = progress.done + progress.skipped + progress.failed
            console.print(f"{ended} of {progress.titles} titles, {facts(progress)}", markup=False)

    return report


@contextlib.contextmanager
def _live(console: Console) -> Iterator[Callable[[Progress], None]]:
    from rich import progress as bars

    columns = (
        bars.SpinnerColumn(),
        bars.BarColumn(bar_width=28),
        bars.MofNCompleteColumn(),
        bars.TextColumn("titles"),
        bars.TextColumn("{task.fields[facts]}"),
    )
    with bars.Progress(*columns, console=console, transient=True) as live:
        task = live.add_task("", total=None, facts="starting")

        def report(progress: Progress) -> None:
            _tell_failure(live.console, progress)
            ended = progress.done + progress.skipped + progress.failed
            live.update(task, total=progress.titles, completed=ended, facts=facts(progress))

        yield report


def facts(progress: Progress) -> str:
    """The figures of a run's state in one line."""
    elapsed = max(progress.elapsed_s, 1e-9)
    parts = [f"{progress.frames / elapsed:.0f} frames/s", f"{progress.video_s / elapsed:.1f} x real time"]
    if progress.skipped:
        parts.append(f"{progress.skipped} already done")
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.eta_s is not None:
        parts.append(f"{span(progress.eta_s)} left")
    return ", ".join(parts)


def span(seconds: float) -> str:
    """A length of time for people.

    >>> span(2.54), span(42), span(200), span(7300)
    ('2.5 s', '42 s', '3 min 20 s', '2 h 02 min')
    """
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def failure_lines(failed: Sequence[Mapping[str, Any]], more: str) -> list[str]:
    """The first of the failed titles of a summary, each with its reason; `more` says where all of them are."""
    from rich.markup import escape

    told = [
        f"[red]failed[/]  {escape(item['title_id'])}  {item['reason']}: {escape(item['detail'])}"
        for item in failed[:SHOWN_FAILURES]
    ]
    if len(failed) > SHOWN_FAILURES:
        told.append(f"... and {len(failed) - SHOWN_FAILURES} more: {escape(more)}")
    return told


def stopped_lines(summary: Summary) -> list[str]:
    """Of a run that was stopped: why, and what it leaves."""
    from rich.markup import escape

    if not summary.stopped:
        return []
    return [
        f"[bold]Stopped[/]: {escape(summary.stopped)}. {summary.sums.interrupted} titles were open, {summary.left} not "
        "begun; the same command goes on from there."
    ]


def warning_lines(titles: Iterable[tuple[str, str]]) -> list[str]:
    """The first of the warnings of titles that are done, from (title id, sentence or nothing)."""
    from rich.markup import escape

    warnings = [(title_id, warning) for title_id, warning in titles if warning]
    told = [f"[yellow]warning[/]  {escape(title_id)}  {escape(said)}" for title_id, said in warnings[:SHOWN_FAILURES]]
    if len(warnings) > SHOWN_FAILURES:
        told.append(f"... and {len(warnings) - SHOWN_FAILURES} warnings more (all with --json)")
    return told


def _tell_failure(console: Console, progress: Progress) -> None:
    ended = progress.finished
    if ended is not None and ended.status == "failed" and ended.reason != "interrupted":
        console.print(f"failed  {ended.title_id}  {ended.reason}: {ended.detail}", markup=False)
