"""The rules of the house: arrows run down only, and heavy libraries are imported in their own rooms only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

# From the ground up: a room may import itself and rooms on lower floors, nothing beside it and nothing above it.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"vsal.errors", "vsal.state", "vsal.vitals"}),
    frozenset({"vsal.settings", "vsal.storage"}),
    frozenset({"vsal.catalog", "vsal.settings_file"}),
    # Neither knows of the other: the model's input size reaches the decoder as a function.
    frozenset({"vsal.video", "vsal.saliency", "vsal.temporal", "vsal.roi"}),
    frozenset({"vsal.regions"}),
    frozenset({"vsal.manifest", "vsal.quality"}),
    frozenset({"vsal.assembly"}),
    frozenset({"vsal.encode", "vsal.planning"}),
    frozenset({"vsal.evaluate"}),
    frozenset({"vsal.report"}),
    frozenset({"vsal.distributed"}),
    frozenset({"vsal.demo"}),
    frozenset({"vsal.cli"}),
    frozenset({"vsal.__main__", "jobs", "benchmarks"}),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# Where a library may be imported; tests may import anything.
HOMES = {
    "ray": ("vsal.distributed", "jobs", "benchmarks"),
    "torch": ("model",),
    "av": ("vsal.video", "vsal.encode", "vsal.quality", "vsal.evaluate", "benchmarks", "model"),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(REPO).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every imported module with its line, inside functions and type checking blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")
            if node.level:
                base = base[: len(base) - node.level + is_package]
                origin = ".".join([*base, *([node.module] if node.module else [])])
            else:
                origin = node.module or ""
            yield node.lineno, origin
            # `from vsal import storage` names a room in the second half.
            yield from ((node.lineno, f"{origin}.{alias.name}") for alias in node.names if origin == "vsal")


def room_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] == "vsal":
        return ".".join(parts[:2]) if len(parts) > 1 else None
    return parts[0] if parts[0] in FLOOR_OF else None


def broken_rules(source: str, module: str, is_package: bool = False) -> list[str]:
    here = room_of(module)
    found = []
    for line, name in imports(ast.parse(source), module, is_package):
        for library, homes in HOMES.items():
            at_home = any(module == home or module.startswith(home + ".") for home in homes)
            if (name == library or name.startswith(library + ".")) and not at_home:
                found.append(f"{module}:{line} imports {name}; {library} belongs in {', '.join(homes)}")
        there = room_of(name)
        if here is None or there is None or there == here or there not in FLOOR_OF:
            continue
        if FLOOR_OF[there] >= FLOOR_OF.get(here, len(FLOORS)):
            found.append(f"{module}:{line} imports {name}, which lies above it or beside it")
    return found


def sources() -> list[Path]:
    folders = (REPO / name for name in ("vsal", "jobs", "benchmarks", "model"))
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_arrows_run_down_and_libraries_stay_at_home() -> None:
    found = [
        rule
        for path in sources()
        for rule in broken_rules(path.read_text(), module_name(path), path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


def circles(arrows: dict[str, set[str]]) -> list[list[str]]:
    """Modules that reach themselves by their imports, each circle once, beginning with its first name."""
    found: set[tuple[str, ...]] = set()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            circle = way[way.index(module) :]
            first = circle.index(min(circle))
            found.add((*circle[first:], *circle[:first]))
        elif module not in seen:
            for target in sorted(arrows.get(module, ())):
                walk(target, [*way, module])
            seen.add(module)

    seen: set[str] = set()
    for module in sorted(arrows):
        walk(module, [])
    return [list(circle) for circle in sorted(found)]


def module_arrows(trees: dict[str, tuple[ast.AST, bool]]) -> dict[str, set[str]]:
    """For each module those that it imports, inside functions and type checking blocks too.

    Not `vsal` itself: it offers a reader of manifests to the outside, and holds the version for those within.
    """
    arrows: dict[str, set[str]] = {}
    for module, (tree, is_package) in trees.items():
        targets = arrows.setdefault(module, set())
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets.update(alias.name for alias in node.names if alias.name in trees)
            elif isinstance(node, ast.ImportFrom):
                origin = next(name for _, name in imports(ast.Module([node], []), module, is_package))
                for alias in node.names:
                    name = f"{origin}.{alias.name}"
                    targets.add(name if name in trees else origin)
        targets &= trees.keys() - {module, "vsal"}
    return arrows


def test_no_module_imports_itself_by_a_circle() -> None:
    trees = {module_name(p): (ast.parse(p.read_text()), p.name == "__init__.py") for p in sources()}
    found = circles(module_arrows(trees))
    assert not found, "\n".join(" -> ".join([*circle, circle[0]]) for circle in found)


def test_a_circle_inside_a_room_is_seen() -> None:
    sources = {
        "vsal.distributed.actors": "from vsal.distributed.job import Job",
        "vsal.distributed.job": "def late():\n    from vsal.distributed.open_title import OpenTitle",
        "vsal.distributed.open_title": "import typing\nif typing.TYPE_CHECKING:\n    from .actors import Pools",
        "vsal.distributed.cluster": "from vsal.distributed import actors",
    }
    trees: dict[str, tuple[ast.AST, bool]] = {name: (ast.parse(text), False) for name, text in sources.items()}
    assert circles(module_arrows(trees)) == [
        ["vsal.distributed.actors", "vsal.distributed.job", "vsal.distributed.open_title"]
    ]


def test_every_room_has_its_floor() -> None:
    rooms = {room_of(module_name(path)) for path in sources() if path.is_relative_to(REPO / "vsal")} - {None}
    assert rooms <= set(FLOOR_OF), f"no floor for {sorted(filter(None, rooms - set(FLOOR_OF)))}: say what it may import"


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("vsal.video.scan", "from vsal.saliency.session import SaliencySession"),
        ("vsal.video.scan", "from ..saliency import session"),
        ("vsal.storage", "from vsal import manifest"),
        ("vsal.roi.grid", "def late():\n    import vsal.cli.main"),
        ("vsal.planning", "import ray"),
        ("vsal.cli.prepare", "from ray.util import state"),
        ("vsal.saliency.session", "import torch.nn as nn"),
        ("vsal.report.frames", "import av"),
        ("vsal.encode.plan", "import vsal.report.page"),
    ],
)
def test_a_broken_rule_is_seen(module: str, line: str) -> None:
    assert broken_rules(line, module)


def test_a_package_reaches_its_own_modules() -> None:
    assert not broken_rules("from . import grid\nfrom .qp import qp_offsets", "vsal.roi", is_package=True)
    assert not broken_rules("from .grid import block_means", "vsal.roi.qp")
