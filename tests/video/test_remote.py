"""Reading through `storage`'s file objects, as titles in object storage are."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.video.media import SETTINGS, assert_same, scan, size_for
from vsal import storage
from vsal.errors import Reason, TitleFailed
from vsal.video.container import open_container
from vsal.video.probe import probe
from vsal.video.scan import scan_segment
from vsal.video.segments import WHOLE, cut_segments


class Counting(io.FileIO):
    """A file that knows how much was read of it, and can fail."""

    opened: list[Counting] = []  # noqa: RUF012
    fail_after = 1 << 60

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.bytes_read = 0
        Counting.opened.append(self)

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(-1 if size is None else size)
        self.bytes_read += len(data)
        if self.bytes_read > Counting.fail_after:
            raise OSError(5, "connection reset")
        return data


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> type[Counting]:
    """Makes every local path look remote."""
    monkeypatch.setattr(storage, "local_path", lambda uri: None)
    monkeypatch.setattr(storage, "open_input", Counting)
    monkeypatch.setattr(Counting, "opened", [])
    return Counting


def test_a_remote_title_gives_the_same_scan_and_leaves_nothing_open(clip: Path, request: pytest.FixtureRequest) -> None:
    info = probe(str(clip))
    local = scan(info, [WHOLE])
    remote: type[Counting] = request.getfixturevalue("remote")
    assert probe(str(clip)) == info
    segments = cut_segments(info, 2.0)
    assert len(segments) > 4
    assert_same(local, scan(info, segments))
    assert len(remote.opened) > 6
    assert all(file.closed for file in remote.opened)


def test_a_segment_reads_its_own_part_of_a_remote_file(clip: Path, remote: type[Counting]) -> None:
    info = probe(str(clip))
    segment = cut_segments(info, 2.0)[2]
    remote.opened.clear()
    list(scan_segment(info, segment, SETTINGS, size_for))
    assert sum(file.bytes_read for file in remote.opened) < 6 * 256 * 1024  # a few buffers, however long the title


def test_a_connection_that_breaks_is_a_failed_title(
    clip: Path, remote: type[Counting], monkeypatch: pytest.MonkeyPatch
) -> None:
    info = probe(str(clip))
    monkeypatch.setattr("vsal.video.container.READ_BUFFER_BYTES", 4096)
    monkeypatch.setattr(remote, "fail_after", 60_000)
    with pytest.raises(TitleFailed) as caught:
        list(scan_segment(info, WHOLE, SETTINGS, size_for))
    assert caught.value.reason == Reason.UNREADABLE
    assert "connection reset" in caught.value.detail


def test_a_remote_file_cannot_open_another(tmp_path: Path, remote: type[Counting]) -> None:
    (tmp_path / "list.m3u8").write_text("\n#EXTM3U\n#EXTINF:2,\nsecret.ts\n")
    with pytest.raises(TitleFailed), open_container(str(tmp_path / "list.m3u8")):
        pass
    assert [Path(str(file.name)).name for file in remote.opened] == ["list.m3u8"]
