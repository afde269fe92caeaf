from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from onnx import TensorProto, helper

from tests.saliency.conftest import build_step
from vsal.errors import SettingsError
from vsal.saliency import ModelInput, ModelRefused, read_contract
from vsal.saliency.graph import operators, parse

FREE = ModelInput(pixels=36864, multiple=16, fixed=None, motion=False)


def test_image_model_with_free_sizes_is_taken(build: Callable[..., bytes]) -> None:
    assert read_contract(build()) == FREE


def test_video_model_takes_motion(build: Callable[..., bytes]) -> None:
    assert read_contract(build(kind="video")).motion


def test_fixed_size_and_batch_are_kept(build: Callable[..., bytes]) -> None:
    wants = read_contract(build(frames=(1, 144, 256, 3), properties={"vsal.input_pixels": ""}))
    assert (wants.fixed, wants.batch, wants.pixels) == ((256, 144), 1, None)
    assert wants.size_for(4 / 3) == (256, 144)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"kind": None}, "vsal.kind is None"),
        ({"kind": "foreign"}, "vsal.kind is 'foreign'"),
        ({"frames_name": "input.1"}, r"inputs \['frames'\], this one has \['input.1'\]"),
        ({"frames_type": TensorProto.FLOAT}, "`frames` must be uint8, is float"),
        ({"frames": ("n", 3, "h", "w")}, "colours last"),
        ({"frames": ("n", "h", 3)}, "4 dimensions, has 3"),
        ({"frames": ("n", 144, "w", 3)}, "both height and width or neither"),
        ({"out_type": TensorProto.FLOAT16}, "`saliency` must be float, is float16"),
        ({"properties": {"vsal.input_pixels": ""}}, "vsal.input_pixels is None"),
        ({"properties": {"vsal.input_pixels": "-4"}}, "vsal.input_pixels is '-4'"),
        ({"properties": {"vsal.size_multiple": "sixteen"}}, "vsal.size_multiple is 'sixteen'"),
    ],
)
def test_what_breaks_the_contract_is_refused_with_the_reason(
    build: Callable[..., bytes], changes: dict[str, object], says: str
) -> None:
    with pytest.raises(ModelRefused, match=says):
        read_contract(build(**changes))


def test_video_model_without_a_gate_is_refused(build: Callable[..., bytes]) -> None:
    def drop_gate(model: onnx.ModelProto) -> None:
        del model.graph.output[1]

    with pytest.raises(ModelRefused, match=r"outputs \['gate', 'saliency'\], this one has \['saliency'\]"):
        read_contract(build(kind="video", mutate=drop_gate))


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x00" * 100, b"<html></html>"])
def test_other_files_are_refused_not_crashed_on(data: bytes) -> None:
    with pytest.raises(SettingsError, match="not an ONNX model"):
        read_contract(data)


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def test_weights_in_another_file_are_refused(build: Callable[..., bytes]) -> None:
    with pytest.raises(ModelRefused, match="etc/passwd"):
        read_contract(build(mutate=lambda model: _external(model.graph.initializer[0])))


def test_weights_in_another_file_are_found_inside_a_constant(build: Callable[..., bytes]) -> None:
    def hide(model: onnx.ModelProto) -> None:
        node = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [], [1.0]))
        _external(node.attribute[0].t)
        model.graph.node.append(node)

    with pytest.raises(ModelRefused, match="another file"):
        read_contract(build(mutate=hide))


def test_a_model_over_512_mb_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vsal.saliency.graph.MAX_MODEL_BYTES", 1000)
    with pytest.raises(ModelRefused, match="limit is"):
        read_contract(b"x" * 1001)


def test_operators_inside_a_body_are_seen(build: Callable[..., bytes]) -> None:
    def nest(model: onnx.ModelProto) -> None:
        body = helper.make_graph([helper.make_node("RandomNormal", [], ["r"], shape=[1])], "body", [], [])
        model.graph.node.append(helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body))
        model.graph.node.append(helper.make_node("Fancy", ["c"], ["z"], domain="com.example"))

    found = operators(parse(build(mutate=nest)))
    assert {"If", "RandomNormal", "com.example::Fancy"} <= set(found)


@pytest.mark.parametrize(
    ("aspect", "size"),
    [(16 / 9, (256, 144)), (9 / 16, (144, 256)), (1.0, (192, 192)), (4 / 3, (224, 160)), (2.39, (304, 128))],
)
def test_size_for_common_pictures(aspect: float, size: tuple[int, int]) -> None:
    assert FREE.size_for(aspect) == size


@pytest.mark.parametrize("aspect", [1 / 4000, 0.3, 0.75, 1.25, 1.85, 3.5, 4000.0])
def test_size_for_any_picture_is_legal_and_about_the_pixels_asked_for(aspect: float) -> None:
    width, height = FREE.size_for(aspect)
    assert width % 16 == height % 16 == 0
    assert 0.75 < width * height / 36864 < 1.33
    assert abs(width / height / min(max(aspect, 0.25), 4.0) - 1) < 0.1


@pytest.mark.parametrize("aspect", [0.0, -1.0, float("nan"), float("inf")])
def test_size_for_no_picture_at_all_is_an_error(aspect: float) -> None:
    with pytest.raises(ValueError, match="aspect"):
        FREE.size_for(aspect)


def test_signed_motion_has_a_layer_for_each_time_and_elapsed_is_one_number(build: Callable[..., bytes]) -> None:
    signed = read_contract(build(kind="video", signed=2))
    assert signed.motion
    assert signed.signed
    assert not read_contract(build(kind="video")).signed
    with pytest.raises(ModelRefused, match="2, h, w"):
        read_contract(build(kind="video", signed=3))
    assert read_contract(build_step(elapsed=1)).elapsed
    assert not read_contract(build_step()).elapsed
    with pytest.raises(ModelRefused, match="elapsed_s"):
        read_contract(build_step(elapsed=2))
