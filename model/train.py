"""The door to the trainings: `python -m model.train gaze|gaze-video|image|video ...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(words: Sequence[str] | None = None) -> None:
    """Train what the first word names, with the options after it; `words` in place of the process's own if given."""
    from model.training import gaze, gaze_video, students

    given = list(sys.argv[1:] if words is None else words)
    if given[:1] == ["gaze"]:
        gaze.main(given[1:])
    elif given[:1] == ["gaze-video"]:
        gaze_video.main(given[1:])
    else:
        students.main(given)


if __name__ == "__main__":
    main()
