"""The same encodes as Ray tasks: outcomes, resume, a lost worker, one bad title among good ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.encode.test_title import settings_of, times_of
from tests.encode.titles import write_manifest, write_source
from vsal.distributed.encode import EncodeSummary, encode_catalogue
from vsal.encode.settings import Codec, EncodeSettings, SettingIgnored
from vsal.errors import Reason, SettingsError
from vsal.settings import RunSettings


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """OUT with a good title, and one whose source is gone."""
    folder = tmp_path_factory.mktemp("catalogue")
    good, gone = write_source(folder / "good.mp4"), write_source(folder / "gone.mp4", 24)
    for title_id, source in (("good", good), ("gone", gone)):
        write_manifest(folder / "out", source, title_id=title_id)
    gone.unlink()
    return folder / "out", good, folder / "dest"


@pytest.fixture(scope="module")
def summary(catalogue: tuple[Path, Path, Path], ray_here: None) -> EncodeSummary:
    out, _, dest = catalogue
    settings = settings_of(Codec.X264, chunked=True, chunk_s=1.0)
    return encode_catalogue(str(out), str(dest), settings, RunSettings())


@pytest.fixture(scope="module")
def ray_here() -> object:
    import ray

    if not ray.is_initialized():
        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=10**8, log_to_driver=False)
        yield
        ray.shutdown()
    else:
        yield


def test_a_bad_title_does_not_stop_the_others(summary: EncodeSummary, catalogue: tuple[Path, Path, Path]) -> None:
    _, good, dest = catalogue
    by_id = {outcome.title_id: outcome for outcome in summary.outcomes}
    assert by_id["good"].status == "done"
    assert by_id["good"].chunks == 3
    assert by_id["gone"].reason is Reason.SOURCE_NOT_FOUND
    assert summary.exit_code == 1
    assert times_of(dest / by_id["good"].path) == times_of(good)
    assert json.loads(json.dumps(summary.document()))["titles"] == {"done": 1, "skipped": 0, "failed": 1}


def test_a_second_run_finds_it_done(summary: EncodeSummary, catalogue: tuple[Path, Path, Path]) -> None:
    out, _, dest = catalogue
    settings = settings_of(Codec.X264, chunked=True, chunk_s=1.0)
    again = encode_catalogue(str(out), str(dest), settings, RunSettings(), title_ids=["good"])
    assert [outcome.status for outcome in again.outcomes] == ["skipped"]


def test_ignored_maps_stop_the_run_before_any_work(catalogue: tuple[Path, Path, Path], tmp_path: Path) -> None:
    out, _, _ = catalogue
    with pytest.raises(SettingIgnored):
        encode_catalogue(
            str(out), str(tmp_path), EncodeSettings(Codec.X264, encoder_options={"qp": "20"}), RunSettings()
        )
    with pytest.raises(SettingsError, match="nobody"):
        encode_catalogue(str(out), str(tmp_path), EncodeSettings(Codec.X264), RunSettings(), title_ids=["nobody"])
    assert list(tmp_path.iterdir()) == []
