"""Saliency models: the contract they keep, the session that runs them, the registry that names them."""

from __future__ import annotations

from vsal.saliency.contract import ModelInput, ModelRefused, read_contract
from vsal.saliency.registry import DEFAULT_MODEL, Entry, Model, list_models, load_model
from vsal.saliency.session import GpuUnavailable, Masks, SaliencySession

__all__ = [
    "DEFAULT_MODEL",
    "Entry",
    "GpuUnavailable",
    "Masks",
    "Model",
    "ModelInput",
    "ModelRefused",
    "SaliencySession",
    "list_models",
    "load_model",
    "read_contract",
]
