"""vsal prepares video catalogues for region-of-interest encoding."""

from __future__ import annotations

__version__ = "0.1.0"
