"""The teacher of gaze: an ensemble of readouts on frozen trunks, and the looks that it adds to pictures and clips.

    python -m model.looks --stills osie.parquet crowd.parquet sun.parquet --clips FOLDER... --work WORK --out looks

Every member is trained in five folds. A still gets the log densities of the readouts that have not seen it, a frame
those of all; they are averaged over members and folds, and for frames over a third of a second before and after, within
the same file. WORK keeps what each member gave, so a run that is broken off goes on with the next one.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from model.data import looks
from model.networks.trunk import imagenet_trunk
from model.training import readout

F32 = NDArray[np.float32]

FOLDS = 5
RATE_HZ = 6.0  # frames of a clip that are labelled
MOST_FRAMES = 90  # of one clip
SMOOTHED_S = 1 / 3  # to each side
LABEL_SIDE = 48  # cells of a label on the long side


@dataclass(frozen=True, slots=True)
class Member:
    """One trunk of the ensemble: its name, its number of blocks, and the height * width of what it sees."""

    trunk: str
    blocks: int
    pixels: int

    @property
    def multiple(self) -> int:
        """What height and width must be multiples of: the last stride."""
        return 32 if self.blocks > 11 else 16

    @property
    def name(self) -> str:
        """Of its file of predictions."""
        return f"{self.trunk}-{self.blocks}-{self.pixels}"


MEMBERS = (Member("lite0", 8, 256 * 144),)


def fold_of(scene: looks.Scene) -> int:
    """The fold that a still is judged in, by its set and name alone."""
    return zlib.crc32(f"{scene.set}/{scene.name}".encode()) % FOLDS


def predict(member: Member, stills: Sequence[looks.Scene], clips: Sequence[Sequence[looks.Scene]]) -> list[list[F32]]:
    """Log densities of a member: of the stills (by readouts that have not seen them), then of each clip's frames."""
    trunk = imagenet_trunk(member.trunk, member.blocks)
    seen = readout.features(trunk, stills, member.pixels, member.multiple)
    folds = np.array([fold_of(scene) for scene in stills])
    nets = []
    for fold in range(FOLDS):
        nets.append(readout.train_readout([one.only(folds != fold) for one in seen], fold))
        print(f"{member.name}: fold {fold} trained", flush=True)

    def of(scene: looks.Scene, which: Sequence[int]) -> F32:
        both = [readout.see(trunk, s.image, member.pixels, member.multiple) for s in (scene, looks.mirrored(scene))]
        given = []
        for fold in which:
            plain, mirror = (readout.log_density(nets[fold], taps)[0] for taps in both)
            given.append((plain + mirror[:, ::-1]) / 2)
        return np.asarray(np.mean(given, 0), np.float32)

    told = [[of(scene, [folds[i]]) for i, scene in enumerate(stills)]]
    return told + [[of(scene, range(FOLDS)) for scene in clip] for clip in clips]


def label_grid(image: looks.U8) -> tuple[int, int]:
    """The (cols, rows) of a label: LABEL_SIDE on the long side."""
    scale = LABEL_SIDE / max(image.shape[:2])
    return max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))


def smoothed(frames: F32, times_s: Sequence[float]) -> F32:
    """Log densities [n, rows, cols] averaged over SMOOTHED_S to both sides; the log of a geometric mean."""
    t = np.array(times_s)
    return np.stack([frames[np.abs(t - now) <= SMOOTHED_S + 1e-3].mean(0) for now in t]).astype(np.float32)


def scores(stills: Sequence[looks.Scene], given: Sequence[F32]) -> str:
    """KL (nats), CC and NSS of densities against the recorded fixations of stills, means over pictures, as a line."""
    kl, cc, nss = [], [], []
    for scene, log_density in zip(stills, given, strict=True):
        if not len(scene.fixations):
            continue
        grid = label_grid(scene.image)
        p, q = looks.teacher_density(log_density, grid), looks.fixation_density(scene.fixations, grid)
        kl.append(float((q * np.log((q + 1e-9) / (p + 1e-9))).sum()))
        cc.append(float(np.corrcoef(p.ravel(), q.ravel())[0, 1]))
        nss.append(float((looks.fixation_points(scene.fixations, grid) * (p - p.mean()) / p.std()).sum()))
    return f"KL {np.mean(kl):.3f}, CC {np.mean(cc):.3f}, NSS {np.mean(nss):.3f} over {len(kl)} stills"


def make_looks(stills: list[looks.Scene], clips: list[list[looks.Scene]], work: Path, out: Path) -> int:
    """Label stills and clips into a file of looks; returns how many scenes it holds."""
    work.mkdir(parents=True, exist_ok=True)
    groups = [stills, *clips]
    total = [[np.zeros(label_grid(s.image)[::-1], np.float32) for s in group] for group in groups]
    for member in MEMBERS:
        kept = work / f"{member.name}.npz"
        if not kept.exists():
            flat = [one for group in predict(member, stills, clips) for one in group]
            part = kept.with_suffix(".part.npz")
            np.savez(part, *[one.astype(np.float16) for one in flat])
            part.replace(kept)
        with np.load(kept) as file:
            flat = [file[f"arr_{i}"].astype(np.float32) for i in range(len(file.files))]
        print(f"{member.name}: {scores(stills, flat[: len(stills)])}", flush=True)
        at = 0
        for group, sums in zip(groups, total, strict=True):
            for scene, into in zip(group, sums, strict=True):
                into += cv2.resize(flat[at], label_grid(scene.image), interpolation=cv2.INTER_LINEAR) / len(MEMBERS)
                at += 1
    print(f"all {len(MEMBERS)}: {scores(stills, total[0])}", flush=True)
    labelled = [replace(s, log_density=one) for s, one in zip(stills, total[0], strict=True)]
    for clip, sums in zip(clips, total[1:], strict=True):
        over_time = smoothed(np.stack(sums), [float(s.name) for s in clip])
        labelled += [replace(s, log_density=one) for s, one in zip(clip, over_time, strict=True)]
    return looks.write_looks(labelled, out)


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line and label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--stills", nargs="+", type=Path, required=True, help="Parquet files of pictures with fixations"
    )
    parser.add_argument("--clips", nargs="*", type=Path, default=(), help="video files, or folders of .mp4 files")
    parser.add_argument("--work", type=Path, required=True, help="folder of what each member gave")
    parser.add_argument("--out", type=Path, required=True, help="file of the looks")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    files = [file for path in args.clips for file in (sorted(path.glob("*.mp4")) if path.is_dir() else [path])]
    clips = [clip for clip in (looks.read_clip(file, RATE_HZ, MOST_FRAMES) for file in files) if clip]
    print(f"{args.out}: {make_looks(list(looks.read_stills(args.stills)), clips, args.work, args.out)} scenes")
