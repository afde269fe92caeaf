from __future__ import annotations

import json
from types import ModuleType

import av
import pytest

from jobs import encode_roi, evaluate_roi, prepare_roi
from tests.fixtures_jobs import Submitted
from vsal.manifest import read_manifest, validate


@pytest.mark.parametrize(
    ("job", "verb"), [(prepare_roi, ["prepare"]), (encode_roi, ["encode"]), (evaluate_roi, ["evaluate", "roi"])]
)
def test_a_job_joins_the_cluster_it_runs_on(job: ModuleType, verb: list[str]) -> None:
    tolerant = ["--max-failed", "100%"]
    assert job.arguments(["c", "--out", "o"]) == [*verb, "c", "--out", "o", "--address", "auto", *tolerant]
    assert job.arguments(["c", "--address", "ray:1"]) == [*verb, "c", "--address", "ray:1", *tolerant]
    assert job.arguments(["c", "--address=ray:1"]) == [*verb, "c", "--address=ray:1", *tolerant]
    assert job.arguments(["c", "--max-failed=2"]) == [*verb, "c", "--max-failed=2", "--address", "auto"]


def test_a_client_without_the_token_is_not_let_in(submitted: Submitted) -> None:
    assert submitted.stranger.returncode != 0


def test_submitted_jobs_write_the_manifest_and_the_encodes(submitted: Submitted) -> None:
    done = submitted.prepared
    documents = [json.loads(path.read_text()) for path in (submitted.out / "runs").glob("*.json")]
    assert [document["titles"]["done"] for document in documents] == [1], done.stdout + done.stderr
    assert read_manifest(str(submitted.out)).title("clip").frames == 72
    assert validate(str(submitted.out)) == []

    done = submitted.encoded
    documents = [json.loads(path.read_text()) for path in (submitted.dest / "runs").glob("*.json")]
    assert [document["titles"]["done"] for document in documents] == [1], done.stdout + done.stderr
    with av.open(str(submitted.dest / "clip.mp4")) as encoded:
        assert sum(1 for _ in encoded.decode(video=0)) == 72


def test_a_job_with_a_bad_file_in_it_succeeds(submitted: Submitted) -> None:
    (summary,) = (json.loads(path.read_text()) for path in (submitted.out / "runs").glob("*.json"))
    assert summary["titles"]["failed"] == 1
    assert submitted.states == {"prepare": "SUCCEEDED", "encode": "SUCCEEDED"}
