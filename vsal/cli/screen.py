"""What a verb may say, and where: the result to stdout, everything else to stderr; one JSON document under --json."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from rich.console import Console, RenderableType


class Screen:
    """The two ends of a verb's output.

    Attributes:
        as_json: the result is one JSON document on stdout.
        log: console on stderr for progress, notes and errors.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.log = Console(stderr=True, highlight=False, soft_wrap=True)
        self._result: TextIO = sys.stdout

    def document(self, document: dict[str, Any]) -> None:
        """The machine's result; call it once. Nothing without --json."""
        if self.as_json:
            json.dump(document, self._result, indent=2, ensure_ascii=False, default=str)
            self._result.write("\n")
            self._result.flush()

    def show(self, *things: RenderableType) -> None:
        """The person's result. Nothing under --json."""
        if not self.as_json:
            # Off a terminal a table takes the width it needs, so that grep sees whole paths.
            wide = None if self._result.isatty() else 500
            console = Console(file=self._result, highlight=False, soft_wrap=True, width=wide)
            for thing in things:
                console.print(thing)

    def note(self, text: str) -> None:
        """A line for the person at the terminal, taken literally."""
        self.log.print(text, markup=False)

    def error(self, text: str) -> None:
        """Why the verb stops, one line for each reason."""
        for line in text.splitlines():
            self.log.print(f"[bold red]error:[/] {_literal(line)}")

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Under --json, keep stdout for the document alone: what libraries and workers print goes to stderr."""
        if not self.as_json:
            yield
            return
        with contextlib.ExitStack() as undo:
            if _is_descriptor(sys.stdout, 1) and _is_descriptor(sys.stderr, 2):
                sys.stdout.flush()
                self._result = undo.enter_context(os.fdopen(os.dup(1), "w", encoding="utf-8"))
                kept = os.dup(1)
                undo.callback(os.close, kept)
                undo.callback(os.dup2, kept, 1)
                os.dup2(2, 1)
            undo.enter_context(contextlib.redirect_stdout(sys.stderr))
            yield


def _is_descriptor(stream: TextIO, number: int) -> bool:
    try:
        return stream.fileno() == number
    except (OSError, ValueError, AttributeError):
        return False


def _literal(text: str) -> str:
    from rich.markup import escape

    return escape(text)
