"""A title's shots as lists: for editors, for scene-wise encoders, for containers' chapters."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import quote

from vsal.encode.exports.settings import ExportSettings
from vsal.errors import SettingsError
from vsal.manifest import TitleManifest
from vsal.video.probe import VideoInfo

_EDL_LONGEST_S = 24 * 3600  # its timecodes begin anew at midnight
_EDL_MOST_SHOTS = 999  # CMX 3600 numbers its events in three digits
# PySceneDetect's `list-scenes` writes these; its reports are what people's scripts read.
_SCENE_COLUMNS = (
    "Scene Number", "Start Frame", "Start Timecode", "Start Time (seconds)", "End Frame", "End Timecode",
    "End Time (seconds)", "Length (frames)", "Length (timecode)", "Length (seconds)",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shot:
    """A shot in the title's own time, which begins with its first frame.

    Attributes:
        frame_end: one past its last frame.
        start: in seconds, exact.
        end: where its last frame ends, in seconds.
    """

    number: int
    frame_start: int
    frame_end: int
    start: Fraction
    end: Fraction


def shots_of(title: TitleManifest) -> list[Shot]:
    """The shots of a title, in order."""
    tick = VideoInfo.from_json(title.video).time_base
    found: list[Shot] = []
    first_pts: int | None = None
    columns = ["shot", "frame_start", "frame_end", "pts_start", "pts_end"]
    for index in range(title.groups):
        table = title.read_group(index, columns)
        for shot, frame_start, frame_end, pts_start, pts_end in zip(
            *(table.column(name).to_pylist() for name in columns), strict=True
        ):
            first_pts = pts_start if first_pts is None else first_pts
            end = (pts_end - first_pts) * tick
            if found and found[-1].number == shot:
                found[-1] = Shot(shot, found[-1].frame_start, frame_end, found[-1].start, end)
            else:
                found.append(Shot(shot, frame_start, frame_end, (pts_start - first_pts) * tick, end))
    return found


def keyframes(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """A keyframe at each shot, QP left to the encoder: all that a qpfile can say (`frame type qp`)."""
    for _, start, _ in title.shots():
        yield f"{start} I -1\n"


def scenes_csv(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """PySceneDetect's table, without the line of cuts above its header that no reader of CSV takes.

    As there frames are counted from 1, "End Frame" is the last one, and the end in time is that of this frame.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_SCENE_COLUMNS)
    for shot in shots_of(title):
        times = [(_clock(second), f"{float(second):.3f}") for second in (shot.start, shot.end, shot.end - shot.start)]
        count = shot.frame_end - shot.frame_start
        row = (shot.frame_start + 1, *times[0], shot.frame_end, *times[1], count, *times[2])
        table.writerow((shot.number + 1, *row))
    yield text.getvalue()


def edl(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """CMX 3600, one event a shot, without drop frames: a frame's number on the clock of the whole rate.

    Frames of a variable rate are counted as if they came at the average one.
    """
    info, found = VideoInfo.from_json(title.video), shots_of(title)
    fps = info.fps or Fraction(25)
    if len(found) > _EDL_MOST_SHOTS or found[-1].end > _EDL_LONGEST_S:
        raise SettingsError(
            f"{title.title_id} has {len(found)} shots in {float(found[-1].end) / 3600:.1f} hours, and an EDL holds "
            f"{_EDL_MOST_SHOTS} in 24: use --format otio"
        )
    yield f"TITLE: {_line(title.title_id)}\nFCM: NON-DROP FRAME\n"
    for number, shot in enumerate(found, 1):
        start, end = (_frames_clock(round(second * fps), round(fps)) for second in (shot.start, shot.end))
        yield f"\n{number:03d}  AX       V     C        {start} {end} {start} {end}\n"
        yield f"* FROM CLIP NAME: {_line(info.uri.rpartition('/')[2])}\n"


def otio(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """OpenTimelineIO: a timeline of one track, a clip a shot, all of one medium."""
    info, found = VideoInfo.from_json(title.video), shots_of(title)
    rate = float(info.fps or 25)
    medium = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "target_url": info.uri if "://" in info.uri else "file://" + quote(info.uri),
        "available_range": _range(Fraction(0), found[-1].end, rate),
    }
    clips = [
        {
            "OTIO_SCHEMA": "Clip.1",
            "name": f"shot {shot.number}",
            "source_range": _range(shot.start, shot.end, rate),
            "media_reference": medium,
            "metadata": {"vsal": {"shot": shot.number, "frame_start": shot.frame_start, "frame_end": shot.frame_end}},
        }
        for shot in found
    ]
    track = {"OTIO_SCHEMA": "Track.1", "name": "shots", "kind": "Video", "children": clips}
    stack = {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [track]}
    timeline = {"OTIO_SCHEMA": "Timeline.1", "name": title.title_id, "tracks": stack}
    yield json.dumps(timeline, indent=1) + "\n"


def ffmetadata(title: TitleManifest, settings: ExportSettings) -> Iterator[str]:
    """Chapters, for `ffmpeg -i SOURCE -i FILE -map_chapters 1`."""
    tick = VideoInfo.from_json(title.video).time_base
    yield ";FFMETADATA1\n"
    for shot in shots_of(title):
        yield f"[CHAPTER]\nTIMEBASE={tick.numerator}/{tick.denominator}\n"
        yield f"START={shot.start / tick}\nEND={shot.end / tick}\ntitle=shot {shot.number}\n"


def _range(start: Fraction, end: Fraction, rate: float) -> dict[str, object]:
    """In frames of the average rate, which OpenTimelineIO lets be fractional."""

    def time(second: Fraction) -> dict[str, object]:
        return {"OTIO_SCHEMA": "RationalTime.1", "rate": rate, "value": round(float(second) * rate, 6)}

    return {"OTIO_SCHEMA": "TimeRange.1", "start_time": time(start), "duration": time(end - start)}


def _clock(second: Fraction) -> str:
    milliseconds = round(second * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


def _frames_clock(frame: int, rate: int) -> str:
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"


def _line(text: str) -> str:
    """In one line, whatever a name holds."""
    return " ".join(text.split())
