"""A user's own models: checked, wrapped where they need it, and put into the user's folder of models."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from vsal import storage
from vsal.saliency.contract import read_contract
from vsal.saliency.foreign import Interface, wrap
from vsal.saliency.graph import ModelRefused, operators, parameter_count, parse
from vsal.saliency.registry import (
    REGISTRY,
    Entry,
    check_licence,
    check_operators,
    list_models,
    read_file,
    read_items,
    user_folder,
)
from vsal.saliency.session import SaliencySession

LOCK_TIMEOUT_S = 60.0  # of another registration; one takes seconds
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


def add_model(
    source: str,
    interface: Interface | None,
    licence: str,
    *,
    name: str | None = None,
    training_data: Sequence[str] = (),
    teachers: Sequence[str] | None = None,
    ancestors: Sequence[str] | None = None,
    sha256: str | None = None,
    accept_licence: bool = False,
    replace: bool = False,
) -> Entry:
    """Register a model under a name, in one file that keeps the contract.

    Args:
        source: path or URI of an .onnx file.
        interface: how the graph takes frames and gives masks; None where it keeps the contract as it is.
        licence: SPDX expression of the weights' licence.
        name: to register it by; the file's name without `.onnx` by default.
        training_data: what it was trained on, and on which terms.
        teachers: models whose answers it has learned from; None where it is not known.
        ancestors: models whose weights it began with, or was made of by quantising; likewise.
        sha256: that the file must have, hex, as its publisher states it.
        accept_licence: register a model whose licence forbids commercial use.
        replace: put it in the place of one of the user's models of the same name.

    Returns:
        Its entry. `source` is not needed any more.

    Raises:
        ModelRefused: the name is taken or no name, or the file is not there, over 512 MB, has another sha256, keeps
            weights in other files, has operators outside op_allowlist.txt, another interface, or a licence that forbids
            commercial use and was not accepted; the text says which and what would help. Nothing is registered then.
    """
    name = name or Path(source.rstrip("/")).stem
    if not _NAME.fullmatch(name):
        raise ModelRefused(f"{name!r} is no name for a model: use letters, digits, '_', '-' and '.', with --name")
    folder = user_folder()
    _check_free(name, folder, replace)
    if not licence.strip():
        raise ModelRefused("a model needs its licence: --licence with an SPDX expression, such as Apache-2.0")
    if not accept_licence:
        check_licence(name, licence)
    theirs = read_file(source)
    found = hashlib.sha256(theirs).hexdigest()
    if sha256 is not None and sha256.strip().lower() != found:
        raise ModelRefused(f"{source} has the sha256 {found}, expected was {sha256}: fetch the file again")
    try:
        data = theirs if interface is None else wrap(theirs, interface)
        check_operators(data)
        wants = read_contract(data)
        SaliencySession(data)
    except ModelRefused as refused:
        raise ModelRefused(f"{source}: {refused}") from None
    model, made = parse(data), hashlib.sha256(data).hexdigest()
    item: dict[str, Any] = {
        "name": name,
        "file": f"{name}-{made[:8]}.onnx",
        "kind": next(p.value for p in model.metadata_props if p.key == "vsal.kind"),
        "sha256": made,
        "parameters": parameter_count(model),
        "licence": licence,
        "training_data": list(training_data),
        "teachers": None if teachers is None else list(teachers),
        "ancestors": None if ancestors is None else list(ancestors),
        "ops": operators(model),
        "input": {"pixels": wants.pixels, "multiple": wants.multiple, "fixed": wants.fixed, "frames": wants.batch},
        "made_from": {"file": storage.name(source), "sha256": found, "interface": interface and asdict(interface)},
    }
    _write(folder, item, data)
    return next(entry for entry in list_models() if entry.name == name)


def _check_free(name: str, folder: Path, replace: bool) -> None:
    taken = next((entry for entry in list_models() if entry.name == name), None)
    if taken is None:
        return
    if taken.folder != folder:
        raise ModelRefused(f"{name!r} is a model that comes with vsal: choose another --name")
    if not replace:
        raise ModelRefused(f"{name!r} is registered already, in {folder}: choose another --name, or --replace it")


def _write(folder: Path, item: dict[str, Any], data: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{REGISTRY}.lock", timeout=LOCK_TIMEOUT_S):  # two at once would lose one's entry
            items = read_items(folder) if (folder / REGISTRY).is_file() else []
            kept = [other for other in items if other["name"] != item["name"]]
            # At every moment each entry names a whole file: the new one first, what it replaces last.
            storage.write_bytes(str(folder / item["file"]), data)
            registry = json.dumps({"models": [*kept, item]}, indent=2) + "\n"
            storage.write_bytes(str(folder / REGISTRY), registry.encode())
            for other in items:
                if other not in kept and other["file"] != item["file"]:
                    (folder / Path(other["file"]).name).unlink(missing_ok=True)
    except OSError as error:  # filelock's Timeout is one too
        raise ModelRefused(f"cannot write to {folder}: {error}. VSAL_MODELS may name another folder") from error
