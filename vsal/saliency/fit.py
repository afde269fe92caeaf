"""Whether a model can do what a run asks of it."""

from __future__ import annotations

from vsal.saliency.contract import ModelInput
from vsal.saliency.graph import ModelRefused


def require_fit(wants: ModelInput, mode: str, aggregator: str) -> ModelInput:
    """The same, if a run of that saliency mode with that aggregator can use the model.

    Args:
        wants: of the model.
        mode: "image" for models that see colour alone, "video" for those that see motion too.
        aggregator: its name.

    Raises:
        ModelRefused: the model is for the other mode, or gives no gate to the aggregator that needs one.
    """
    kind = f"this model is of kind {wants.kind!r}"
    if mode == "video" and not wants.motion:
        raise ModelRefused(
            f"--saliency-mode video takes a model that sees motion, and {kind} and sees none: leave out --model for "
            "the shipped one, choose another (`vsal models list`), or use --saliency-mode image"
        )
    if mode == "image" and wants.motion:
        raise ModelRefused(f"{kind} and sees motion: add --saliency-mode video, or choose a model of kind 'image'")
    if aggregator == "learned" and not wants.gives_gate:
        other = "--aggregator mean, as it remembers by itself" if wants.ordered else "--aggregator ema"
        raise ModelRefused(
            f"--aggregator learned needs the gate that models of kind 'video' give, and {kind}: use {other}, or "
            "--saliency-mode video with a model of that kind"
        )
    return wants
