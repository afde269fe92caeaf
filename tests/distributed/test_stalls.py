"""Clocks run when work runs: many titles wait their turn without a time-out, and what hangs is ended."""

from __future__ import annotations

import re
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from tests.distributed.conftest import rendered
from tests.distributed.killing import processes
from tests.distributed.manifests import same_maps
from tests.encode.titles import write_manifest, write_source
from vsal.catalog import Title
from vsal.distributed.encode import encode_catalogue
from vsal.distributed.prepare import prepare_catalogue
from vsal.encode.settings import EncodeSettings
from vsal.errors import Reason, SettingsError
from vsal.settings import PrepareSettings, RunSettings
from vsal.video.synthetic import synthetic_title


@pytest.mark.long
def test_40_titles_on_32_logical_cpus_of_a_small_machine_all_end_done(tmp_path: Path) -> None:
    clip = rendered(tmp_path / "clip.mp4", synthetic_title(320, 180, 24, 2, 3, seed=1), gop=24)
    titles = [Title(f"t{i}", str(clip)) for i in range(40)]
    ray.init("local", num_cpus=32, include_dashboard=False, object_store_memory=200_000_000, log_to_driver=False)
    try:
        summary = prepare_catalogue(
            titles,
            str(tmp_path / "out"),
            PrepareSettings(),
            RunSettings(stall_s=60, saliency_actors=1, windows_in_flight=1),
        )
    finally:
        ray.shutdown()
    assert [(outcome.title_id, outcome.status) for outcome in summary.outcomes] == [
        (t.title_id, "done") for t in titles
    ]


def hanging(folder: Path, when: str, but: str = "nothing") -> str:
    """SvtAv1EncApp that takes some bytes and then nothing more, once its options match, but for some that match too."""
    real = shutil.which("SvtAv1EncApp")
    if real is None:
        pytest.skip("SvtAv1EncApp is not installed")
    program = folder / "SvtAv1EncApp"
    hang = f'echo "$*" >>{folder}/asked\nhead -c 1000 >/dev/null\nexec sleep 6543'
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{but}) ;;\n{when}) {hang};;\nesac\nexec {real} "$@"\n')
    program.chmod(0o755)
    return str(program)


def sleepers() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "6543"]]


@pytest.mark.usefixtures("local_ray")
def test_a_hung_encoder_program_is_ended_and_its_title_told(tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", write_source(tmp_path / "clip.mp4", 24, 640, 384))
    settings = EncodeSettings("svtav1", preset="12", program=hanging(tmp_path, "*--roi-map-file*", but="*-trial-*"))
    summary = encode_catalogue(str(tmp_path / "out"), str(tmp_path / "dest"), settings, RunSettings(stall_s=4))
    (outcome,) = summary.outcomes
    assert (outcome.status, outcome.reason, outcome.attempts) == ("failed", Reason.TIMEOUT, 2)
    assert outcome.detail == "chunk 0 of 1, frames 0 to 23, made no progress for 4 s (--stall-s)"
    assert not sleepers()
    folders = re.findall(r"\S+/\.vsal-staging-\S+-svtav1-\w+", (tmp_path / "asked").read_text())
    assert len(folders) == 2
    assert not [folder for folder in folders if Path(folder).exists()]
    assert not [
        path for path in (tmp_path / "dest").rglob("*") if path.is_file() and not {"runs", "journal"} & set(path.parts)
    ]


def test_an_encoder_that_hangs_in_its_trial_stops_the_run(tmp_path: Path) -> None:
    write_manifest(tmp_path / "out", write_source(tmp_path / "clip.mp4", 24, 640, 384))
    settings = EncodeSettings("svtav1", preset="12", program=hanging(tmp_path, "*stdin*"))
    with pytest.raises(SettingsError, match="a trial of svtav1 made no progress for 2 s"):
        encode_catalogue(str(tmp_path / "out"), str(tmp_path / "dest"), settings, RunSettings(stall_s=2))
    assert not sleepers()


@pytest.mark.usefixtures("local_ray")
def test_a_hung_aggregator_is_replaced_and_other_titles_go_on(
    long_clip: Path, clip: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("vsal.distributed.run.RESTART_S", 3.0)
    titles = [Title("long", str(long_clip)), *(Title(f"short{i}", str(clip)) for i in range(3))]
    ended: list[tuple[str, float]] = []
    stopped: list[float] = []

    def stop() -> None:
        while not stopped:
            for process in processes("Aggregator"):
                if processes("scan_task"):
                    process.send_signal(signal.SIGSTOP)
                    stopped.append(time.monotonic())
                    break
            time.sleep(0.01)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    summary = prepare_catalogue(
        titles, str(tmp_path / "out"), PrepareSettings(), RunSettings(segment_s=20, stall_s=4),
        on_progress=lambda p: ended.append((p.finished.title_id, time.monotonic())) if p.finished else None,
    )  # fmt: skip
    thread.join()
    assert stopped
    assert [(outcome.status, outcome.attempts) for outcome in summary.outcomes] == [("done", 1)] * 4
    times = dict(ended)
    assert max(times[f"short{i}"] for i in range(3)) < times["long"], "one hung aggregator held all titles"
    prepare_catalogue([Title("long", str(long_clip))], str(tmp_path / "whole"), PrepareSettings(), RunSettings())
    same_maps(tmp_path / "out", tmp_path / "whole", "long")


@pytest.mark.usefixtures("local_ray")
def test_a_hung_decoder_is_ended_and_its_segment_done_again(long_clip: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("vsal.distributed.run.GIVE_UP_S", 1.0)
    stopped: list[psutil.Process] = []
    ended = threading.Event()

    def stop() -> None:
        while not stopped and not ended.is_set():
            for process in processes("scan_task 1"):
                time.sleep(0.3)  # for its first word, which is its first deed
                if process in processes("scan_task 1"):
                    process.send_signal(signal.SIGSTOP)
                    stopped.append(process)
                break
            time.sleep(0.01)

    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    many = PrepareSettings(sample_rate=24)
    run = RunSettings(segment_s=20, stall_s=3)
    (outcome,) = prepare_catalogue([Title("t", str(long_clip))], str(tmp_path / "out"), many, run).outcomes
    ended.set()
    thread.join()
    assert stopped, "the segment was done before it could be stopped"
    assert (outcome.status, outcome.attempts) == ("done", 2)
    assert not stopped[0].is_running() or stopped[0].status() == psutil.STATUS_ZOMBIE
