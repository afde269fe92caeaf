"""What a resume costs: committed titles in an object store, some new ones, and a latency for each request.

python -m benchmarks.resume --committed 100000 --new 1000 --latency-ms 20

The store is a process of its own that lists in pages; what it takes itself to make them is printed apart. A run `ended`
has one part of its journal, one that was `killed` the parts that it had written until then. What is timed is
`prepare_catalogue` from its call to the first step of a new title, Ray's start in it told apart.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

from benchmarks.paged_store import BUCKET, WRITTEN, asked, serving
from vsal import manifest
from vsal.catalog import Title
from vsal.distributed.outcomes import Outcome, Progress
from vsal.distributed.parts import Part, as_bytes, rows_of
from vsal.distributed.prepare import prepare_catalogue
from vsal.saliency.registry import load_model
from vsal.settings import PrepareSettings, RunSettings
from vsal.storage import SourceInfo

SECONDS_A_PART = 5.0
TITLES_A_SECOND = 19.0  # of the run that committed them


class Begun(Exception):
    """The first new step has been submitted."""


def names(count: int) -> list[str]:
    """Of titles."""
    return [f"{number:07d}" for number in range(count)]


def parts_of(count: int, killed: bool) -> list[tuple[int, int]]:
    """First and last number of each part of a run that wrote so many: merged by tens, or all of them one."""
    if not killed:
        return [(0, count - 1)]
    found, at, size = [], 0, 10 ** len(str(count))
    while at < count:
        while at + size > count:
            size //= 10
        found.append((at, at + size - 1))
        at += size
    return found


def store_of(committed: int, new: int, killed: bool) -> dict[str, bytes]:
    """Objects: sources of all titles, manifests of those that are committed, and the journal of the run that did it."""
    settings = PrepareSettings()
    shaping, model = settings.shaping(), load_model(settings.model).sha256
    mtime_ns = int(datetime.fromisoformat(WRITTEN).astimezone(UTC).timestamp()) * 10**9
    objects = {f"films/{name}.mp4": name.encode() for name in names(committed + new)}
    ended = []
    for number, name in enumerate(names(committed)):
        uri, data = f"s3://{BUCKET}/films/{name}.mp4", f"maps of {name}".encode()
        source = SourceInfo(uri, len(name), mtime_ns, md5(name.encode()).hexdigest())
        file = SourceInfo("", len(data), mtime_ns, md5(data).hexdigest())
        objects[f"roi/maps/{name}.parquet"] = data
        outcome = Outcome(
            name, uri, "done", path=f"maps/{name}.parquet", frames=240, duration_s=10.0, seconds=1.0, attempts=1,
            fingerprint=manifest.fingerprint(source, model, shaping), file=file, figures={"shots": 3, "maps": 30},
        )  # fmt: skip
        ended.append((outcome, 10**18 + number))
    a_part = int(SECONDS_A_PART * TITLES_A_SECOND)
    for first, last in parts_of(-(-committed // a_part), killed):
        part = Part("20260101T000000-aaaaaa", first, last)
        rows = rows_of("prepare", ended[first * a_part : (last + 1) * a_part])
        objects[f"roi/journal/{part.name}.parquet"] = as_bytes(rows)
    return objects


def resume(committed: int, new: int, latency_s: float, killed: bool) -> dict[str, Any]:
    """One resume: seconds to the first new step, those of Ray's start among them, and what the store was asked."""
    objects = store_of(committed, new, killed)
    journal = sum(key.startswith("roi/journal") for key in objects)
    with serving(objects, latency_s) as endpoint:
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        titles = [Title(name, f"s3://{BUCKET}/films/{name}.mp4") for name in names(committed + new)]
        seen: dict[str, Any] = {}

        def look(progress: Progress) -> None:
            if progress.in_flight:
                seen.update(first_s=time.perf_counter() - began, asked=Counter(asked(endpoint)))
                seen["known"] = progress.skipped
                raise Begun

        began, cpu_s = time.perf_counter(), time.process_time()
        with suppress(Begun):
            prepare_catalogue(titles, f"s3://{BUCKET}/roi", PrepareSettings(), RunSettings(), on_progress=look)
        seen["cpu_s"] = time.process_time() - cpu_s
    return seen | {"parts": journal}


def main() -> None:
    """Prints one line for each kind of first run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--committed", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    given = parser.parse_args()
    print(f"{given.committed} committed titles, {given.new} new ones, {given.latency_ms:g} ms a request")
    for killed in (False, True):
        told = resume(given.committed, given.new, given.latency_ms / 1000, killed)
        server_s = told["asked"].pop("server_s")
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(told["asked"].items()))
        print(
            f"first run {'killed' if killed else 'ended'} ({told['parts']} parts): first new step after "
            f"{told['first_s']:.1f} s, {told['known']} known, {sum(told['asked'].values())} requests ({kinds}); the "
            f"store's own work {server_s:.1f} s, CPU of the driver {told['cpu_s']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
