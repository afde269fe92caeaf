"""What the guides say of commands, options and files must be so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from vsal.cli.app import build

REPO = Path(__file__).resolve().parent.parent
PAGES = [REPO / "README.md", *sorted((REPO / "docs").glob("*.md"))]
# Options of other programs that the guides name.
FOREIGN = {"--working-dir", "--head", "--object-store-memory", "--num-cpus"}


def known_options() -> set[str]:
    options: set[str] = {"--version", "--help"}
    commands = [typer.main.get_command(build())]
    while commands:
        command = commands.pop()
        options.update(option for parameter in command.params for option in parameter.opts)
        commands += getattr(command, "commands", {}).values()
    return options


def training_options() -> set[str]:
    """Options of the commands that need torch, read from their sources: they run where torch is."""
    sources = [*(REPO / "model").rglob("*.py"), REPO / "jobs" / "train_student.py"]
    return {option for path in sources for option in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text())}


def benchmark_options() -> set[str]:
    """Options of the benchmarks."""
    sources = (REPO / "benchmarks").glob("*.py")
    return {option for path in sources for option in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', path.read_text())}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_that_a_page_names_exist(page: Path) -> None:
    if page.name in ("encoders.md", "performance.md", "operations.md"):
        pytest.skip("speaks of the options of encoders and tools")
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text()))
    others = {"training.md": training_options, "gaze.md": benchmark_options, "evaluation.md": benchmark_options}.get(
        page.name, set
    )
    assert named <= known_options() | FOREIGN | others()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_guide_names_every_setting_that_shapes_the_maps() -> None:
    from vsal.settings import PrepareSettings

    guide = (REPO / "docs" / "guide.md").read_text()
    missing = [name for name in PrepareSettings.model_fields if f"--{name.replace('_', '-')}" not in guide]
    assert not missing
