"""The training loop that all students share: settings, schedule, moving average, checkpoints.

A run is determined by (seed, steps, threads). It writes OUT/last.pt every `save_every` steps and resumes from it; the
weights to export are the moving average in it (`ema`).
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

WARMUP_STEPS = 200
EMA_DECAY = 0.998  # a memory of about 500 steps
# Parts of a network that learn at another rate: a trunk comes trained, a prior has few weights and far to go.
RATE_SHARES = {"trunk": 0.15, "prior": 5.0}

Seen = TypeVar("Seen")


@dataclass(frozen=True, slots=True)
class Run:
    """The settings of a training run; `cooldown` is the share of the steps over which the rate falls to zero."""

    out: str
    steps: int
    data: str = ""
    cache: str = ""
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
    samples: int = 6
    teacher: str = ""
    clips: str = ""
    looks: tuple[str, ...] = ()
    teacher_share: float = 0.5
    videos: tuple[str, ...] = ()


def learning_rate(step: int, run: Run) -> float:
    """Linear warm-up, a plateau, then a linear fall to zero over the last `cooldown` of the steps (one cycle)."""
    fall = max(1.0, run.cooldown * run.steps)
    return run.rate * min(1.0, (step + 1) / WARMUP_STEPS, max(0.0, (run.steps - step) / fall))


@torch.no_grad()
def average(ema: nn.Module, net: nn.Module, step: int) -> None:
    """Move the averaged weights towards the current ones; the average is short at the start of a run."""
    decay = min(EMA_DECAY, (step + 1) / (step + 10))
    torch._foreach_lerp_(list(ema.parameters()), list(net.parameters()), 1 - decay)
    for kept, now in zip(ema.buffers(), net.buffers(), strict=True):
        kept.copy_(kept.lerp(now, 1 - decay) if kept.is_floating_point() else now)


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay on the kernels, none on norms, biases and priors; `share` is a group's part of the learning rate."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        share = next((share for part, share in RATE_SHARES.items() if part in name.split(".")), 1.0)
        decay = weight_decay if parameter.ndim > 1 and "prior" not in name.split(".") else 0.0
        groups.setdefault((share, decay), []).append(parameter)
    return [{"params": some, "weight_decay": decay, "share": share} for (share, decay), some in groups.items()]


FREE_TO_CHANGE = ("out", "cache", "save_every", "device")  # where things lie, not what comes out


def refuse_changed(before: dict[str, Any], run: Run) -> None:
    """Check that a run goes on under the settings that it was begun with.

    Raises:
        SystemExit: it does not; the text names what differs.
    """
    now = json.loads(json.dumps(asdict(run)))
    changed = [name for name in now if name not in FREE_TO_CHANGE and now[name] != before.get(name, now[name])]
    if changed:
        told = ", ".join(f"{name} was {before[name]!r}, is {now[name]!r}" for name in changed)
        raise SystemExit(f"{run.out} holds a run under other settings ({told}): repeat these, or give another --out")


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint whole or not at all."""
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def train(
    run: Run,
    net: nn.Module,
    prepare: Callable[[nn.Module], None],
    batches: Callable[[int, int], Iterator[Seen]],
    loss_of: Callable[[nn.Module, Seen], Tensor],
    judge: Callable[[nn.Module, bool], str],
    stop: int | None = None,
) -> Path:
    """Train a network; returns the checkpoint. Resumes when OUT holds one.

    Args:
        run: the settings.
        net: the network with fresh weights.
        prepare: called with it before a run that does not resume.
        batches: what the steps first..last-1 see, in order.
        loss_of: the loss of a network on that.
        judge: a line on the averaged network now and then; told whether the run is at its end.
        stop: halt at this step, as if interrupted; None for the whole run.
    """
    out = Path(run.out)
    out.mkdir(parents=True, exist_ok=True)
    first, last_file = 0, out / "last.pt"
    net = net.to(run.device).to(memory_format=torch.channels_last)
    if not last_file.exists():
        prepare(net)
    ema = copy.deepcopy(net).eval()
    optimiser = torch.optim.AdamW(decay_groups(net, run.weight_decay), run.rate)
    if last_file.exists():
        state = torch.load(last_file, weights_only=True)
        net.load_state_dict(state["net"])
        ema.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        refuse_changed(json.loads(state["run"]), run)
        first = int(state["step"])
        print(f"resumed at step {first}", flush=True)
    started, losses = time.process_time(), []
    for step, seen in enumerate(batches(first, stop or run.steps), start=first):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, run) * group["share"]
        loss = loss_of(net.train(), seen)
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
            print(f"step {done} {judge(ema, done == run.steps)}", flush=True)
    return last_file


def steps_in(minutes: float, net: nn.Module, probe: list[Seen], loss_of: Callable[[nn.Module, Seen], Tensor]) -> int:
    """How many steps fit into `minutes` of this process's time on the threads it has, measured on some batches.

    CPU time, not wall time: a run that other work holds up does not shrink.
    """
    for n, seen in enumerate(probe):
        if n == 3:
            started = time.process_time()
        loss_of(net.train(), seen).backward()
    seconds = (time.process_time() - started) / (len(probe) - 3) * 1.15  # the optimiser and the pictures of the step
    return max(1, int(minutes * 60 * torch.get_num_threads() / seconds))
