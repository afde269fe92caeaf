from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.saliency import foreign_graphs as theirs
from vsal.saliency import ModelRefused, SaliencySession, read_contract
from vsal.saliency.density import saliency_of
from vsal.saliency.foreign import Interface, wrap
from vsal.saliency.graph import operators, parse
from vsal.saliency.ordered import window
from vsal.temporal import Ema, Fold

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def noise(n: int, h: int, w: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, 3), np.uint8)


def imagenet(frames: np.ndarray) -> np.ndarray:
    return ((frames / 255 - MEAN) / STD).astype(np.float32)


def run_theirs(data: bytes, **feed: np.ndarray) -> list[np.ndarray]:
    return ort.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feed)


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("opset", [9, 11, 13, 17, 21])
def test_an_image_model_gives_the_masks_it_gave_before(nhwc: bool, opset: int) -> None:
    shape = ("n", "h", "w", 3) if nhwc else ("n", 3, "h", "w")
    data, frames = theirs.image_model(shape, nhwc, opset), noise(3, 32, 64)
    wrapped = wrap(data, Interface("image", layout="nhwc" if nhwc else "nchw", size=(64, 32), multiple=8))
    wants = read_contract(wrapped)
    assert (wants.pixels, wants.multiple, wants.fixed, wants.ordered) == (2048, 8, None, False)
    x = imagenet(frames) if nhwc else imagenet(frames).transpose(0, 3, 1, 2)
    before = run_theirs(data, **{"input.1": x})[0]
    np.testing.assert_allclose(SaliencySession(wrapped).run(frames).saliency, before.reshape(3, 32, 64), atol=1e-5)


def test_side_outputs_are_not_computed_any_more() -> None:
    wrapped = parse(wrap(theirs.image_model(), Interface("image")))
    assert [v.name for v in wrapped.graph.output] == ["saliency"]
    assert "Softplus" not in operators(wrapped)


def test_u2netp_itself_runs_in_the_contract(shared_data: Path) -> None:
    data = (shared_data / "teachers" / "u2netp.onnx").read_bytes()
    session = SaliencySession(wrap(data, Interface("image")))
    assert (session.input.fixed, session.input.batch) == ((320, 320), 1)
    frames = noise(2, 320, 320)
    frames[:, 100:220, 100:220] = (250, 20, 20)
    name = ort.InferenceSession(data).get_inputs()[0].name
    before = np.concatenate([run_theirs(data, **{name: imagenet(f[None]).transpose(0, 3, 1, 2)})[0][0] for f in frames])
    np.testing.assert_allclose(session.run(frames).saliency, before, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", lambda f: f / 255),
        ("raw", lambda f: f.astype(np.float64)),
        ("symmetric", lambda f: f / 127.5 - 1),
        ("caffe", lambda f: f[..., ::-1] - np.array([103.939, 116.779, 123.68])),
    ],
)
def test_colours_arrive_as_the_model_was_trained_on_them(name: Any, expected: Any) -> None:
    g = theirs.Graph()
    x = g.takes("x", ("n", 3, 2, 2))
    weighed = g.add("Mul", x, g.weight([[[0.1]], [[0.2]], [[0.4]]]))
    g.add("Sigmoid", g.add("Mul", g.add("ReduceMean", weighed, axes=[1], keepdims=1), g.weight(0.01)), out="y")
    g.gives("y", ("n", 1, 2, 2))
    frames = noise(2, 2, 2)
    weights = np.array([0.1, 0.2, 0.4])
    mask = 1 / (1 + np.exp(-0.01 * (expected(frames) * weights).mean(3)))
    session = SaliencySession(wrap(g.bytes(), Interface("image", normalise=name)))
    np.testing.assert_allclose(session.run(frames).saliency, mask, atol=1e-5)


@pytest.mark.parametrize("opset", [13, 18])
def test_what_is_no_mask_becomes_one(opset: int) -> None:
    frames = noise(2, 16, 16)
    data = theirs.image_model(opset=opset, last="")
    logits = run_theirs(data, **{"input.1": imagenet(frames).transpose(0, 3, 1, 2)})[0][:, 0]
    outputs: dict[Any, np.ndarray] = {
        "logits": 1 / (1 + np.exp(-logits)),
        "log-density": saliency_of(np.exp(logits)),
    }
    for output, mask in outputs.items():
        session = SaliencySession(wrap(data, Interface("image", output=output, multiple=16)))
        np.testing.assert_allclose(session.run(frames).saliency, mask, atol=1e-5)
    density = theirs.image_model(opset=opset, last="Exp")
    session = SaliencySession(wrap(density, Interface("image", output="density", multiple=16)))
    np.testing.assert_allclose(session.run(frames).saliency, outputs["log-density"], atol=1e-5)
    with pytest.raises(ModelRefused, match="--output"):
        SaliencySession(wrap(data, Interface("image")))


def test_a_salema_backbone_under_our_ema_is_salema() -> None:
    data, frames = theirs.salema_backbone(), noise(9, 48, 64)
    masks = SaliencySession(wrap(data, Interface("image", normalise="caffe"))).run_sequence(frames).saliency
    fold = Fold(Ema(0.1))
    x = (frames[..., ::-1] - np.array([103.939, 116.779, 123.68])).astype(np.float32).transpose(0, 3, 1, 2)
    expected = None
    for mask, plain in zip(masks, run_theirs(data, frame=x)[0][:, 0], strict=True):
        fold.add(mask, motion=0.0)
        expected = plain if expected is None else 0.1 * plain + 0.9 * expected
    np.testing.assert_allclose(fold.mask(), expected, atol=1e-5)


@pytest.mark.parametrize("free", [False, True])
def test_a_unisal_like_recurrence_carries_its_state(free: bool) -> None:
    data, frames = theirs.unisal(), noise(7, 32, 48)
    foreign = theirs.unisal("h", "w") if free else data
    session = SaliencySession(wrap(foreign, Interface("recurrent", output="log-density", size=(48, 32))))
    assert session.input.ordered
    assert session.input.fixed == (48, 32)
    assert [state.shape for state in session.input.states] == [(1, 4, 8, 12)]
    hidden, expected = np.zeros((1, 4, 8, 12), np.float32), []
    for x in imagenet(frames).transpose(0, 3, 1, 2):
        y, hidden = run_theirs(data, frames=x[None, None], h0=hidden)
        expected.append(saliency_of(np.exp(y - y.max())[0, 0, 0]))
    np.testing.assert_allclose(session.run_sequence(frames).saliency, expected, atol=1e-5)
    np.testing.assert_allclose(session.run_sequence(frames).saliency, expected, atol=1e-5)  # from zeros again


@pytest.mark.parametrize(
    ("order", "out", "mask_of"), [("ncthw", "nhw", "last"), ("ntchw", "nchw", "centre"), ("nthwc", "nhw", "last")]
)
def test_a_clip_model_sees_a_window_around_every_frame(order: str, out: str, mask_of: Any) -> None:
    data, frames = theirs.clip_model(order=order, out=out), noise(40, 16, 24)
    layout: Any = "nhwc" if order.endswith("c") else "nchw"
    session = SaliencySession(wrap(data, Interface("clip", normalise="symmetric", layout=layout, mask_of=mask_of)))
    at = 31 if mask_of == "last" else 16
    assert (session.input.batch, session.input.mask_frame) == (32, at)
    masks = session.run_sequence(frames).saliency
    assert masks.shape == (40, 16, 24)
    x = (frames / 127.5 - 1).astype(np.float32)
    for i in (0, 5, 33, 39):
        seen = x[np.pad(np.arange(40), 40, mode="reflect")[40 + i - at : 40 + i - at + 32]]  # [t, h, w, c]
        perm = ["thwc".index(axis) for axis in order if axis != "n"]
        before = run_theirs(data, clip=seen.transpose(perm)[None])[0]
        np.testing.assert_allclose(masks[i], before.reshape(16, 24), atol=1e-5)


@pytest.mark.parametrize(("mask_of", "at"), [("last", 31), ("centre", 16)])
def test_of_a_mask_for_every_frame_the_right_one_is_taken(mask_of: Any, at: int) -> None:
    data, frames = theirs.clip_model(out="nthw"), noise(32, 16, 24)
    session = SaliencySession(wrap(data, Interface("clip", normalise="none", mask_of=mask_of)))
    masks = session.run_sequence(frames).saliency
    np.testing.assert_allclose(masks, 1 / (1 + np.exp(-frames.mean(3) / 255)), atol=1e-5)


def test_a_selective_scan_runs_as_a_clip_model() -> None:
    data, frames = theirs.selective_scan(), noise(32, 16, 24)
    session = SaliencySession(wrap(data, Interface("clip", normalise="none")))
    state = np.zeros((16, 24))
    for u in frames.mean(3) / 255:
        delta = np.log1p(np.exp(0.7 * u))
        state = np.exp(-delta) * state + delta * u
    np.testing.assert_allclose(session.run_sequence(frames).saliency[-1], 1 / (1 + np.exp(-state)), atol=1e-4)


def test_clips_of_any_length_need_one() -> None:
    data = theirs.clip_model("t")
    with pytest.raises(ModelRefused, match="--clip-frames"):
        wrap(data, Interface("clip"))
    assert read_contract(wrap(data, Interface("clip", clip_frames=5))).batch == 5


@pytest.mark.parametrize(("n", "size", "at"), [(1, 4, 3), (2, 5, 4), (3, 8, 4), (10, 4, 3), (10, 32, 31), (50, 32, 16)])
def test_windows_mirror_the_sequence_at_its_ends(n: int, size: int, at: int) -> None:
    mirrored = np.pad(np.arange(n), size, mode="reflect") if n > 1 else np.zeros(2 * size + 1, int)
    for i in range(n):
        start = size + i - at
        assert window(i, n, size, at).tolist() == mirrored[start : start + size].tolist()


def test_order_matters_to_ordered_models_so_they_refuse_loose_frames() -> None:
    session = SaliencySession(wrap(theirs.unisal(), Interface("recurrent", output="log-density")))
    with pytest.raises(ValueError, match="run_sequence"):
        session.run(noise(1, 32, 48))
    assert len(session.run_sequence(noise(0, 32, 48)).saliency) == 0


def test_a_graph_in_half_precision_is_taken() -> None:
    from onnx import TensorProto

    g = theirs.Graph()
    x = g.takes("x", ("n", 3, "h", "w"), TensorProto.FLOAT16)
    g.add("ReduceMean", g.add("Sigmoid", x), axes=[1], keepdims=1, out="y")
    g.gives("y", ("n", 1, "h", "w"), TensorProto.FLOAT16)
    frames = noise(2, 8, 8)
    masks = SaliencySession(wrap(g.bytes(), Interface("image", normalise="none", multiple=8))).run(frames).saliency
    np.testing.assert_allclose(masks, (1 / (1 + np.exp(-(frames / 255)))).mean(3), atol=2e-3)


def _two_states() -> bytes:
    g = theirs.Graph()
    x = g.takes("x", (1, 3, 4, 4))
    a, b = g.takes("a", (1, 3, 4, 4)), g.takes("b", (1, 3, 4, 4))
    g.add("Mul", g.add("Add", x, b), g.weight(0.5), out="a_next")
    g.add("Add", g.add("Mul", a, g.weight(0.25)), g.weight(0.1), out="b_next")
    g.add("Sigmoid", g.add("ReduceMean", "a_next", axes=[1], keepdims=1), out="mask")
    g.gives("b_next", (1, 3, 4, 4))
    g.gives("mask", (1, 1, 4, 4))
    g.gives("a_next", (1, 3, 4, 4))
    return g.bytes()


def test_states_that_do_not_pair_by_order_are_named() -> None:
    named = Interface(
        "recurrent", normalise="none", mask_output="mask", states={"a": "a_next", "b": "b_next"}, size=(4, 4)
    )
    frames = noise(4, 4, 4)
    a = b = np.zeros((3, 4, 4))
    for x in frames.transpose(0, 3, 1, 2) / 255:
        a, b = (x + b) / 2, a / 4 + 0.1
    masks = SaliencySession(wrap(_two_states(), named)).run_sequence(frames).saliency
    np.testing.assert_allclose(masks[-1], 1 / (1 + np.exp(-a.mean(0))), atol=1e-5)
    with pytest.raises(ModelRefused, match="--state IN=OUT"):
        wrap(_two_states(), Interface("recurrent"))


def _state_of_free_size() -> bytes:
    g = theirs.Graph()
    x, h0 = g.takes("x", (1, 3, "h", "w")), g.takes("h0", ("y", "z"))
    g.add("Sigmoid", g.add("ReduceMean", x, axes=[1], keepdims=1), out="mask")
    g.add("Mul", h0, g.weight(0.5), out="hn")
    g.gives("mask", (1, 1, "h", "w"))
    g.gives("hn", ("y", "z"))
    return g.bytes()


@pytest.mark.parametrize(
    ("data", "interface", "says"),
    [
        (theirs.image_model(), Interface("clip"), r"takes input.1 \[\?, 3, \?, \?\]: check --kind"),
        (theirs.image_model(("n", 3, 32, 48)), Interface("image", layout="nhwc"), "--layout"),
        (theirs.image_model(), Interface("image", mask_output="d7"), "no output 'd7'; it has: d0, d1"),
        (theirs.image_model(), Interface("image", mask_output="d1"), r"the output is d1 \[\?, 8, \?, \?\]"),
        (theirs.image_model(), Interface("image", frames_input="x"), "no input 'x'; it has: input.1"),
        (theirs.image_model(("n", 3, 32, "w")), Interface("image"), "fix both or none"),
        (theirs.image_model((4, 3, 32, 32)), Interface("recurrent"), "with 1 at 'n'"),
        (theirs.image_model((1, 3, 32, 32)), Interface("recurrent"), "states in: none"),
        (theirs.unisal(), Interface("image"), "check --kind"),
        (theirs.unisal(), Interface("image", frames_input="h0"), "3 colours"),
        (_state_of_free_size(), Interface("recurrent", size=(8, 8)), r"h0 \[\?, \?\] is of free size"),
        (theirs.clip_model(), Interface("recurrent"), "with 1 at 't'"),
        (b"not a model", Interface("image"), "not an ONNX model"),
    ],
)
def test_a_graph_of_another_interface_is_refused_with_what_it_has(data: bytes, interface: Interface, says: str) -> None:
    with pytest.raises(ModelRefused, match=says):
        SaliencySession(wrap(data, interface))
