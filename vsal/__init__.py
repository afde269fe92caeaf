"""vsal prepares video catalogues for region-of-interest encoding.

>>> import vsal
>>> manifest = vsal.read_manifest("s3://bucket/out")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsal.manifest import read_manifest

__version__ = "0.1.0"
__all__ = ["__version__", "read_manifest"]


def __getattr__(name: str) -> Any:
    # pyarrow takes longer to import than `vsal --help` to print.
    if name == "read_manifest":
        from vsal.manifest import read_manifest

        return read_manifest
    raise AttributeError(f"module 'vsal' has no attribute {name!r}")
