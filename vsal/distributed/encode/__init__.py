"""Encoding titles: from a manifest to bitstreams, as a kind of work."""

from __future__ import annotations

from vsal.distributed.encode.catalogue import encode_catalogue

__all__ = ["encode_catalogue"]
