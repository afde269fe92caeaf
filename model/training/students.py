"""Train a student: `python -m model.train image|video --data FOLDER --out DIR --steps N` (or `--minutes N`)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from model.data import augment, clips, gaze_clips, stills
from model.judging.evaluate import score_clips, score_masks, still_predict, torch_predict
from model.networks.named import NETWORKS, make_network
from model.networks.video_student import VideoStudent
from model.training.device import as_input
from model.training.loop import Run, steps_in, train
from model.training.losses import image_loss, video_loss
from model.training.warm_start import start_from


def open_sets(run: Run) -> list[stills.Dataset]:
    """The pictures with masks, and those with gaze if the run has any."""
    labels = stills.SoftLabels.read(run.object_labels, run.gaze_labels)
    sets = [stills.load(run.data, "train", run.cache, labels)]
    return [*sets, stills.load(run.gaze, "gaze", run.cache, labels)] if run.gaze else sets


def first_weights(net: nn.Module, sets: list[stills.Dataset], run: Run) -> None:
    """Set the network to the file that the run starts from, if any."""
    if run.init:
        frames = as_input(net, augment.batch(sets, 0, 64, run.seed).frames).permute(0, 3, 1, 2)
        count = start_from(net, run.init, frames / 255)
        print(f"{count} convolutions set from {run.init}", flush=True)


def train_image(run: Run, stop: int | None = None) -> Path:
    """Train an image network; returns the checkpoint. Halts at step `stop` if given."""
    torch.manual_seed(run.seed)
    sets, held_out = open_sets(run), stills.load(run.data, "val", run.cache)

    def judge(net: nn.Module, last: bool) -> str:
        some = range(0, len(held_out), 1 if last else 4)
        iou, cc = score_masks(held_out, some, lambda x: torch_predict(net, x))
        return f"held-out IoU {iou:.4f} CC {cc:.4f} ({len(some)} pictures)"

    return train(
        run,
        make_network(run.network),
        lambda net: first_weights(net, sets, run),
        lambda first, last: augment.batches(sets, first, last, run.batch, run.seed, run.small_steps),
        image_loss,
        judge,
        stop,
    )


def teacher_of(run: Run) -> clips.Teach | None:
    """The image model whose masks are soft labels of the plain clips, if the run has one."""
    if not run.teacher:
        return None
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(run.teacher, options, providers=["CPUExecutionProvider"])
    return lambda frames: np.asarray(session.run(["saliency"], {"frames": frames})[0], np.float32)


def train_video(run: Run, stop: int | None = None) -> Path:
    """Train the video student; returns the checkpoint. `run.batch` counts frames, a clip has `run.samples` of them."""
    torch.manual_seed(run.seed)
    pictures, held_out = stills.load(run.data, "train", run.cache), stills.load(run.data, "val", run.cache)
    teach, count = teacher_of(run), max(1, run.batch // run.samples)
    watched = gaze_clips.load(run.clips) if run.clips else []

    def make(step: int) -> clips.Clips:
        if watched and step % gaze_clips.EVERY == 0:
            return gaze_clips.batch(watched, step, count, run.samples, run.seed)
        return clips.batch(pictures, step, count, run.samples, run.seed, step < run.small_steps, teach)

    def judge(net: nn.Module, last: bool) -> str:
        some = range(0, len(held_out), 1 if last else 4)
        iou, cc = score_masks(held_out, some, lambda x: still_predict(net, x))
        unseen = [clips.batch(held_out, n, 4, run.samples, run.seed + 1) for n in range(8 if last else 4)]
        over, single = score_clips(net, unseen)
        return f"held-out stills IoU {iou:.4f} CC {cc:.4f}, made clips IoU {over:.4f}, frame by frame {single:.4f}"

    return train(
        run,
        VideoStudent(),
        lambda net: None,
        lambda first, last: augment.in_order(make, first, last),
        video_loss,
        judge,
        stop,
    )


def steps_for(minutes: float, kind: str, run: Run) -> int:
    """How many steps of a run fit into some minutes."""
    if kind == "image":
        sets = open_sets(run)
        probe = list(augment.batches(sets, 0, 10, run.batch, run.seed))
        return steps_in(minutes, make_network(run.network).to(run.device), probe, image_loss)
    pictures, count = stills.load(run.data, "train", run.cache), max(1, run.batch // run.samples)
    made = [clips.batch(pictures, step, count, run.samples, run.seed) for step in range(10)]
    return steps_in(minutes, VideoStudent().to(run.device), made, video_loss)


def main(words: Sequence[str] | None = None) -> None:
    """Parse the command line, `words` in place of the process's own if given, and train.

    Raises:
        SystemExit: what was asked for cannot be done; the text says why.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["image", "video"])
    parser.add_argument("--network", choices=sorted(NETWORKS), default="student", help="which image network")
    parser.add_argument("--data", required=True, help="folder of DUTS-style shards: train-*.parquet, val-*.parquet")
    parser.add_argument("--out", required=True, help="folder of the checkpoints")
    parser.add_argument("--gaze", default="", help="folder of Parquet files of pictures with fixations")
    parser.add_argument("--object-labels", nargs="*", default=(), help="soft masks of `model.teach`, for --gaze")
    parser.add_argument("--gaze-labels", nargs="*", default=(), help="soft gaze of `model.teach`, for --data")
    parser.add_argument("--init", default="", help="ONNX file of an earlier export to go on from")
    parser.add_argument("--cache", help="folder of the decoded pictures (default: OUT/cache)")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="length of the run: the same steps and seed, the same weights")
    length.add_argument("--minutes", type=float, help="choose the steps so that they take about so long undisturbed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", default="", help="video: an image model in vsal's contract, for soft labels")
    parser.add_argument("--clips", default="", help="video: folder of `model.gaze_clips`, videos with soft labels")
    parser.add_argument("--samples", type=int, default=6, help="video: samples of a clip")
    parser.add_argument("--batch", type=int, default=32, help="pictures, or frames of clips, in a step")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--cooldown", type=float, default=0.5, help="share of the steps over which the rate falls")
    parser.add_argument("--small-steps", type=int, default=0, help="steps at the start on smaller pictures")
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="1 where other work takes a core at times")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args(words)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise SystemExit(
            f"--device {args.device}: torch {torch.__version__} finds no usable CUDA device. Check `nvidia-smi`, or "
            "train with --device cpu"
        )
    others = ("teacher", "clips") if args.kind == "image" else ("init", "gaze", "object_labels", "gaze_labels")
    ignored = [f"--{name.replace('_', '-')}" for name in others if getattr(args, name)]
    if ignored:
        raise SystemExit(
            f"{', '.join(ignored)} would do nothing in the training of the {args.kind} student: leave it out"
        )
    torch.set_num_threads(args.threads)
    run = Run(
        data=args.data, out=args.out, cache=args.cache or str(Path(args.out) / "cache"), steps=args.steps or 0,
        network=args.network,
        seed=args.seed, batch=args.batch, rate=args.rate, cooldown=args.cooldown, small_steps=args.small_steps,
        save_every=args.save_every, device=args.device, gaze=args.gaze, object_labels=tuple(args.object_labels),
        gaze_labels=tuple(args.gaze_labels), init=args.init,
        samples=args.samples, teacher=args.teacher, clips=args.clips,
    )  # fmt: skip
    if args.steps is None:
        run = replace(run, steps=steps_for(args.minutes, args.kind, run))
        print(
            f"{args.minutes:g} minutes are about {run.steps} steps: repeat this run with --steps {run.steps}",
            flush=True,
        )
    (train_image if args.kind == "image" else train_video)(run)


if __name__ == "__main__":
    main()
