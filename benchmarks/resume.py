"""How long a run takes to begin over a catalogue of which most is done, in a store that is far away."""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.list_server import Thing, serving, statistics, thing
from vsal.catalog import Title
from vsal.distributed.journal import Journal
from vsal.distributed.outcomes import Outcome, Progress
from vsal.distributed.prepare import prepare_catalogue
from vsal.planning import WorkItem, work_list
from vsal.saliency.registry import load_model
from vsal.settings import PrepareSettings, RunSettings
from vsal.storage import SourceInfo
from vsal.video.synthetic import render_title, synthetic_title

LATENCY_S = 0.020
BATCH = 2_000  # outcomes that a run writes as one part
MANIFEST_BYTES = 250_000
# Of the process, before the first client of a store is made.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "benchmark", "AWS_SECRET_ACCESS_KEY": "benchmark", "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_DEFAULT_REGION": "us-east-1",
}  # fmt: skip


class _Begun(BaseException):
    """The first new step has begun: all that was to be measured."""


def resume(committed: int, new: int) -> None:
    """Prints the time until the first new step, and the requests for it, after a run that ended and one that died."""
    os.environ.update(ENVIRONMENT)
    print(f"\n{committed} committed titles and {new} new ones, {LATENCY_S * 1e3:.0f} ms of latency a request\n")
    print(
        "| the run before | first new step, s | requests | of them | the server's own time, s |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="vsal-bench-") as folder:
        clip = Path(folder, "clip.mp4")
        render_title(str(clip), synthetic_title(320, 180, 24, shots=1, seconds=1, seed=1))
        titles = [Title(f"{i:06d}", f"s3://store/videos/{i:06d}.mp4") for i in range(committed + new)]
        store = {_key(title.uri): _named(title.title_id, clip.stat().st_size) for title in titles[:committed]}
        store |= {_key(title.uri): thing(clip.read_bytes()) for title in titles[committed:]}
        with serving(store, 0.0) as endpoint:
            os.environ["AWS_ENDPOINT_URL"] = endpoint
            items = work_list(titles[:committed], "s3://store/roi", PrepareSettings(), load_model().sha256)
        for item in items:
            store[f"roi/maps/{item.title.title_id}.parquet"] = _named(f"maps of {item.title.title_id}", MANIFEST_BYTES)
        for name, died in (("ended", False), ("was killed", True)):
            journal = _journal(Path(folder, name), items, store, died)
            with serving({**store, **journal}, LATENCY_S) as endpoint:
                os.environ["AWS_ENDPOINT_URL"] = endpoint
                began = time.perf_counter()
                seconds = _first_step(titles, began)
                counted = statistics(endpoint)
            own = counted.pop("server_s")
            requests = sum(counted.values())
            kinds = ", ".join(f"{count:.0f} {kind}" for kind, count in sorted(counted.items()))
            print(f"| {name} | {seconds:.1f} | {requests:.0f} | {kinds} | {own:.1f} |")


def _first_step(titles: list[Title], began: float) -> float:
    def stop(progress: Progress) -> None:
        if progress.frames or progress.done:
            raise _Begun

    try:
        prepare_catalogue(titles, "s3://store/roi", PrepareSettings(), RunSettings(), on_progress=stop)
    except _Begun:
        return time.perf_counter() - began
    raise SystemExit("the run ended before a new step had begun")


def _journal(folder: Path, items: list[WorkItem], store: dict[str, Thing], died: bool) -> dict[str, Thing]:
    """What the journal of the run before holds, as objects below OUT."""
    journal = Journal(str(folder), "20250101T000000-abcdef", "prepare", {})
    for first in range(0, len(items), BATCH):
        for item in items[first : first + BATCH]:
            title_id = item.title.title_id
            lies = store[f"roi/maps/{title_id}.parquet"]
            file = SourceInfo("", lies.size, lies.written_s * 10**9, lies.etag)
            outcome = Outcome(title_id, item.title.uri, "done", path=f"maps/{title_id}.parquet", frames=24)
            assert item.fingerprint is not None
            journal.add(
                replace(outcome, fingerprint=item.fingerprint, file=file, figures={"shots": 1, "maps": 3})
            )  # fmt: skip
        journal._flush()  # a few seconds have gone by
    if not died:
        journal.close("ended", {})
    return {f"roi/{file.relative_to(folder)}": thing(file.read_bytes()) for file in folder.rglob("*") if file.is_file()}


def _named(content: str, size: int) -> Thing:
    """An object of that size whose content nobody should ask for."""
    return replace(thing(content.encode()), size=size, content=None)


def _key(uri: str) -> str:
    return uri.removeprefix("s3://store/")
