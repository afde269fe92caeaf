"""A catalogue of 200 titles on an S3 server, one of them no video: submitted with a token, under the least rights."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import moto.settings
import pytest
from moto.core.responses import ActionAuthenticatorMixin

from tests import handmade
from tests.cluster.head import Head, running_head
from tests.cluster.manifests import KUBERAY
from tests.fixtures_s3 import S3Server
from vsal.distributed import parts

TITLES = 200
BAD = "title-117"


@dataclass(frozen=True)
class Store:
    """Two buckets and a user who may do with them what cluster/kuberay/least_rights.json says."""

    videos: str
    results: str
    keys: dict[str, str]


@pytest.fixture
def store(s3_server: S3Server) -> Store:
    videos, results = s3_server.bucket(), s3_server.bucket()
    policy = (KUBERAY / "least_rights.json").read_text()
    for name, uri in (("VIDEOS_BUCKET", videos), ("RESULTS_BUCKET", results)):
        policy = policy.replace(name, uri.removeprefix("s3://"))
    iam = boto3.client("iam", region_name="us-east-1", endpoint_url=s3_server.endpoint)
    iam.create_user(UserName="vsal")
    iam.put_user_policy(UserName="vsal", PolicyName="least", PolicyDocument=policy)
    made = iam.create_access_key(UserName="vsal")["AccessKey"]
    keys = {"AWS_ACCESS_KEY_ID": made["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": made["SecretAccessKey"]}
    return Store(videos, results, keys)


@contextmanager
def rights_checked() -> Iterator[None]:
    """Every request of anybody is held to the rights of who sends it; before and after, all are let in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(moto.settings, "INITIAL_NO_AUTH_ACTION_COUNT", 0.0)
        patch.setattr(ActionAuthenticatorMixin, "request_count", 0)
        yield


@pytest.fixture
def catalogue(store: Store, s3_server: S3Server, tmp_path: Path) -> str:
    clip = handmade.write_clip(tmp_path / "clip.mp4", shots=1).read_bytes()
    names = [f"title-{number:03d}" for number in range(TITLES)]
    for name in names:
        s3_server.put(f"{store.videos}/in/{name}.mp4", b"no video" * 200 if name == BAD else clip)
    lines = [f"{store.videos}/in/{name}.mp4,{name}" for name in names]
    s3_server.put(f"{store.videos}/catalogue.csv", "\n".join(["uri,title_id", *lines]).encode())
    return f"{store.videos}/catalogue.csv"


def documents(s3: S3Server, place: str, prefix: str) -> list[dict[str, Any]]:
    """JSON files below a prefix, in the order of their names."""
    bucket = place.removeprefix("s3://").partition("/")[0]
    inside = place.removeprefix(f"s3://{bucket}/")
    keys = sorted(key for key in s3.keys(f"{place}/{prefix}") if key.endswith(".json"))
    assert all(key.startswith(inside) for key in keys)
    return [json.loads(s3.client.get_object(Bucket=bucket, Key=key)["Body"].read()) for key in keys]


def ends_as(state: str, head: Head, name: str, *words: str) -> None:
    """Submits a job, and compares the state that it ends with."""
    done = head.submit(sys.executable, "-m", *words, submission_id=name)
    assert head.status(name) == state, done.stdout[-4000:] + done.stderr[-2000:]


@pytest.mark.faults  # minutes, and one of the titles is bad
@pytest.mark.timeout(900)
def test_two_hundred_titles_with_a_bad_one_among_them(
    store: Store, catalogue: str, s3_server: S3Server, tmp_path: Path
) -> None:
    roi, encoded = f"{store.results}/roi", f"{store.results}/encoded"
    prepare = ("jobs.prepare_roi", catalogue, "--out", roi)
    encode = ("jobs.encode_roi", roi, "--dest", encoded, "--preset", "superfast", "--no-chunked")
    with running_head(tmp_path, extra=store.keys) as head, rights_checked():
        ends_as("SUCCEEDED", head, "prepare", *prepare, "--max-failed", "2%")
        ends_as("SUCCEEDED", head, "encode", *encode, "--max-failed", "2%")
        # Nothing is left but the bad one, which is now too many.
        ends_as("FAILED", head, "again", *prepare, "--max-failed", "0")

    first, again = documents(s3_server, roi, "runs/")
    assert first["titles"] == {"done": TITLES - 1, "skipped": 0, "failed": 1}
    assert [(failed["title_id"], failed["reason"]) for failed in first["failed"]] == [(BAD, "unreadable")]
    assert again["titles"] == {"done": 0, "skipped": TITLES - 1, "failed": 1}
    (made,) = documents(s3_server, encoded, "runs/")
    assert made["titles"] == {"done": TITLES - 1, "skipped": 0, "failed": 0}
    for place, failed in ((roi, 1), (encoded, 0)):
        told = status(place)
        assert (told["titles"]["done"], told["titles"]["failed"]) == (TITLES - 1, failed)
        assert told["reasons"] == ({"unreadable": 1} if failed else {})
        by_status = in_the_journal(place)
        assert by_status["done"] + by_status["skipped"] == TITLES - 1
        assert by_status["failed"] == failed
    assert sum(key.endswith(".mp4") for key in s3_server_keys(s3_server, encoded)) == TITLES - 1


def status(place: str) -> dict[str, Any]:
    """`vsal status PLACE --json`."""
    command = [sys.executable, "-m", "vsal", "status", place, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def in_the_journal(place: str) -> Counter[str]:
    """How the titles of a place ended, by its journal."""
    rows = parts.newest(parts.read_all(place).table)
    return Counter(outcome.status for outcome, _ in parts.outcomes_in(rows))


def s3_server_keys(s3: S3Server, place: str) -> list[str]:
    """All keys below a place, however many."""
    bucket, _, prefix = place.removeprefix("s3://").partition("/")
    pages = s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]
