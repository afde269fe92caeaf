"""The cut decider that a run asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from vsal.errors import Reason, SettingsError, TitleFailed
from vsal.settings import PrepareSettings
from vsal.video.shots import AdaptiveCuts, ContentCuts, CutDecider, TransNetCuts

Predict = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]


def make_cut_decider(settings: PrepareSettings, shot_model: bytes | None) -> CutDecider:
    """A fresh decider for one title.

    Args:
        settings: names the rule and the shortest shot.
        shot_model: bytes of the TransNetV2 graph, where the rule is that.

    Raises:
        SettingsError: the graph does not load or has another interface.
    """
    if settings.shot_detector == "adaptive":
        return AdaptiveCuts(min_shot_s=settings.min_shot_s)
    if settings.shot_detector == "content":
        return ContentCuts(min_shot_s=settings.min_shot_s)
    if shot_model is None:
        raise SettingsError("the transnetv2 shot detector needs its ONNX file: --shot-model FILE")
    predict, logits = cut_model(shot_model)
    return TransNetCuts(predict, logits=logits)


@lru_cache(maxsize=2)
def cut_model(data: bytes) -> tuple[Predict, bool]:
    """A TransNetV2 graph as a function: uint8 or float32 [1, 100, 27, 48, 3] RGB 0..255 to one value a frame.

    Returns:
        The function, and whether its values are logits rather than probabilities.

    Raises:
        SettingsError: the graph does not load or has another interface.
    """
    import onnx
    import onnxruntime

    try:
        graph = onnx.load_model_from_string(data).graph
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise SettingsError(f"the cut model does not load: {error}") from error
    given = session.get_inputs()[0]
    fixed = [size for size in given.shape if isinstance(size, int)]
    if len(given.shape) != 5 or not set(fixed) <= {1, 100, 27, 48, 3}:
        raise SettingsError(f"a TransNetV2 graph takes [1, 100, 27, 48, 3]; this one takes {given.shape}")
    kind = np.float32 if "float" in given.type else np.uint8
    output = session.get_outputs()[0].name
    maker = next((node.op_type for node in graph.node if output in node.output), "")

    def predict(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.floating]:
        try:
            values: npt.NDArray[np.floating] = session.run([output], {given.name: frames.astype(kind)})[0]
        except Exception as error:
            raise TitleFailed(Reason.MODEL_ERROR, f"the cut model failed: {error}") from error
        return values

    return predict, maker != "Sigmoid"
