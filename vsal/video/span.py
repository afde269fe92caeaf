"""Whether a title's length by its frames' times is what its container says of it."""

from __future__ import annotations

from vsal.errors import Reason, TitleFailed
from vsal.video.probe import VideoInfo

# How much two lengths may differ. Of real files with right times, headers are up to 2 % off or altogether wrong, and
# rates up to 20 % (MPEG-1); coding times taken for display times make 1.4 to 2.3 times the length.
SPAN_SHARE = 0.2
SLACK_FRAMES = 2  # beside it: containers count the last frame's duration or do not, and begin a frame earlier or later


def check_span(info: VideoInfo, frames: int, span_s: float) -> str:
    """Compare a title's length with what its container says, and with its number of frames.

    Args:
        info: of the title.
        frames: decoded.
        span_s: from the first frame's time to the end of the last one.

    Returns:
        a sentence of warning where only the header's duration is wrong, else "".

    Raises:
        TitleFailed: the header and the number of frames agree with each other and contradict the times.
    """
    if not info.duration_s:
        return ""
    frame_s = float(info.frame_duration * info.time_base)
    counted_s = float(frames / info.fps) if info.fps else None
    if not _differ(span_s, info.duration_s, frame_s):
        return ""
    if counted_s is None or not _differ(span_s, counted_s, frame_s) or _differ(counted_s, info.duration_s, frame_s):
        return f"its frames span {span_s:.2f} s, its header says {info.duration_s:.2f} s; the frames were believed"
    assert info.fps is not None
    raise TitleFailed(
        Reason.DECODE_ERROR,
        f"the times of {info.uri} are wrong: they span {span_s:.2f} s, but its header says {info.duration_s:.2f} s and "
        f"{frames} frames at {float(info.fps):.3f} a second take {counted_s:.2f} s; write it anew with right times "
        f"(ffmpeg -i IN -vf setpts=N/({info.fps}*TB) -r {info.fps} OUT)",
    )


def _differ(one_s: float, other_s: float, frame_s: float) -> bool:
    return abs(one_s - other_s) > SPAN_SHARE * other_s + SLACK_FRAMES * frame_s
