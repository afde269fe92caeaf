"""Whether a model can do what a run asks of it."""

from __future__ import annotations

from vsal.saliency.contract import ModelInput
from vsal.saliency.graph import ModelRefused


def require_fit(wants: ModelInput, mode: str, aggregator: str) -> ModelInput:
    """The same, if a run of that saliency mode with that aggregator can use the model.

    Args:
        wants: of the model.
        mode: "image" or "video".
        aggregator: its name.

    Raises:
        ModelRefused: the model is of the other kind, gives no gate to the aggregator, or depends on the frames before.
    """
    require_any_order(wants)
    if mode == "video" and not wants.motion:
        raise ModelRefused(
            "--saliency-mode video takes a model of kind 'video', and this one is of kind 'image': leave out --model "
            "for the shipped one, choose another (`vsal models list`), or use --saliency-mode image"
        )
    if mode == "image" and wants.motion:
        raise ModelRefused(
            "this model is of kind 'video': add --saliency-mode video, or choose a model of kind 'image'"
        )
    if aggregator == "learned" and not wants.motion:
        raise ModelRefused(
            "--aggregator learned needs the gate that a model of kind 'video' gives, and this one is of kind 'image': "
            "use --saliency-mode video, or --aggregator ema"
        )
    return wants


def require_any_order(wants: ModelInput) -> ModelInput:
    """The same, if the model sees each frame for itself.

    Raises:
        ModelRefused: its masks depend on the frames before, so it cannot run on pieces of a title in parallel.
    """
    if wants.ordered:
        kind = "recurrent" if wants.states else f"clip ({wants.batch} frames)"
        raise ModelRefused(
            f"a {kind} model needs the frames of a title in order and without gaps, and prepare runs the model on "
            "pieces of a title in parallel: choose a model of kind 'image' or 'video' (`vsal models list`), and "
            "compare this one with it by `vsal evaluate saliency`"
        )
    return wants
