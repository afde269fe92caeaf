"""Programs that stand in for those which reach a cloud: they note how they were called."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Programs:
    """Stand-ins at the front of PATH.

    Attributes:
        environment: with them.
        log: one call a line.
    """

    environment: dict[str, str]
    log: Path


def shim(folder: Path, **bodies: str) -> Programs:
    """Programs by name, each with what it does after it has noted its call (in bash)."""
    programs, log = folder / "programs", folder / "calls"
    programs.mkdir(parents=True, exist_ok=True)
    for name, body in bodies.items():
        path = programs / name.replace("_", "-")
        path.write_text(f'#!/usr/bin/env bash\necho "{path.name} $*" >> {log}\n{body}\n')
        path.chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    return Programs(dict(environment), log)


def called(programs: Programs) -> list[str]:
    """The calls so far, with their arguments."""
    return programs.log.read_text().splitlines() if programs.log.exists() else []


def program(name: str) -> str:
    """A linter that the test dependencies bring, wherever they were installed.

    Raises:
        AssertionError: it is nowhere.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    assert found, f"no {name}: pip install '.[test]' brings it"
    return found
