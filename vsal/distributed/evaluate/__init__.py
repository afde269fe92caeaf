"""Evaluating encodes: titles against their controls, as a kind of work."""

from __future__ import annotations

from vsal.distributed.evaluate.catalogue import evaluate_catalogue

__all__ = ["evaluate_catalogue"]
