"""Preparing titles: from a catalogue to a manifest, as a kind of work."""

from __future__ import annotations

from vsal.distributed.prepare.catalogue import prepare_catalogue

__all__ = ["prepare_catalogue"]
