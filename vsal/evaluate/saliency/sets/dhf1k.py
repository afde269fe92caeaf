"""DHF1K (Wang et al., CVPR 2018): `annotation/0601/{maps,fixation}/0001.png`, frames in `annotation/0601/images/` or
videos `video/601.AVI`.
"""

from __future__ import annotations

from vsal.evaluate.saliency.items import Reading, folder_of, video_fps
from vsal.evaluate.saliency.sets.folders import VIDEOS, folder_item, number_of, with_truth

VALIDATION = range(601, 701)
TRAINED_ON = "1 to 600, which it gives out to train on"
FPS = 30.0  # of the set given out as frames, as its authors state it


def dhf1k(path: str, train: bool = False) -> Reading:
    """DHF1K (Wang et al., CVPR 2018): its validation videos 601 to 700 if they are there, else all with truth."""
    root = folder_of(path)
    folders = with_truth(root / "annotation" if (root / "annotation").is_dir() else root)
    validation = [f for f in folders if f.name.isdigit() and int(f.name) in VALIDATION]
    videos = {number_of(file): file for file in root.rglob("*") if file.suffix.lower() in VIDEOS}
    items = []
    others = [f for f in folders if f not in validation]
    for folder in others if train else validation or others:
        video = videos.get(number_of(folder))
        items.append(folder_item(folder, video, FPS if video is None else video_fps(video)))
    part = "videos of its validation part, 601 to 700" if validation and not train else f"videos of {TRAINED_ON}"
    return Reading("gaze", items, part)
