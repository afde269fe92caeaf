"""The examples of docs/manifest.md run, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.manifest.content import map_rows, write_title
from vsal.errors import Reason
from vsal.manifest import KEYS, SCHEMA, TITLES_SCHEMA, TitleRecord, write_titles

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "manifest.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def library(block: str) -> str:
    return re.search(r"^(?:import|from) (duckdb|pandas|vsal|pyarrow)", block, re.MULTILINE).group(1)  # type: ignore[union-attr]


def test_there_is_an_example_for_each_reader() -> None:
    assert sorted(map(library, BLOCKS)) == ["duckdb", "pandas", "pyarrow", "vsal"]


@pytest.mark.parametrize("block", BLOCKS, ids=library)
def test_an_example_runs(
    block: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(library(block))
    monkeypatch.chdir(tmp_path)
    for title_id in ("park", "meadow%20two"):
        write_title("OUT", map_rows(40, title_id), title_id)
    write_titles(
        "OUT", [TitleRecord(t, f"/videos/{t}.mp4", "done", path=f"maps/{t}.parquet") for t in ("park", "meadow%20two")]
    )
    exec(compile(block, "docs/manifest.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_the_columns_are_described_with_their_types() -> None:
    described = re.findall(r"^\| `(\w+)` \| (\w+)(?: of (\w+))? \|", PAGE.split("## Titles")[0], re.MULTILINE)
    arrow = {"float32": "float"}
    types = [(name, f"list<element: {of} not null>" if of else arrow.get(kind, kind)) for name, kind, of in described]
    assert types == [(field.name, str(field.type)) for field in SCHEMA]


def test_metadata_titles_and_reasons_are_described() -> None:
    for word in [*KEYS, *TITLES_SCHEMA.names, *map(str, Reason)]:
        assert f"`{word}`" in PAGE, word
