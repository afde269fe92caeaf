from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.saliency import foreign_graphs as theirs
from vsal.cli.app import build as command
from vsal.errors import SettingsError
from vsal.saliency import ModelRefused, SaliencySession, list_models, load_model
from vsal.saliency import register as module
from vsal.saliency.foreign import Interface
from vsal.saliency.register import add_model
from vsal.saliency.registry import user_folder

Verb = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def own_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VSAL_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def foreign(tmp_path: Path) -> Callable[..., str]:
    def write(data: bytes, name: str = "net.onnx") -> str:
        (tmp_path / name).write_bytes(data)
        return str(tmp_path / name)

    return write


@pytest.fixture
def vsal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Verb:
    monkeypatch.setenv("COLUMNS", "250")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command()(args=[str(a) for a in arguments], prog_name="vsal")
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


def test_an_added_model_is_listed_loads_and_runs(foreign: Callable[..., str], own_models: Path) -> None:
    entry = add_model(
        foreign(theirs.image_model()), Interface("image"), "MIT", name="mine", training_data=["mine, own pictures"]
    )
    assert entry.folder == own_models
    assert entry in list_models()
    assert (entry.kind, entry.licence, entry.training_data) == ("image", "MIT", ("mine, own pictures",))
    assert {"Conv", "Sigmoid", "Transpose"} <= set(entry.ops)
    model = load_model("mine")
    assert model.sha256 == entry.sha256 == hashlib.sha256(entry.path.read_bytes()).hexdigest()
    assert SaliencySession(model.data).run(np.zeros((1, 32, 64, 3), np.uint8)).saliency.shape == (1, 32, 64)
    entry.path.write_bytes(theirs.image_model())
    with pytest.raises(ModelRefused, match="registered is"):
        load_model("mine")


def test_models_that_are_registered_at_once_are_all_kept(
    foreign: Callable[..., str], own_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, read = foreign(theirs.image_model()), module.read_items

    def slowly(folder: Path) -> Any:
        found = read(folder)
        time.sleep(0.05)  # as long as another has to get between reading and writing
        return found

    monkeypatch.setattr(module, "read_items", slowly)
    with ThreadPoolExecutor(6) as pool:
        names = {f"m{i}" for i in range(6)}
        list(pool.map(lambda name: add_model(source, Interface("image"), "MIT", name=name), names))
    assert names <= {entry.name for entry in list_models()}


def test_a_model_in_the_contract_is_registered_as_it_is(
    foreign: Callable[..., str], build: Callable[..., bytes]
) -> None:
    data = build(kind="video")
    entry = add_model(foreign(data), None, "MIT")
    assert (entry.name, entry.kind, entry.sha256) == ("net", "video", hashlib.sha256(data).hexdigest())
    with pytest.raises(ModelRefused, match="vsal models add"):
        add_model(foreign(theirs.image_model()), None, "MIT", name="other")


def test_without_a_folder_named_models_go_to_the_users_data(
    foreign: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("VSAL_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    entry = add_model(foreign(theirs.image_model()), Interface("image"), "MIT")
    assert entry.folder == tmp_path / "data" / "vsal" / "models" == user_folder()
    assert load_model("net").entry == entry
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_folder() == tmp_path / ".local" / "share" / "vsal" / "models"


def test_a_user_without_a_home_still_has_the_shipped_models(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VSAL_MODELS", "XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_such_user(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr("pwd.getpwuid", no_such_user)
    assert load_model().name == "image_saliency_student_v2"
    monkeypatch.setenv("HOME", "/proc/1/root")  # a folder into which nobody but root is let
    assert load_model().name == "image_saliency_student_v2"


def test_a_name_is_taken_once_and_replaced_when_asked(foreign: Callable[..., str], own_models: Path) -> None:
    first = add_model(foreign(theirs.image_model()), Interface("image"), "MIT")
    other = foreign(theirs.salema_backbone(), "other.onnx")
    with pytest.raises(ModelRefused, match=r"registered already.*--replace"):
        add_model(other, Interface("image"), "MIT", name="net")
    second = add_model(other, Interface("image"), "Apache-2.0", name="net", replace=True)
    assert [e.licence for e in list_models() if e.name == "net"] == ["Apache-2.0"]
    assert not first.path.exists()
    assert second.path.exists()
    with pytest.raises(ModelRefused, match="comes with vsal"):
        add_model(other, Interface("image"), "MIT", name="image_saliency_student_v1", replace=True)


def _strange_op() -> bytes:
    model = onnx.load_model_from_string(theirs.image_model())
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Dropout"
    return model.SerializeToString()


def _external() -> bytes:
    model = onnx.load_model_from_string(theirs.image_model())
    model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="../weights.bin")
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("data", "changes", "says"),
    [
        (_strange_op(), {}, r"op_allowlist.txt: Dropout. Export without"),
        (_external(), {}, r"lie in another file \(../weights.bin\)"),
        (theirs.image_model(), {"licence": "CC-BY-NC-4.0"}, "CC-BY-NC-4.0.*--accept-licence"),
        (theirs.image_model(), {"licence": " "}, "--licence"),
        (theirs.image_model(), {"sha256": "0" * 64}, r"expected was 0{64}: fetch the file again"),
        (theirs.image_model(), {"name": "../up"}, "no name for a model"),
        (theirs.image_model(), {"name": "two words"}, "no name for a model"),
        (theirs.image_model(last=""), {}, "leaves 0..1.*--output"),
        (b"PK\x03\x04", {}, "not an ONNX model"),
    ],
)
def test_what_is_refused_is_not_registered(
    foreign: Callable[..., str], data: bytes, changes: dict[str, Any], says: str, own_models: Path
) -> None:
    arguments: dict[str, Any] = {"licence": "MIT", **changes}
    with pytest.raises(ModelRefused, match=says):
        add_model(foreign(data), Interface("image"), **arguments)
    assert not own_models.exists()


def test_a_file_over_512_mb_is_refused_by_its_size(tmp_path: Path) -> None:
    with open(tmp_path / "huge.onnx", "wb") as file:
        file.truncate(513 << 20)
    with pytest.raises(ModelRefused, match="the limit is 512 MB"):
        add_model(str(tmp_path / "huge.onnx"), Interface("image"), "MIT")


def test_a_non_commercial_model_is_accepted_twice_once_for_the_registry_and_once_for_the_run(
    foreign: Callable[..., str],
) -> None:
    add_model(foreign(theirs.image_model()), Interface("image"), "CC-BY-NC-4.0", accept_licence=True)
    with pytest.raises(ModelRefused, match="--accept-licence"):
        load_model("net")
    assert load_model("net", accept_licence=True).name == "net"


def test_the_verb_adds_and_lists(vsal: Verb, foreign: Callable[..., str]) -> None:
    path = foreign(theirs.unisal("h", "w"))
    options = ("--kind", "recurrent", "--output", "log-density", "--size", "48x32", "--state", "h0=hn")
    told = ("--licence", "Apache-2.0", "--name", "tiny-unisal", "--training-data", "DHF1K: research")
    code, out, err = vsal("models", "add", path, *options, *told, "--json")
    assert code == 0, err
    added = json.loads(out)
    assert (added["name"], added["kind"], added["training_data"]) == ("tiny-unisal", "recurrent", ["DHF1K: research"])
    code, out, _ = vsal("models", "list", "--json")
    listed = {model["name"]: model for model in json.loads(out)["models"]}
    assert listed["tiny-unisal"]["sha256"] == added["sha256"]
    assert all(model["ms_a_frame"] > 0 and model["refused"] is None for model in listed.values())
    _, out, _ = vsal("models", "list", "--no-time")
    for shown in ("tiny-unisal", "recurrent", "Apache-2.0", "DHF1K: research", added["sha256"][:16]):
        assert shown in out


def test_a_damaged_model_is_listed_with_the_reason(vsal: Verb, foreign: Callable[..., str]) -> None:
    entry = add_model(foreign(theirs.image_model()), Interface("image"), "MIT")
    entry.path.write_bytes(b"")
    code, out, _ = vsal("models", "list")
    assert code == 0
    assert "registered is" in out


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--kind", "video", "--kind is one of image, clip, recurrent"),
        ("--normalise", "mean", "--normalise is one of imagenet"),
        ("--layout", "chw", "--layout is one of nchw, nhwc"),
        ("--output", "map", "--output is one of mask"),
        ("--mask-of", "first", "--mask-of is one of last, centre"),
        ("--size", "384", "--size is a width and a height"),
        ("--state", "h0", "--state is the name of an input"),
    ],
)
def test_an_option_out_of_range_ends_with_2(
    vsal: Verb, foreign: Callable[..., str], option: str, value: str, says: str
) -> None:
    given = {"--kind": "image", "--licence": "MIT", option: value}
    code, _, err = vsal("models", "add", foreign(theirs.image_model()), *(t for pair in given.items() for t in pair))
    assert code == 2
    assert says in err


@pytest.mark.parametrize("verb", ["prepare", "plan"])
def test_a_mode_or_an_aggregator_that_the_model_does_not_fit_is_refused_before_any_work(
    vsal: Verb, foreign: Callable[..., str], verb: str, tmp_path: Path
) -> None:
    add_model(foreign(theirs.clip_model(4)), Interface("clip"), "MIT", name="tased")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(b"x")
    asked = (verb, tmp_path / "films", "--out", tmp_path / "out", "--model", "tased")
    code, _, err = vsal(*asked, "--saliency-mode", "video")
    assert code == 2
    assert "this model is of kind 'clip' and sees none" in err
    code, _, err = vsal(*asked, "--aggregator", "learned")
    assert code == 2
    assert "use --aggregator mean, as it remembers by itself" in err
    assert not (tmp_path / "out" / "maps").exists()


def test_the_mode_chooses_the_shipped_model_and_its_memory(
    vsal: Verb, models_folder: Callable[..., Path], build: Callable[..., bytes], tmp_path: Path
) -> None:
    models_folder(build(kind="video"), name="video_saliency_student_v2", kind="video")
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "a.mp4").write_bytes(b"x")
    asked = ("plan", tmp_path / "films", "--json", "--max-failed", "1", "--saliency-mode", "video")
    for more, aggregator in (
        ((), "learned"),
        (("--map-interval", "shot"), "learned"),
        (("--aggregator", "ema"), "ema"),
    ):
        code, out, err = vsal(*asked, *more)
        assert code == 0, err
        document = json.loads(out)
        chosen = (document["saliency_mode"], document["model"], document["aggregator"])
        assert chosen == ("video", "video_saliency_student_v2", aggregator)


def test_refusals_are_settings_errors() -> None:
    assert issubclass(ModelRefused, SettingsError)
