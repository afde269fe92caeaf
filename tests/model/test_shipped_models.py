from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vsal.saliency.contract import operators, parameter_count, parse, read_contract
from vsal.saliency.registry import allowed_operators

FOLDER = Path(__file__).resolve().parents[2] / "model" / "shipped"
ENTRIES: list[dict[str, Any]] = json.loads((FOLDER / "registry.json").read_text())["models"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
class TestShippedModel:
    def test_registry_and_file_agree(self, entry: dict[str, Any]) -> None:
        from hashlib import sha256

        data = (FOLDER / entry["file"]).read_bytes()
        model = parse(data)
        wants = read_contract(data)
        assert sha256(data).hexdigest() == entry["sha256"]
        assert parameter_count(model) == entry["parameters"]
        assert operators(model) == entry["ops"]
        assert {"pixels": wants.pixels, "multiple": wants.multiple} == entry["input"]
        assert set(entry["ops"]) <= allowed_operators()

    def test_card_and_registry_agree(self, entry: dict[str, Any]) -> None:
        card = (FOLDER / entry["card"]).read_text()
        assert entry["sha256"] in card
        assert f"{entry['parameters']:,}" in card
        ops = re.search(r"^Operators: (.+?)\.$", card, re.MULTILINE | re.DOTALL)
        assert ops is not None
        assert [op.strip() for op in ops[1].replace("\n", " ").split(",")] == entry["ops"]

    def test_a_model_without_duts_says_what_its_trunk_was_trained_on(self, entry: dict[str, Any]) -> None:
        card = (FOLDER / entry["card"]).read_text()
        if any("DUTS" in told for told in entry["training_data"]):
            assert "free for academic research" in card
            return
        assert any("ImageNet" in told for told in entry["training_data"])
        card += "".join((FOLDER / "cards" / name).read_text() for name in re.findall(r"\]\(([a-z0-9_]+\.md)\)", card))
        for told in entry["training_data"]:
            assert told.split(" (")[0] in card, f"the card does not name {told}"
        assert "ImageNet" in card

    def test_opset_is_17_or_later(self, entry: dict[str, Any]) -> None:
        model = parse((FOLDER / entry["file"]).read_bytes())
        assert [(o.domain, o.version >= 17) for o in model.opset_import] == [("", True)]


def test_every_model_file_is_registered() -> None:
    assert sorted(p.name for p in FOLDER.glob("*.onnx")) == sorted(e["file"] for e in ENTRIES)
