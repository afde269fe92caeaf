"""A store in trouble is waited for at the very access that met it: real answers, over real connections."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any, get_args

import pytest

from tests.fixtures_s3 import S3Server
from tests.troubled_store import Trouble, TroubledStore, troubled
from vsal import storage
from vsal.distributed.failures import PASSING, classify
from vsal.storage import patience, places

DATA = os.urandom(900_000)
KINDS: tuple[Trouble, ...] = get_args(Trouble)
ACCESSES: dict[str, Callable[[str, str], Any]] = {
    "stat": lambda folder, options: storage.stat(f"{folder}/k{options}").size,
    "exists": lambda folder, options: storage.exists(f"{folder}/k{options}"),
    "list": lambda folder, options: [info.size for info in storage.list_files(f"{folder}{options}")],
    "read": lambda folder, options: storage.read_bytes(f"{folder}/k{options}") == DATA,
    "write": lambda folder, options: storage.write_bytes(f"{folder}/new{options}", DATA).size,
    "remove": lambda folder, options: storage.remove(f"{folder}/gone{options}"),
}
NOT_CUT = ("stat", "exists", "write", "remove")  # whose answers have no body that could be


@pytest.fixture
def store(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[TroubledStore]:
    """One whose client tries nothing again by itself, which takes some seconds each time."""
    monkeypatch.setattr(places, "S3_ATTEMPTS", 1)
    monkeypatch.setattr(patience, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(patience, "_in_vain", set())
    with troubled(s3_server.endpoint) as proxy:
        yield proxy


@pytest.fixture
def folder(s3_server: S3Server) -> str:
    bucket = s3_server.bucket()
    s3_server.put(f"{bucket}/videos/k", DATA)
    return f"{bucket}/videos"


def options(store: TroubledStore) -> str:
    return f"?endpoint_override={store.endpoint.removeprefix('http://')}&scheme=http&region=us-east-1"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("access", ACCESSES)
def test_every_access_outlives_a_trouble_and_would_tell_one_that_lasts(
    access: str, kind: Trouble, store: TroubledStore, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "cut" and access in NOT_CUT:
        pytest.skip("the answer has no body")
    undisturbed = ACCESSES[access](folder, options(store))
    store.trouble(kind, 0.5)
    assert ACCESSES[access](folder, options(store)) == undisturbed
    assert store.met[kind] >= 2, "it was the client that tried again"
    store.trouble(kind, 60)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.0)
    with pytest.raises(OSError, match="AWS Error") as caught:
        ACCESSES[access](folder, options(store))
    assert classify(caught.value).rule is PASSING, f"what the store says is not known: {caught.value}"


@pytest.mark.parametrize("kind", KINDS)
def test_reading_goes_on_in_the_middle_of_a_file(kind: Trouble, store: TroubledStore, folder: str) -> None:
    file = storage.open_input(f"{folder}/k{options(store)}")
    parts = [file.read(100_000)]
    store.trouble(kind, 0.5)
    while part := file.read(70_000):
        parts.append(part)
    assert b"".join(parts) == DATA
    assert store.met[kind] >= 2


def test_a_store_that_does_not_come_back_is_waited_for_once(
    store: TroubledStore, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PATIENCE_S", 1.0)

    def requests() -> int:
        before = store.met["busy"]
        with pytest.raises(OSError, match="503"):
            storage.stat(f"{folder}/k{options(store)}")
        return store.met["busy"] - before

    store.trouble("busy", 60)
    assert requests() > 2
    assert requests() == 1, "each title of a catalogue would wait"
    store.trouble("busy", 0)
    assert storage.stat(f"{folder}/k{options(store)}").size == len(DATA)
    store.trouble("busy", 60)
    assert requests() > 2, "it answered in between"


def test_what_does_not_pass_is_told_at_once(store: TroubledStore, folder: str) -> None:
    began = time.monotonic()
    with pytest.raises(FileNotFoundError):
        storage.stat(f"{folder}/none{options(store)}")
    with pytest.raises(OSError, match="NO_SUCH_BUCKET"):
        storage.write_bytes(f"s3://no-such-bucket-here/x{options(store)}", b"x")
    assert time.monotonic() - began < 5
