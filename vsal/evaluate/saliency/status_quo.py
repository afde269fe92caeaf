"""The arms that stand in every table of gaze: the first models as they were shipped, and the untrained blend."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from vsal.evaluate.saliency.arms import BLEND, Arm
from vsal.evaluate.saliency.blend import Blend, blend_identity, read_teacher
from vsal.saliency import SaliencySession, load_model
from vsal.saliency.registry import Model

STUDENT = "image_saliency_student_v1"
IMAGE_MODELS = (STUDENT, f"{STUDENT}_int8", "image_saliency_student_small_v1")
VIDEO_MODEL = "video_saliency_student_v1"
VIDEO_AGGREGATORS = ("ema", "mean", "learned")
TEACHER_FILE = Path("teachers") / "fastgaze.onnx"  # beside the folder of the clips, unless another is named


def status_quo(teacher: Path | None) -> list[Arm]:
    """The untrained blend, where there is a teacher, and the first students.

    Args:
        teacher: the gaze teacher's .onnx file; None leaves the blend out.

    Raises:
        DatasetBroken: the file is not there.
    """
    arms = []
    if teacher is not None:
        student, gaze = load_model(STUDENT).data, read_teacher(teacher)
        arms.append(Arm(BLEND, "ema", blend_identity(student, gaze), lambda: Blend(student, gaze)))
    arms += [model_arm(load_model(name), "ema") for name in IMAGE_MODELS]
    return arms + [model_arm(load_model(VIDEO_MODEL), aggregator) for aggregator in VIDEO_AGGREGATORS]


def model_arm(model: Model, aggregator: str, device: Literal["cpu", "gpu"] = "cpu", threads: int = 1) -> Arm:
    """A model under an aggregator; on a GPU its masks are others, by their last bits."""
    identity = model.sha256 if device == "cpu" else f"{model.sha256} on a {device}"
    return Arm(model.name, aggregator, identity, lambda: SaliencySession(model.data, device=device, threads=threads))


def own_aggregator(session: SaliencySession, settings_aggregator: str) -> str:
    """The aggregator that prepare gives a model where none is chosen."""
    if session.input.gives_gate:
        return "learned"
    return "mean" if session.input.ordered else settings_aggregator
