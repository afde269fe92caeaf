"""Named models: where they lie, and what must hold before one is used.

A folder of models holds `registry.json`, `op_allowlist.txt` and the .onnx files. The wheel carries one
(`vsal/_models`), a checkout has it at `model/shipped/`, and a user's own is looked into first: where VSAL_MODELS
points, or `vsal/models` among the user's data.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsal import storage
from vsal.saliency.contract import read_contract
from vsal.saliency.graph import MAX_MODEL_BYTES, ModelRefused, operators, parse

REGISTRY = "registry.json"
DEFAULT_MODEL = "image_saliency_student_v2"
_NON_COMMERCIAL = re.compile(
    r"(^|[-_ ])nc([-_ .]|$)|non-?commercial|(research|academic)[-_ ]?(use[-_ ])?only", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Entry:
    """What the registry knows of a model.

    kind: "image", "video", "clip" or "recurrent". sha256: of the file, hex. parameters: numbers in the stored float
    tensors. licence: SPDX expression of the weights. training_data: names and terms. ops: operators in the
    graph, sorted. teachers: models whose answers it has learned from; None where nobody has said. ancestors: models
    whose weights it began with, or was made of by quantising; likewise.
    """

    name: str
    file: str
    kind: str
    sha256: str
    parameters: int
    licence: str
    training_data: tuple[str, ...]
    ops: tuple[str, ...]
    folder: Path
    teachers: tuple[str, ...] | None = None
    ancestors: tuple[str, ...] | None = None

    @property
    def path(self) -> Path:
        """The .onnx file."""
        return self.folder / self.file


@dataclass(frozen=True, slots=True)
class Model:
    """A model that may be used: its bytes have passed every check.

    name: as registered, or the file's name without `.onnx`. sha256: of `data`, hex. entry: None for a file that no
    registry lists.
    """

    name: str
    sha256: str
    data: bytes = field(repr=False)
    entry: Entry | None


def user_folder() -> Path:
    """Where a user's own models lie, there or not: VSAL_MODELS, or $XDG_DATA_HOME/vsal/models (~/.local/share)."""
    own = os.environ.get("VSAL_MODELS")
    if own:
        return Path(own)
    # In a container a user may have no home, or not be let into it: then there is nothing there, which is no error.
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(data) / "vsal" / "models"


def model_folders() -> list[Path]:
    """The folders of models, first one first: the user's, the wheel's, the checkout's; those that exist."""
    package = Path(__file__).resolve().parent.parent
    folders = [user_folder(), package / "_models", package.parent / "model" / "shipped"]
    return [folder for folder in folders if os.path.isfile(folder / REGISTRY)]


def list_models() -> list[Entry]:
    """All registered models by name; of two with one name the first folder's.

    Raises:
        ModelRefused: a registry.json is broken.
    """
    found: dict[str, Entry] = {}
    for folder in model_folders():
        for entry in _read_registry(folder):
            found.setdefault(entry.name, entry)
    return [found[name] for name in sorted(found)]


def load_model(name_or_uri: str = DEFAULT_MODEL, accept_licence: bool = False) -> Model:
    """Read a model and check that it may be used.

    Args:
        name_or_uri: the name of a registered model, or a path or URI of an .onnx file.
        accept_licence: use a model even if its licence forbids commercial use.

    Returns:
        The model; give its `data` to SaliencySession.

    Raises:
        ModelRefused: unknown name, file not there, over 512 MB, other sha256 than registered, weights in other files,
            an operator outside op_allowlist.txt, a contract not kept, or a non-commercial licence not accepted.
    """
    entry = _find(name_or_uri)
    uri = str(entry.path) if entry else name_or_uri
    data = read_file(uri)
    sha256 = hashlib.sha256(data).hexdigest()
    if entry and sha256 != entry.sha256:
        raise ModelRefused(
            f"{uri} has the sha256 {sha256}, registered is {entry.sha256}: the file is damaged or was exchanged. "
            "Restore it, or register the new one"
        )
    if entry and not accept_licence:
        check_licence(entry.name, entry.licence)
    try:
        check_operators(data)
        read_contract(data)
    except ModelRefused as refused:
        raise ModelRefused(f"{uri}: {refused}") from None
    return Model(entry.name if entry else Path(uri.rstrip("/")).stem, sha256, data, entry)


def forbids_commercial_use(licence: str) -> bool:
    """Whether an SPDX expression, or a name given in its place, says non-commercial (CC-BY-NC-4.0, research only)."""
    return bool(_NON_COMMERCIAL.search(licence))


def check_licence(name: str, licence: str) -> None:
    """Check that a licence allows commercial use.

    Raises:
        ModelRefused: it does not.
    """
    if forbids_commercial_use(licence):
        raise ModelRefused(
            f"the licence of {name} ({licence}) forbids commercial use: "
            "if your use is not commercial, accept it with --accept-licence"
        )


def check_operators(model_bytes: bytes) -> None:
    """Check every operator of a graph against op_allowlist.txt.

    Raises:
        ModelRefused: naming those that are not on the list.
    """
    strange = [op for op in operators(parse(model_bytes)) if op not in allowed_operators()]
    if strange:
        raise ModelRefused(
            f"operators outside op_allowlist.txt: {', '.join(strange)}. Export without them, or put them on the list "
            "if they are deterministic and touch no files"
        )


def allowed_operators() -> frozenset[str]:
    """The operators that a model may use, from the op_allowlist.txt of the first folder that has one.

    Raises:
        ModelRefused: there is none: the installation is incomplete.
    """
    for folder in model_folders():
        path = folder / "op_allowlist.txt"
        if path.is_file():
            lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
            return frozenset(line for line in lines if line)
    raise ModelRefused("op_allowlist.txt is missing beside registry.json: install vsal again")


def _find(name_or_uri: str) -> Entry | None:
    """The entry of a name, or of a file that lies in a folder of models; None for any other file."""
    is_file = "/" in name_or_uri or os.sep in name_or_uri or name_or_uri.endswith(".onnx")
    if not is_file:
        known = list_models()
        for entry in known:
            if entry.name == name_or_uri:
                return entry
        names = ", ".join(entry.name for entry in known) or "none"
        raise ModelRefused(f"no model is named {name_or_uri!r}; there are: {names}. Or give the path of an .onnx file")
    local = storage.local_path(name_or_uri)
    if local is None:
        return None
    path = Path(local).resolve()
    if (path.parent / REGISTRY).is_file():
        return next((e for e in _read_registry(path.parent) if e.path.resolve() == path), None)
    return None


def read_file(uri: str) -> bytes:
    """The bytes of an .onnx file at any place that `vsal.storage` reaches.

    Raises:
        ModelRefused: there is none, or it has more than 512 MB.
    """
    try:
        size = storage.stat(uri).size
    except FileNotFoundError:
        raise ModelRefused(f"no model at {uri}: check the path") from None
    except IsADirectoryError:
        raise ModelRefused(f"{uri} is a folder: give the path of an .onnx file") from None
    if size > MAX_MODEL_BYTES:
        raise ModelRefused(f"{uri} has {size >> 20} MB, the limit is {MAX_MODEL_BYTES >> 20} MB: use a smaller model")
    return storage.read_bytes(uri)


def read_items(folder: Path) -> list[dict[str, Any]]:
    """The models of a folder, as its registry.json has them."""
    items: list[dict[str, Any]] = json.loads((folder / REGISTRY).read_text(encoding="utf-8"))["models"]
    return items


def _read_registry(folder: Path) -> list[Entry]:
    path = folder / REGISTRY
    try:
        return [_entry(item, folder) for item in read_items(folder)]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelRefused(f"{path} is broken ({type(error).__name__}: {error}): restore it") from error


def _entry(item: dict[str, Any], folder: Path) -> Entry:
    if Path(item["file"]).name != item["file"]:
        raise ValueError(f"file {item['file']!r} must lie beside the registry")
    return Entry(
        name=str(item["name"]),
        file=str(item["file"]),
        kind=str(item["kind"]),
        sha256=str(item["sha256"]),
        parameters=int(item["parameters"]),
        licence=str(item["licence"]),
        training_data=tuple(str(text) for text in item["training_data"]),
        ops=tuple(str(op) for op in item["ops"]),
        folder=folder,
        teachers=None if item.get("teachers") is None else tuple(str(text) for text in item["teachers"]),
        ancestors=None if item.get("ancestors") is None else tuple(str(text) for text in item["ancestors"]),
    )
