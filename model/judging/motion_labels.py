"""Do labels that know time beat those of single frames? Held to recorded gaze, before anything is trained on them.

    python -m model.motion_labels --clips GAZE_CLIPS --teacher model/shipped/image_saliency_student_v2.onnx

NSS and CC are those of `vsal evaluate saliency`: 12 moments a second, odd observers; of maps at the network's own grid.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np

from model.data import motion_labels
from model.data.motion_labels import F32
from model.networks.gaze_file import Seer, read_gaze_network
from vsal.evaluate.saliency import metrics
from vsal.evaluate.saliency.observed import judged_size, looks_at, observers
from vsal.evaluate.saliency.sets.gaze import open_gaze_clips
from vsal.saliency.density import saliency_of


def main() -> None:
    """Parse the command line and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", required=True, help="folder of videos and fixations.parquet; to judge, not to train")
    parser.add_argument("--teacher", required=True, type=Path, help="image model of `model.export gaze`")
    args = parser.parse_args()
    teacher = read_gaze_network(args.teacher)
    seer = Seer(teacher.net)
    rows: dict[str, list[tuple[float, float]]] = {}
    for clip in open_gaze_clips(args.clips):
        shown = motion_labels.show(clip.path, teacher.input_pixels)
        single = np.stack([seer.see(frame)[0] for frame in shown.frames])
        smooth = motion_labels.smoothed(single, shown)
        drawn = smooth + np.log(motion_labels.local_motion(shown, smooth.shape[:0:-1]))
        size = judged_size(shown.frames.shape[2] / shown.frames.shape[1])
        looks = looks_at(clip.fixations, observers(clip.fixations, odd=True), shown.times_s, size)
        seen = looks.counts.any(axis=(1, 2))
        for name, log_density in (("single", single), ("smoothed", smooth), ("smoothed x motion", drawn)):
            for cut in (False, True):
                maps = _on(np.exp(log_density), size, cut)[seen]
                scores = metrics.nss(maps, looks.counts[seen]), metrics.cc(maps, looks.density[seen])
                rows.setdefault(name + (", cut at 20 means" if cut else ""), []).append(
                    (float(np.nanmean(scores[0])), float(np.nanmean(scores[1])))
                )
    for name, scores in rows.items():
        nss, cc = np.mean(scores, 0)
        print(f"{name:36s} NSS {nss:.3f} CC {cc:.3f} over {len(scores)} clips")


def _on(density: F32, size: tuple[int, int], cut: bool) -> F32:
    maps = saliency_of(density) if cut else density
    return np.stack([cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in maps])
