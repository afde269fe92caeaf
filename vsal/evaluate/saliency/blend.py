"""The untrained blend: the first image student and a gaze teacher, added and drawn to the middle; nothing is trained.

What a model must beat to have been worth training.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from vsal.evaluate.saliency.items import DatasetBroken
from vsal.saliency import Masks, ModelInput, SaliencySession
from vsal.saliency.prior import FIXED_PRIOR

Frames = NDArray[np.uint8]
Motion = NDArray[np.uint8 | np.int8]
Floats = NDArray[np.float32]

TEACHER_PIXELS = 640 * 360  # what the teacher was trained at; at half the width it loses a third of its NSS on stills
TEACHER_STRIDE = 16
CAFFE_MEAN_RGB = (123.68, 116.78, 103.94)
FULL = 16.0  # a density so many times the mean is 1; the sharpest blends of the clips reach 14


class Blend:
    """(Student + teacher) x prior, each of the two divided by its standard deviation over the picture.

    Args:
        student: an .onnx file of kind image.
        teacher: an .onnx file that takes BGR less Caffe's means, float32 [1, 3, h, w], and gives half of a log density.
    """

    def __init__(self, student: bytes, teacher: bytes) -> None:
        self.input = ModelInput(pixels=TEACHER_PIXELS, multiple=TEACHER_STRIDE, fixed=None, motion=False)
        self._student = SaliencySession(student)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self._teacher = ort.InferenceSession(teacher, options, providers=["CPUExecutionProvider"])
        self._name = self._teacher.get_inputs()[0].name

    def run(self, frames: Frames, motion: Motion | None = None) -> Masks:
        """Densities of frames uint8 [n, h, w, 3], as a share of 16 times their mean, cut at 1: float32 [n, h', w']."""
        return Masks(np.stack([self._one(frame) for frame in frames]), None)

    def _one(self, frame: Frames) -> Floats:
        height, width = frame.shape[:2]
        shown = cv2.resize(frame, self._student.input.size_for(width / height), interpolation=cv2.INTER_AREA)
        mask = self._student.run(np.asarray(shown, np.uint8)[None]).saliency[0].astype(np.float32)
        pixels = (frame.astype(np.float32) - np.array(CAFFE_MEAN_RGB, np.float32))[..., ::-1]
        half_log = self._teacher.run(None, {self._name: np.ascontiguousarray(pixels.transpose(2, 0, 1))[None]})[0][0, 0]
        looks = np.exp(2 * (half_log - half_log.max()))
        looks = cv2.resize(looks, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        both = _evened(mask) + _evened(np.asarray(looks, np.float32))
        density = both * FIXED_PRIOR.density(*both.shape)
        return np.asarray((density / (FULL * max(float(density.mean()), 1e-12))).clip(0, 1), np.float32)


def blend_identity(student: bytes, teacher: bytes) -> str:
    """Names the blend of two files."""
    return hashlib.sha256(hashlib.sha256(student).digest() + hashlib.sha256(teacher).digest()).hexdigest()


def read_teacher(path: Path) -> bytes:
    """The teacher's file.

    Raises:
        DatasetBroken: it is not there.
    """
    if not path.is_file():
        raise DatasetBroken(f"there is no gaze teacher at {path}: name its .onnx file with --gaze-teacher")
    return path.read_bytes()


def _evened(values: Floats) -> Floats:
    deviation = float(values.std())
    return values / np.float32(deviation) if deviation > 1e-6 else values * 0
