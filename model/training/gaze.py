"""Train a gaze network on looks: `python -m model.train gaze --looks FILE... --network NAME --out DIR --steps N`.

The network begins as its trunk is in its package, narrowed (`model.networks.narrow`) where it asks for that, and all of
it is trained. The looks are recorded fixations and the densities of the teacher (`python -m model.looks`).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.data import looks
from model.data.augment import in_order
from model.networks.gaze import GAZE_NETWORKS, GazeNet, make_gaze_network
from model.training.density import density_loss
from model.training.device import as_input
from model.training.loop import Run, train

NARROWED_BY = 48  # pictures that say which channels of the trunk stay
JUDGED_EVERY = 10  # one scene in so many is kept for the line that a run prints now and then


def gaze_loss(net: GazeNet, seen: looks.Batch) -> Tensor:
    """The loss of a gaze network on a batch of looks."""
    frames, wanted, points = (as_input(net, a) for a in (seen.frames, seen.density, seen.points))
    x = frames.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    with torch.autocast(frames.device.type, torch.bfloat16):
        taps = net.trunk(x)
    return density_loss(net.readout([tap.float() for tap in taps[1:]]), wanted, points)


def judge(net: nn.Module, scenes: Sequence[looks.Scene], run: Run, pixels: int) -> str:
    """A line on how far the averaged network is from scenes that it was not trained on."""
    losses = []
    with torch.no_grad():
        for scene in scenes:
            size = looks.size_for(scene.image, pixels)
            grid = (size[0] // 8, size[1] // 8)
            one = looks.Batch(
                looks.resized(scene.image, size)[None],
                looks.wanted(scene, grid, run.teacher_share)[None],
                looks.fixation_points(scene.fixations, grid)[None],
            )
            losses.append(gaze_loss(net, one).item())
    return f"loss on {len(scenes)} scenes not trained on: {np.mean(losses):.4f}"


def train_gaze(run: Run, stop: int | None = None) -> Path:
    """Train a gaze network; returns the checkpoint. Halts at step `stop` if given.

    Raises:
        SystemExit: there are too few scenes.
    """
    torch.manual_seed(run.seed)
    scenes = looks.read_looks([Path(path) for path in run.looks])
    held = [scene for i, scene in enumerate(scenes) if i % JUDGED_EVERY == 0]
    learned = [scene for i, scene in enumerate(scenes) if i % JUDGED_EVERY]
    if not learned:
        raise SystemExit(f"{len(scenes)} scenes in {', '.join(run.looks)} are too few: give more than one")
    network = GAZE_NETWORKS[run.network]
    probe = [
        looks.resized(s.image, looks.size_for(s.image, network.input_pixels))
        for s in learned[:: max(1, len(learned) // 48)]
    ]
    net = make_gaze_network(run.network, probe)
    if run.init:
        net.load_state_dict(torch.load(run.init, weights_only=True, map_location="cpu")["ema"])

    def make(step: int) -> looks.Batch:
        return looks.batch(learned, step, run.batch, run.seed, network.input_pixels, run.teacher_share)

    return train(
        run,
        net,
        lambda net: None,
        lambda first, last: in_order(make, first, last),
        gaze_loss,
        lambda net, last: judge(net, held if last else held[::4], run, network.input_pixels),
        stop,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, `words` in place of the process's own if given, and train."""
    parser = argparse.ArgumentParser(prog="python -m model.train gaze", description=__doc__)
    parser.add_argument("--looks", nargs="+", required=True, help="files of `python -m model.looks`")
    parser.add_argument("--network", choices=sorted(GAZE_NETWORKS), default="base")
    parser.add_argument("--out", required=True, help="folder of the checkpoints")
    parser.add_argument("--init", default="", help="checkpoint of an earlier run of this network to go on from")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--teacher-share", type=float, default=0.5, help="of the teacher where looks were recorded too")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="of the readout; the trunk's is lower")
    parser.add_argument("--cooldown", type=float, default=0.7, help="share of the steps over which the rate falls")
    parser.add_argument("--save-every", type=int, default=100, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(words)
    torch.set_num_threads(args.threads)
    train_gaze(Run(
        out=args.out, steps=args.steps, network=args.network, init=args.init, looks=tuple(args.looks),
        teacher_share=args.teacher_share, seed=args.seed, batch=args.batch, rate=args.rate, cooldown=args.cooldown,
        save_every=args.save_every, device=args.device,
    ))  # fmt: skip


if __name__ == "__main__":
    main()
