"""Train a student: `python -m model.train image --data FOLDER --out DIR --steps N` (or `--minutes N`).

A run is determined by (seed, steps, threads). It writes OUT/last.pt every `--save-every` steps and resumes from it; the
weights to export are the moving average in it (`ema`).
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from model import augment, data
from model.augment import Batch
from model.evaluate import score_masks, torch_predict
from model.networks import NETWORKS, make_network
from model.warm_start import start_from

WARMUP_STEPS = 200
GAZE_WEIGHT = 1.0  # of a picture with known gaze, beside the loss of its mask
EMA_DECAY = 0.998  # a memory of about 500 steps


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of a training run; `cooldown` is the share of the steps over which the rate falls to zero."""

    data: str
    out: str
    cache: str
    steps: int
    network: str = "student"
    seed: int = 0
    batch: int = 32
    rate: float = 2e-3
    weight_decay: float = 0.02
    cooldown: float = 0.5
    small_steps: int = 0
    save_every: int = 250
    device: str = "cpu"
    gaze: str = ""
    object_labels: tuple[str, ...] = ()
    gaze_labels: tuple[str, ...] = ()
    init: str = ""


def learning_rate(step: int, run: Run) -> float:
    """Linear warm-up, a plateau, then a linear fall to zero over the last `cooldown` of the steps (one cycle)."""
    fall = max(1.0, run.cooldown * run.steps)
    return run.rate * min(1.0, (step + 1) / WARMUP_STEPS, max(0.0, (run.steps - step) / fall))


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus 1 - soft IoU per picture; logits and target float [n, h, w]."""
    bce = F.binary_cross_entropy_with_logits(logits, target)
    p = logits.sigmoid()
    both = (p * target).sum((1, 2))
    either = (p + target - p * target).sum((1, 2))
    return bce + (1 - (both + 1) / (either + 1)).mean()


def gaze_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus half of 1 - Pearson's correlation, of each picture; float [n, h, w] twice -> [n]."""
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    p, t = p - p.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
    return bce + 0.5 * (1 - (p * t).sum(1) / (p.norm(dim=1) * t.norm(dim=1) + 1e-3))


def loss_of(net: nn.Module, seen: Batch, device: str) -> Tensor:
    """The loss of a batch: objects at three resolutions, gaze at the finest; what is not known does not count."""
    frames, masks, gaze = (torch.from_numpy(a).to(device) for a in (seen.frames, seen.masks, seen.gaze))
    mask_known, gaze_known = (torch.from_numpy(a).to(device) for a in (seen.mask_known, seen.gaze_known))
    x = frames.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device, torch.bfloat16):
        logits, coarse = net(x)
    target = masks[:, None].float().div_(255)[mask_known]
    total = logits.new_zeros((), dtype=torch.float32)
    for weight, some in ((1.0, logits[:, 0]), *((0.3, aux) for aux in coarse)):
        wanted = F.interpolate(target, size=some.shape[1:], mode="area")[:, 0]
        total = total + weight * mask_loss(some[mask_known].float(), wanted)
    if bool(gaze_known.any()):
        wanted = F.interpolate(gaze[:, None].float().div_(255), size=logits.shape[2:], mode="area")[:, 0]
        each = gaze_loss(logits[:, 1].float(), wanted) * gaze_known
        total = total + GAZE_WEIGHT * each.sum() / len(each)
    return total


@torch.no_grad()
def average(ema: nn.Module, net: nn.Module, step: int) -> None:
    """Move the averaged weights towards the current ones; the average is short at the start of a run."""
    decay = min(EMA_DECAY, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
    for kept, now in zip(ema.buffers(), net.buffers(), strict=True):
        kept.copy_(kept.lerp(now, 1 - decay) if kept.is_floating_point() else now)


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on the kernels, none on norms and biases."""
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [{"params": kernels, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def open_sets(run: Run) -> list[data.Dataset]:
    """The pictures with masks, and those with gaze if the run has any."""
    labels = data.SoftLabels.read(run.object_labels, run.gaze_labels)
    sets = [data.load(run.data, "train", run.cache, labels)]
    return [*sets, data.load(run.gaze, "gaze", run.cache, labels)] if run.gaze else sets


def first_weights(net: nn.Module, sets: list[data.Dataset], run: Run) -> None:
    """Set the network to the file that the run starts from, if any."""
    if run.init:
        frames = torch.from_numpy(augment.batch(sets, 0, 64, run.seed).frames).permute(0, 3, 1, 2)
        count = start_from(net, run.init, frames.to(run.device).float().div_(255))
        print(f"{count} convolutions set from {run.init}", flush=True)


def train_image(run: Run, stop: int | None = None) -> Path:
    """Train the image student; returns the checkpoint. Resumes when OUT holds one; halts at step `stop` if given."""
    torch.manual_seed(run.seed)
    out = Path(run.out)
    out.mkdir(parents=True, exist_ok=True)
    sets, held_out = open_sets(run), data.load(run.data, "val", run.cache)
    net = make_network(run.network).to(run.device).to(memory_format=torch.channels_last)
    first, last_file = 0, out / "last.pt"
    if not last_file.exists():
        first_weights(net, sets, run)
    ema = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(decay_groups(net, run.weight_decay), run.rate)
    if last_file.exists():
        state = torch.load(last_file, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        first = int(state["step"])
        print(f"resumed at step {first}", flush=True)
    started, losses = time.process_time(), []
    for step, seen in enumerate(
        augment.batches(sets, first, stop or run.steps, run.batch, run.seed, run.small_steps), start=first
    ):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, run)
        loss = loss_of(net.train(), seen, run.device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        average(ema, net, step)
        losses.append(loss.item())
        done = step + 1
        if done % 50 == 0:
            seconds = (time.process_time() - started) / (done - first)
            print(f"step {done}/{run.steps} loss {np.mean(losses[-50:]):.4f} {seconds:.3f} CPU s a step", flush=True)
        if done % run.save_every == 0 or done == run.steps:
            save(last_file, {"net": net.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict(),
                             "step": done, "run": json.dumps(asdict(run))})  # fmt: skip
        if done % (4 * run.save_every) == 0 or done == run.steps:
            some = range(0, len(held_out), 1 if done == run.steps else 4)
            iou, cc = score_masks(held_out, some, lambda x: torch_predict(ema, x))
            print(f"step {done} held-out IoU {iou:.4f} CC {cc:.4f} ({len(some)} pictures)", flush=True)
    return last_file


def steps_in(minutes: float, run: Run) -> int:
    """How many steps fit into `minutes` of this process's time on the threads it has, measured over a few steps.

    CPU time, not wall time: a run that other work holds up does not shrink.
    """
    sets = open_sets(run)
    net = make_network(run.network).to(run.device).to(memory_format=torch.channels_last).train()
    probe = list(augment.batches(sets, 0, 10, run.batch, run.seed))
    for n, seen in enumerate(probe):
        if n == 3:
            started = time.process_time()
        loss_of(net, seen, run.device).backward()
    seconds = (time.process_time() - started) / (len(probe) - 3) * 1.15  # the optimiser and the pictures of the step
    return max(1, int(minutes * 60 * torch.get_num_threads() / seconds))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["image"])
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
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--cooldown", type=float, default=0.5, help="share of the steps over which the rate falls")
    parser.add_argument("--small-steps", type=int, default=0, help="steps at the start on smaller pictures")
    parser.add_argument("--save-every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="1 where other work takes a core at times")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    run = Run(
        data=args.data, out=args.out, cache=args.cache or str(Path(args.out) / "cache"), steps=args.steps or 0,
        network=args.network,
        seed=args.seed, batch=args.batch, rate=args.rate, cooldown=args.cooldown, small_steps=args.small_steps,
        save_every=args.save_every, device=args.device, gaze=args.gaze, object_labels=tuple(args.object_labels),
        gaze_labels=tuple(args.gaze_labels), init=args.init,
    )  # fmt: skip
    if args.steps is None:
        run = replace(run, steps=steps_in(args.minutes, run))
        print(
            f"{args.minutes:g} minutes are about {run.steps} steps: repeat this run with --steps {run.steps}",
            flush=True,
        )
    train_image(run)


if __name__ == "__main__":
    main()
