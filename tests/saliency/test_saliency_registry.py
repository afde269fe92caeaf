from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from vsal.saliency import DEFAULT_MODEL, ModelRefused, list_models, load_model
from vsal.saliency.registry import forbids_commercial_use

Folder = Callable[..., Path]
Build = Callable[..., bytes]


def test_the_default_model_is_there_and_passes_every_check() -> None:
    model = load_model()
    assert model.name == DEFAULT_MODEL
    assert model.entry is not None
    assert DEFAULT_MODEL in [entry.name for entry in list_models()]


def test_a_registered_model_is_found_by_name_and_by_path(build: Build, models_folder: Folder) -> None:
    folder = models_folder(build())
    by_name = load_model("toy")
    assert by_name.data == (folder / "toy.onnx").read_bytes()
    assert load_model(str(folder / "toy.onnx")) == by_name
    assert load_model((folder / "toy.onnx").as_uri()).sha256 == by_name.sha256


def test_an_unregistered_file_that_keeps_the_contract_is_taken(build: Build, tmp_path: Path) -> None:
    (tmp_path / "mine.onnx").write_bytes(build())
    model = load_model(str(tmp_path / "mine.onnx"))
    assert (model.name, model.entry) == ("mine", None)


def test_an_exchanged_file_is_refused_by_its_sha256(build: Build, models_folder: Folder) -> None:
    folder = models_folder(build())
    (folder / "toy.onnx").write_bytes(build(scale=1 / 300))
    for given in ("toy", str(folder / "toy.onnx")):
        with pytest.raises(ModelRefused, match=r"sha256 [0-9a-f]{64}, registered is"):
            load_model(given)


def test_an_operator_outside_the_list_is_refused_by_name(build: Build, models_folder: Folder) -> None:
    models_folder(build(batch_norm_op="RandomNormalLike"))
    with pytest.raises(ModelRefused, match=r"op_allowlist.txt: RandomNormalLike"):
        load_model("toy")


def test_a_broken_contract_names_the_file(build: Build, tmp_path: Path) -> None:
    (tmp_path / "u2netp.onnx").write_bytes(build(kind=None))
    with pytest.raises(ModelRefused, match=r"u2netp.onnx: metadata property vsal.kind"):
        load_model(str(tmp_path / "u2netp.onnx"))


def test_a_non_commercial_licence_needs_to_be_accepted(build: Build, models_folder: Folder) -> None:
    models_folder(build(), licence="CC-BY-NC-SA-4.0")
    with pytest.raises(ModelRefused, match=r"CC-BY-NC-SA-4.0.*--accept-licence"):
        load_model("toy")
    assert load_model("toy", accept_licence=True).name == "toy"


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("CC-BY-NC-4.0", True),
        ("CC-BY-NC-ND-4.0", True),
        ("PolyForm-Noncommercial-1.0.0", True),
        ("LicenseRef-non-commercial", True),
        ("academic use only", True),
        ("MIT", False),
        ("Apache-2.0 AND BSD-3-Clause", False),
        ("NCSA", False),
        ("BSD-2-Clause-Patent", False),
    ],
)
def test_which_licences_forbid_commercial_use(licence: str, forbids: bool) -> None:
    assert forbids_commercial_use(licence) is forbids


def test_an_unknown_name_lists_the_known_ones(build: Build, models_folder: Folder) -> None:
    models_folder(build())
    with pytest.raises(ModelRefused, match=r"'unisal'.*image_saliency_student_v1, .*, toy, "):
        load_model("unisal")


def test_a_missing_file_a_folder_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="no model at"):
        load_model(str(tmp_path / "none.onnx"))
    with pytest.raises(ModelRefused, match="is a folder"):
        load_model(str(tmp_path))
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(513 << 20)  # sparse: refused by its size, never read
    with pytest.raises(ModelRefused, match="the limit is 512 MB"):
        load_model(str(tmp_path / "huge.onnx"))


def test_a_registry_that_points_elsewhere_is_refused(build: Build, models_folder: Folder) -> None:
    models_folder(build(), file="../toy.onnx")
    with pytest.raises(ModelRefused, match="must lie beside the registry"):
        load_model("toy")


def test_a_broken_registry_is_named(build: Build, models_folder: Folder) -> None:
    (models_folder(build()) / "registry.json").write_text("{")
    with pytest.raises(ModelRefused, match=r"registry.json is broken"):
        list_models()
