"""The `vsal` command."""

from __future__ import annotations

from vsal.cli.app import main

__all__ = ["main"]
