"""What a gaze network is trained to make small: the distance of its density from where people look."""

from __future__ import annotations

import torch
from torch import Tensor

CC_WEIGHT, NSS_WEIGHT = 0.5, 0.1  # beside the Kullback-Leibler divergence, in nats


def density_loss(log_density: Tensor, wanted: Tensor, points: Tensor) -> Tensor:
    """KL(wanted || given) + CC_WEIGHT (1 - CC) - NSS_WEIGHT NSS, averaged over pictures.

    The divergence is the log-likelihood of blurred fixations up to a constant; correlation and normalised scanpath
    saliency are the field's other two measures of a density (Bylinskii et al., "What do different evaluation metrics
    tell us about saliency models?", PAMI 2019). Pictures without fixations have no NSS.

    Args:
        log_density: float [n, h, w], up to a constant.
        wanted: float [n, h, w], each of sum 1.
        points: float [n, h, w], the share of the fixations in each cell; zeros if there are none.
    """
    log_p = log_density.flatten(1).log_softmax(1)
    p, q, at = log_p.exp(), wanted.flatten(1), points.flatten(1)
    divergence = (q * ((q + 1e-9).log() - log_p)).sum(1)
    a, b = p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True)
    correlation = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-9)
    scanpath = (a * at).sum(1) / (a.pow(2).mean(1).sqrt() + 1e-9)
    return torch.mean(divergence + CC_WEIGHT * (1 - correlation) - NSS_WEIGHT * scanpath)
