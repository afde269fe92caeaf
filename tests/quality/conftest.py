from __future__ import annotations

from tests.encode.conftest import svtav1

__all__ = ["svtav1"]
