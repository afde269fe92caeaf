"""Maps for any ffmpeg: filter graphs that put each map's regions on its frames.

`addroi` can neither be switched off for a while nor told anything while it runs. So a graph splits the video into one
branch a map, cuts each to its frames, marks it, and puts them one behind the other again. `concat` guesses where a
branch ends, so the times are counted anew from the frames, which holds for a constant frame rate alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby

from vsal import storage
from vsal.encode.exports.files import write_lines
from vsal.encode.exports.settings import ExportSettings
from vsal.encode.maps.regions import QpUnit, filter_words, regions_of
from vsal.errors import SettingsError
from vsal.manifest import MapRow, TitleManifest
from vsal.video.probe import VideoInfo

MOST_MAPS = 200  # in one graph: each is a branch that sees all frames
OUTPUT = "[roi]"
_UNEVEN = Fraction(1, 4)  # of a frame, that a frame's time may be off a constant rate


def write(title: TitleManifest, dest: str, settings: ExportSettings) -> list[str]:
    """`DEST/<title>.filtergraph`; for titles of more maps a folder of such pieces and `encode.sh`, which joins them.

    Raises:
        SettingsError: the title has a variable frame rate.
    """
    info = VideoInfo.from_json(title.video)
    fps = _constant_rate(title, info)
    pieces = list(_pieces(title))
    if len(pieces) == 1:
        uri = storage.join(dest, f"{title.title_id}.filtergraph")
        write_lines(uri, _graph(title, info, fps, *pieces[0], settings))
        return [uri]
    folder = storage.join(dest, title.title_id)
    written = []
    for number, (start, end) in enumerate(pieces):
        written.append(storage.join(folder, f"{number:06d}.filtergraph"))
        write_lines(written[-1], _graph(title, info, fps, start, end, settings))
    written.append(storage.join(folder, "encode.sh"))
    write_lines(written[-1], _script(title, fps, info.time_base, pieces))
    return written


def _constant_rate(title: TitleManifest, info: VideoInfo) -> Fraction:
    """Frames a second.

    Raises:
        SettingsError: they do not come evenly.
    """
    rows = [
        row
        for index in range(title.groups)
        for row in title.read_group(index, ["frame_start", "pts_start"]).to_pylist()
    ]
    first, last = title.map_at(0), title.map_at(title.frames - 1)
    step = Fraction(last.pts_end - first.pts_start, title.frames)  # in ticks
    most = max(Fraction(2), _UNEVEN * step)  # containers round times to their ticks
    for row in rows:
        late = row["pts_start"] - first.pts_start - row["frame_start"] * step
        if abs(late) > most:
            raise SettingsError(
                f"{title.title_id} has a variable frame rate (frame {row['frame_start']} comes "
                f"{float(abs(late) * info.time_base):.3f} s {'late' if late > 0 else 'early'}), and ffmpeg's filters "
                "lose its times: use `vsal encode`, which keeps them"
            )
    told = info.fps
    if told is not None and abs(title.frames / told - title.frames * step * info.time_base) < 1 / (2 * told):
        return told
    return 1 / (step * info.time_base)


def _pieces(title: TitleManifest) -> Iterator[tuple[int, int]]:
    """First frame and one past the last of each piece: whole shots as far as they fit, of up to MOST_MAPS maps."""
    spans: list[tuple[int, int, int]] = []  # shot, first frame, end
    for index in range(title.groups):
        table = title.read_group(index, ["shot", "frame_start", "frame_end"])
        spans += zip(*(column.to_pylist() for column in table.columns), strict=True)
    open_maps, start, end = 0, 0, 0
    for _, group in groupby(spans, key=lambda span: span[0]):
        shot = list(group)
        if open_maps and open_maps + len(shot) > MOST_MAPS:
            yield start, end
            open_maps, start = 0, end
        for _, _, frame_end in shot:
            if open_maps == MOST_MAPS:
                yield start, end
                open_maps, start = 0, end
            open_maps, end = open_maps + 1, frame_end
    yield start, end


def _graph(
    title: TitleManifest, info: VideoInfo, fps: Fraction, start: int, end: int, settings: ExportSettings
) -> Iterator[str]:
    rows = list(title.iter_maps(start, end))
    yield f"[0:{info.stream_index}]split={len(rows)}" + "".join(f"[s{number}]" for number in range(len(rows))) + ";\n"
    for number, row in enumerate(rows):
        frames = f"start_frame={row.frame_start - start}:end_frame={row.frame_end - start}"
        words = [f"trim={frames}", "setpts=PTS-STARTPTS", *(f"addroi={words}" for words in _regions(row, settings))]
        yield f"[s{number}]" + ",\n".join(words) + f"[m{number}];\n"
    joined = "".join(f"[m{number}]" for number in range(len(rows)))
    yield f"{joined}concat=n={len(rows)},setpts=N/({fps})/TB{OUTPUT}\n"


def _regions(row: MapRow, settings: ExportSettings) -> list[str]:
    unit = QpUnit.at_depth(settings.bit_depth)
    return filter_words(regions_of(row.qp_offset, unit, settings.max_rectangles), row.width, row.height, unit)


_SCRIPT = """\
#!/bin/sh
# Encodes {title} with its maps, {count} pieces one after the other, and joins them without coding them again.
#   sh encode.sh SOURCE DEST [options of the encoder, such as -c:v libx264 -crf 23]
# FFMPEG names another ffmpeg.
set -eu
[ $# -ge 2 ] || {{ echo "usage: sh encode.sh SOURCE DEST [options of the encoder]" >&2; exit 2; }}
here=$(dirname "$0"); source=$1; dest=$2; shift 2
[ $# -gt 0 ] || set -- -c:v libx264
parts=$(mktemp -d)
trap 'rm -rf "$parts"' EXIT
piece() {{ # number, second in the source, frames; then the encoder
    name=$1; second=$2; frames=$3; shift 3
    "${{FFMPEG:-ffmpeg}}" -nostdin -v error -seek_timestamp 1 -ss "$second" -i "$source" \\
        -/filter_complex "$here/$name.filtergraph" -map '{output}' -frames:v "$frames" -an \\
        -enc_time_base 1:{ticks} -video_track_timescale {ticks} "$@" "$parts/$name.mp4"
    echo "file '$parts/$name.mp4'" >> "$parts/list.txt"
}}
"""


def _script(title: TitleManifest, fps: Fraction, tick: Fraction, pieces: list[tuple[int, int]]) -> Iterator[str]:
    name = " ".join(title.title_id.split())
    # A frame of such a clock is a whole number of its ticks, so no piece rounds its times.
    yield _SCRIPT.format(title=name, count=len(pieces), output=OUTPUT, ticks=fps.numerator)
    for number, (start, end) in enumerate(pieces):
        # Half a frame before it: a seek lands on the first frame that is not earlier.
        second = title.map_at(start).pts_start * tick - 1 / (2 * fps)
        yield f'piece {number:06d} {float(second):.6f} {end - start} "$@"\n'
    yield (
        '"${FFMPEG:-ffmpeg}" -nostdin -v error -y -f concat -safe 0 -i "$parts/list.txt" -i "$source" '
        "-map 0:v -map '1:a?' -c copy \"$dest\"\n"
    )
