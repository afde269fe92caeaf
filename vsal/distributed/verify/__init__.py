"""Verifying encodes: a proof of each from its bitstream, as a kind of work."""

from __future__ import annotations

from vsal.distributed.verify.catalogue import verify_catalogue

__all__ = ["verify_catalogue"]
