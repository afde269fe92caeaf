"""What the students are trained to make small."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from model.data.augment import Batch
from model.data.clips import Clips
from model.networks.video_student import accumulate
from model.training.device import device_of

GAZE_WEIGHT = 1.0  # of a picture with known gaze, beside the loss of its mask
AUX_WEIGHT = 0.3  # of each coarser output
FRAME_WEIGHT = 0.5  # of a clip's single masks, beside the masks accumulated over time
SOFT_WEIGHT = 0.5  # of a teacher's soft labels, beside the masks


def overlap_loss(values: Tensor, target: Tensor) -> Tensor:
    """1 - soft IoU per picture, averaged; values in 0..1 and target float [n, h, w]."""
    both = (values * target).sum((1, 2))
    either = (values + target - values * target).sum((1, 2))
    return (1 - (both + 1) / (either + 1)).mean()


def mask_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus 1 - soft IoU per picture; logits and target float [n, h, w]."""
    return F.binary_cross_entropy_with_logits(logits, target) + overlap_loss(logits.sigmoid(), target)


def mask_loss_of_values(values: Tensor, target: Tensor) -> Tensor:
    """`mask_loss` of masks that are already in 0..1; float [n, h, w] both."""
    p = values.clamp(1e-4, 1 - 1e-4)
    return F.binary_cross_entropy(p, target) + overlap_loss(p, target)


def gaze_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus half of 1 - Pearson's correlation, of each picture; float [n, h, w] twice -> [n]."""
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean((1, 2))
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    p, t = p - p.mean(1, keepdim=True), t - t.mean(1, keepdim=True)
    return bce + 0.5 * (1 - (p * t).sum(1) / (p.norm(dim=1) * t.norm(dim=1) + 1e-3))


def image_loss(net: nn.Module, seen: Batch) -> Tensor:
    """The loss of a batch: objects at three resolutions, gaze at the finest; what is not known does not count."""
    device = device_of(net)
    frames, masks, gaze = (torch.from_numpy(a).to(device) for a in (seen.frames, seen.masks, seen.gaze))
    mask_known, gaze_known = (torch.from_numpy(a).to(device) for a in (seen.mask_known, seen.gaze_known))
    x = frames.permute(0, 3, 1, 2).float().div_(255).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        logits, coarse = net(x)
    target = masks[:, None].float().div_(255)[mask_known]
    total = logits.new_zeros((), dtype=torch.float32)
    outputs = ((1.0, logits[:, 0]), *((AUX_WEIGHT, aux) for aux in coarse))
    for weight, some in outputs if len(target) else ():  # the mean over no picture is not a number
        wanted = F.interpolate(target, size=some.shape[1:], mode="area")[:, 0]
        total = total + weight * mask_loss(some[mask_known].float(), wanted)
    if bool(gaze_known.any()):
        wanted = F.interpolate(gaze[:, None].float().div_(255), size=logits.shape[2:], mode="area")[:, 0]
        each = gaze_loss(logits[:, 1].float(), wanted) * gaze_known
        total = total + GAZE_WEIGHT * each.sum() / len(each)
    return total


def video_loss(net: nn.Module, seen: Clips) -> Tensor:
    """The loss of some clips: of the masks accumulated through time, of the single ones, and of the teacher's.

    The recurrence is elementwise, so the gradient runs through all samples of a clip at little cost. The soft labels
    come in by the Kullback-Leibler divergence of one Bernoulli variable a pixel, up to what does not depend on the net.
    """
    device = device_of(net)
    count, samples = seen.masks.shape[:2]
    frames, motion, masks = (
        torch.from_numpy(a).to(device).flatten(0, 1) for a in (seen.frames, seen.motion, seen.masks)
    )
    x = frames.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, torch.bfloat16):
        logits, coarse = net(x, motion.float())
    logits = logits.float()
    target = masks[:, None].float().div_(255)
    wanted = F.interpolate(target, size=logits.shape[2:], mode="area")[:, 0]
    total = FRAME_WEIGHT * mask_loss(logits[:, 0], wanted)
    for aux in coarse:
        total = total + AUX_WEIGHT * mask_loss(
            aux.float(), F.interpolate(target, size=aux.shape[1:], mode="area")[:, 0]
        )
    over_time = accumulate(logits.unflatten(0, (count, samples)))
    total = total + mask_loss_of_values(over_time.flatten(0, 1), wanted)
    known = torch.from_numpy(seen.soft_known).to(device).repeat_interleave(samples)
    if bool(known.any()):
        soft = torch.from_numpy(seen.soft).to(device).flatten(0, 1)[:, None].float().div_(255)
        soft = F.interpolate(soft, size=logits.shape[2:], mode="area")[:, 0]
        each = F.binary_cross_entropy_with_logits(logits[:, 0], soft, reduction="none").mean((1, 2)) * known
        total = total + SOFT_WEIGHT * each.sum() / len(each)
    return total
