"""Enter a model file into the registry and its card, so that file, registry and card agree."""

from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path

WEIGHTS_LICENCE = "BSD-2-Clause-Patent"
IDENTITY = ("<!-- identity -->", "<!-- /identity -->")  # the part of a card that is written here


def describe(
    name: str,
    model_bytes: bytes,
    training_data: Sequence[str] = (),
    teachers: Sequence[str] | None = None,
    ancestors: Sequence[str] | None = None,
) -> dict[str, object]:
    """The registry's entry of an exported file, of any kind; None for a lineage that nobody has said."""
    from vsal.saliency.contract import operators, parameter_count, parse

    model = parse(model_bytes)
    properties = {p.key: p.value for p in model.metadata_props}
    return {
        "name": name,
        "file": f"{name}.onnx",
        "kind": properties["vsal.kind"],
        "sha256": hashlib.sha256(model_bytes).hexdigest(),
        "parameters": parameter_count(model),
        "licence": WEIGHTS_LICENCE,
        "training_data": list(training_data),
        "teachers": None if teachers is None else list(teachers),
        "ancestors": None if ancestors is None else list(ancestors),
        "ops": operators(model),
        "input": {"pixels": int(properties["vsal.input_pixels"]), "multiple": int(properties["vsal.size_multiple"])},
        "card": f"cards/{name}.md",
    }


def register(folder: Path, entry: dict[str, object]) -> None:
    """Put an entry into FOLDER/registry.json in place of the one of that name."""
    path = folder / "registry.json"
    known = json.loads(path.read_text())["models"] if path.exists() else []
    before = next((m for m in known if m["name"] == entry["name"]), {})
    # A model that is exported again has learned from what it had learned from.
    said = {key: before.get(key) for key in ("teachers", "ancestors") if entry.get(key) is None}
    entry = {**entry, **said}
    models = sorted([m for m in known if m["name"] != entry["name"]] + [entry], key=lambda m: str(m["name"]))
    path.write_text(json.dumps({"models": models}, indent=2) + "\n")


def stamp(card: Path, entry: dict[str, object]) -> None:
    """Write the identity of the file into its card, between the marks, so that card, registry and file agree.

    Raises:
        SystemExit: the card is not there or has no marks: a model is not shipped without a card.
    """
    ops = textwrap.fill(f"Operators: {', '.join(entry['ops'])}.", 120)  # type: ignore[arg-type]
    lines = [
        f"- File: `{entry['file']}`",
        f"- sha256: `{entry['sha256']}`",
        f"- Parameters: {entry['parameters']:,}",
        "",
        ops,
    ]
    text = card.read_text() if card.exists() else ""
    if IDENTITY[0] not in text or IDENTITY[1] not in text:
        raise SystemExit(f"{card} needs the lines {IDENTITY[0]} and {IDENTITY[1]}: write the card first")
    before, rest = text.split(IDENTITY[0], 1)
    after = rest.split(IDENTITY[1], 1)[1]
    card.write_text("\n".join([before + IDENTITY[0], *lines, IDENTITY[1] + after]))


def enter(folder: Path, name: str, model_bytes: bytes, training_data: Sequence[str]) -> dict[str, object]:
    """Write FOLDER/NAME.onnx, its entry in FOLDER/registry.json, and its identity in FOLDER/cards/NAME.md.

    Raises:
        SystemExit: the card is not there or has no marks; nothing is written then.
    """
    entry = describe(name, model_bytes, training_data)
    stamp(folder / str(entry["card"]), entry)
    (folder / f"{name}.onnx").write_bytes(model_bytes)
    register(folder, entry)
    return entry
