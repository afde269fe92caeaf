"""What a resume costs: committed titles in an object store, some new ones, and a latency for each request.

python -m benchmarks.resume --committed 100000 --new 1000 --latency-ms 20
python -m benchmarks.resume --kind encode --committed 100000 --new 0

The store is a process of its own that lists in pages; what it takes itself to make them is printed apart. A run `ended`
has one part of its journal, one that was `killed` the parts that it had written until then. What is timed is
`prepare_catalogue` or `encode_catalogue` from its call to the first step of a new title; to its end where none is new.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import md5, sha256
from typing import Any

from benchmarks.paged_store import BUCKET, WRITTEN, asked, serving
from vsal import manifest
from vsal.catalog import Title
from vsal.distributed.encode import encode_catalogue
from vsal.distributed.encode.work import outcome_of
from vsal.distributed.outcomes import Outcome, Progress
from vsal.distributed.parts import Part, as_bytes, rows_of
from vsal.distributed.prepare import prepare_catalogue
from vsal.distributed.work import Item
from vsal.encode.keys import asked_key, settings_key
from vsal.encode.record import version_of
from vsal.encode.settings import EncodeSettings
from vsal.saliency.registry import load_model
from vsal.settings import PrepareSettings, RunSettings
from vsal.storage import SourceInfo

SECONDS_A_PART = 5.0
TITLES_A_SECOND = 19.0  # of the run that committed them
ENCODE = EncodeSettings("x264")


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
    return objects | journal_of("roi", "prepare", ended, killed)


def store_of_encodes(committed: int, new: int, killed: bool) -> dict[str, bytes]:
    """Objects: manifests of all titles, encodes and records of those that are encoded, and the journal of that run."""
    mtime_ns = int(datetime.fromisoformat(WRITTEN).astimezone(UTC).timestamp()) * 10**9
    key, objects, ended = settings_key(ENCODE), dict[str, bytes](), []
    for number, name in enumerate(names(committed + new)):
        maps, fingerprint = f"maps of {name}".encode(), sha256(name.encode()).hexdigest()
        objects[f"roi/maps/{name}.parquet"] = maps
        if number >= committed:
            continue
        coded = f"encode of {name}".encode()
        manifest_file, output = (
            SourceInfo(uri, len(data), mtime_ns, md5(data).hexdigest())
            for uri, data in ((f"/{name}.parquet", maps), (f"/{name}.mp4", coded))
        )
        record: dict[str, Any] = {
            "asked": asked_key(fingerprint, key), "manifest": version_of(manifest_file) | {"fingerprint": fingerprint},
            "outputs": [version_of(output)], "frames": 240, "duration_s": 10.0, "chunks": [[0, 240]], "left_out": [],
            "budget": None,
        }  # fmt: skip
        data = json.dumps(record).encode()
        objects |= {f"enc/{name}.mp4": coded, f"enc/{name}.encode.json": data}
        written = SourceInfo(f"/{name}.encode.json", len(data), mtime_ns, md5(data).hexdigest())
        item = Item(name, f"s3://{BUCKET}/roi/maps/{name}.parquet", len(maps))
        ended.append((outcome_of(item, "done", record | {"record": version_of(written)}), 10**18 + number))
    return objects | journal_of("enc", "encode", ended, killed)


def journal_of(place: str, kind: str, ended: list[tuple[Outcome, int]], killed: bool) -> dict[str, bytes]:
    """The parts that a run has left of its journal."""
    a_part, objects = int(SECONDS_A_PART * TITLES_A_SECOND), {}
    for first, last in parts_of(-(-len(ended) // a_part), killed):
        part = Part("20260101T000000-aaaaaa", first, last)
        rows = rows_of(kind, ended[first * a_part : (last + 1) * a_part])
        objects[f"{place}/journal/{part.name}.parquet"] = as_bytes(rows)
    return objects


def resume(kind: str, committed: int, new: int, latency_s: float, killed: bool) -> dict[str, Any]:
    """One resume: seconds to the first new step, or to the end without one, and what the store was asked."""
    objects = (store_of if kind == "prepare" else store_of_encodes)(committed, new, killed)
    journal = sum("/journal/" in key for key in objects)
    with serving(objects, latency_s) as endpoint:
        os.environ |= {
            "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
        }  # fmt: skip
        titles = [Title(name, f"s3://{BUCKET}/films/{name}.mp4") for name in names(committed + new)]
        seen: dict[str, Any] = {}

        def look(progress: Progress) -> None:
            if progress.in_flight:
                note(progress.skipped)
                raise Begun

        def note(known: int) -> None:
            seen.update(first_s=time.perf_counter() - began, asked=Counter(asked(endpoint)), known=known)

        began, cpu_s = time.perf_counter(), time.process_time()
        roi, run = f"s3://{BUCKET}/roi", RunSettings()
        with suppress(Begun):
            if kind == "prepare":
                summary = prepare_catalogue(titles, roi, PrepareSettings(), run, on_progress=look)
            else:
                summary = encode_catalogue(roi, f"s3://{BUCKET}/enc", ENCODE, run, on_progress=look)
            note(summary.count("skipped"))
        seen["cpu_s"] = time.process_time() - cpu_s
    return seen | {"parts": journal}


def main() -> None:
    """Prints one line for each kind of first run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("prepare", "encode"), default="prepare")
    parser.add_argument("--committed", type=int, default=100_000)
    parser.add_argument("--new", type=int, default=1000)
    parser.add_argument("--latency-ms", type=float, default=20.0)
    given = parser.parse_args()
    print(f"{given.kind}: {given.committed} committed titles, {given.new} new ones, {given.latency_ms:g} ms a request")
    for killed in (False, True):
        told = resume(given.kind, given.committed, given.new, given.latency_ms / 1000, killed)
        server_s = told["asked"].pop("server_s")
        until = "first new step" if given.new else "end"
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(told["asked"].items()))
        print(
            f"first run {'killed' if killed else 'ended'} ({told['parts']} parts): {until} after "
            f"{told['first_s']:.1f} s, {told['known']} known, {sum(told['asked'].values())} requests ({kinds}); the "
            f"store's own work {server_s:.1f} s, CPU of the driver {told['cpu_s']:.1f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
