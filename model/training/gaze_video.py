"""Train a video network from its image twin.

    python -m model.train gaze-video --image model/shipped/image_saliency_student_v2.onnx --videos FOLDER \\
        --looks osie.parquet crowd.parquet sun.parquet --out DIR --steps N

The twin stays as it is, so the features of its trunk are kept under OUT/cache. Real
videos have the labels of `model.data.motion_labels` by an image teacher, made ones (`model.data.motion_clips`) recorded
looks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from model.data import looks, motion_cache
from model.data.augment import in_order
from model.data.motion_cache import Kept, Sequences
from model.networks.gaze_file import Seer, read_gaze_network
from model.networks.gaze_video import GazeVideoNet, accumulate
from model.training.density import density_loss
from model.training.device import device_of
from model.training.loop import Run, train

FRAME_WEIGHT = 0.5  # of single frames, beside what accumulates over time
JUDGED_STRIDE = 4  # of the cached twelve samples a second: three, as `vsal prepare` takes them


def gaze_video_loss(net: GazeVideoNet, seen: Sequences) -> Tensor:
    """The loss of some sequences: of densities accumulated through time, and of each frame's own."""
    device = device_of(net)
    log_density, gate = net.read(
        [tap.to(device) for tap in seen.taps], net.see(seen.grey.to(device), seen.motion.to(device))
    )
    count, samples = seen.elapsed_s.shape
    over_time = accumulate(
        log_density.unflatten(0, (count, samples)), gate.unflatten(0, (count, samples)), seen.elapsed_s.to(device)
    )
    wanted, points = seen.density.to(device), seen.points.to(device)
    remembered = density_loss(torch.log(over_time.flatten(0, 1) + 1e-6), wanted, points)
    return remembered + FRAME_WEIGHT * density_loss(log_density, wanted, points)


@torch.no_grad()
def judge(net: nn.Module, kept: Sequence[Kept]) -> str:
    """A line on shots that the network was not trained on: its loss, and its twin's on single frames."""
    assert isinstance(net, GazeVideoNet)
    if not kept:
        return "no shot is held out"
    own, twin, gates = [], [], []
    for one in kept:
        at = np.arange(0, len(one.times_s), JUDGED_STRIDE)
        seen = motion_cache.gather([(one, at)])
        log_density, gate = net.read(seen.taps, net.see(seen.grey, seen.motion))
        over_time = accumulate(log_density[None], gate[None], seen.elapsed_s)[0]
        own.append(density_loss(torch.log(over_time + 1e-6), seen.density, seen.points).item())
        twin.append(density_loss(net.twin(seen.taps), seen.density, seen.points).item())
        gates.append(gate.sigmoid().mean().item())
    loss, before = np.mean(own), np.mean(twin)
    return f"loss on {len(own)} shots held out: {loss:.4f}, its twin's {before:.4f}; mean gate {np.mean(gates):.2f}"


def train_gaze_video(run: Run, made: int, stop: int | None = None) -> Path:
    """Train a video network; returns the checkpoint. Halts at step `stop` if given.

    Args:
        run: `init` is the image twin's file, `teacher` the image teacher's, `videos` files or folders, `looks` stills.
        made: how many clips are made of the stills.
        stop: see `model.training.loop.train`.
    """
    torch.manual_seed(run.seed)
    cv2.setNumThreads(1)
    twin, teacher = read_gaze_network(Path(run.init)), read_gaze_network(Path(run.teacher))
    net = GazeVideoNet(twin.net)
    net.trunk.requires_grad_(False)
    net.twin.requires_grad_(False)
    cache, seer, taught_by = Path(run.cache), Seer(twin.net), Seer(teacher.net)
    reals: list[Kept] = []
    for path in [Path(video) for video in run.videos]:
        for file in sorted(path.glob("*.mp4")) if path.is_dir() else [path]:
            reals += motion_cache.real(file, seer, twin.input_pixels, taught_by, teacher.input_pixels, cache)
    print(f"{sum(len(one.times_s) for one in reals)} samples of {len(reals)} real shots", flush=True)
    stills = [scene for scene in looks.read_stills([Path(path) for path in run.looks]) if len(scene.fixations)]
    mades = list(motion_cache.made(stills, made, seer, twin.input_pixels, run.seed, cache))
    out = motion_cache.held_out(sorted({one.name for one in reals}))
    learned, held = [one for one in reals if one.name not in out], [one for one in reals if one.name in out]

    return train(
        run,
        net,
        lambda net: None,
        lambda first, last: in_order(
            lambda step: motion_cache.batch(learned, mades, step, run.batch, run.seed), first, last
        ),
        gaze_video_loss,
        lambda net, last: judge(net, held),
        stop,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, `words` in place of the process's own if given, and train."""
    parser = argparse.ArgumentParser(
        prog="python -m model.train gaze-video",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--image", required=True, help="file of the image twin, of `model.export gaze`")
    parser.add_argument("--teacher", default="", help="file of the image teacher [default: the twin]")
    parser.add_argument("--videos", nargs="+", required=True, help="video files, or folders of .mp4 files")
    parser.add_argument("--looks", nargs="+", required=True, help="Parquet files of pictures with fixations")
    parser.add_argument("--out", required=True, help="folder of the checkpoints")
    parser.add_argument("--cache", default="", help="folder of the trunk's features [default: OUT/cache]")
    parser.add_argument("--made", type=int, default=400, help="clips made of the pictures")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=4, help="sequences in a step")
    parser.add_argument("--rate", type=float, default=3e-3, help="of what is new")
    parser.add_argument("--cooldown", type=float, default=0.7, help="share of the steps over which the rate falls")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    train_gaze_video(
        Run(
            out=args.out, steps=args.steps, network=Path(args.image).stem, init=args.image,
            teacher=args.teacher or args.image, videos=tuple(args.videos), looks=tuple(args.looks), seed=args.seed,
            batch=args.batch, rate=args.rate, cooldown=args.cooldown, save_every=args.save_every, device=args.device,
            cache=args.cache or str(Path(args.out) / "cache"), samples=motion_cache.SAMPLES,
        ),
        args.made,
    )  # fmt: skip
