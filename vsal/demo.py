"""The demonstration: a rendered title, its manifest, and a picture of each shot."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vsal import manifest, storage
from vsal.catalog import Title
from vsal.distributed.outcomes import Progress, Summary
from vsal.distributed.prepare import prepare_catalogue
from vsal.errors import SettingsError
from vsal.report.title import draw_title
from vsal.settings import PrepareSettings, RunSettings
from vsal.video.synthetic import render_title, synthetic_title

TITLE_ID = "demo"


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demonstration left behind, as absolute paths."""

    summary: Summary
    video: str
    manifest: str
    pictures: list[str]

    def document(self) -> dict[str, Any]:
        """The result as `vsal demo --json` prints it."""
        return {
            "video": self.video,
            "manifest": self.manifest,
            "pictures": self.pictures,
            "run": self.summary.document(),
        }


def run_demo(
    out: str,
    seconds: float = 12.0,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> DemoResult:
    """Render a title of 1280x720, prepare it on Ray on this machine and draw each of its shots.

    Args:
        out: a local folder; it gets demo.mp4, manifest/ and pictures/.
        seconds: length of the title.
        on_progress: told where the run stands.
        on_step: told what happens next.

    Raises:
        SettingsError: `out` is not a local folder, or cannot be written.
    """
    folder = storage.local_path(out)
    if folder is None:
        raise SettingsError(f"the demo writes to a local folder, not to {out}")
    folder = os.path.abspath(folder)
    storage.check_writable(folder)
    video, out_manifest = os.path.join(folder, f"{TITLE_ID}.mp4"), os.path.join(folder, "manifest")

    on_step(f"rendering {seconds:g} s of video, 1280x720")
    render_title(video, synthetic_title(1280, 720, shots=max(5, round(seconds / 2)), seconds=seconds))
    on_step("finding shots and saliency on local Ray")
    run = RunSettings(force=True)
    summary = prepare_catalogue([Title(TITLE_ID, video)], out_manifest, PrepareSettings(), run, on_progress=on_progress)
    pictures: list[str] = []
    if summary.exit_code == 0:
        on_step("drawing the shots")
        with manifest.read_manifest(out_manifest).title(TITLE_ID) as title:
            pictures = draw_title(title, os.path.join(folder, "pictures"))
    return DemoResult(summary, video, manifest.maps_uri(out_manifest, TITLE_ID), pictures)
