from __future__ import annotations

from collections.abc import Callable

import pytest

from vsal.cli.app import build as command


@pytest.fixture
def vsal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """The command: exit code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            command()(args=[str(a) for a in arguments], prog_name="vsal")
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call
