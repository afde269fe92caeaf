"""From the pieces of a title's scan to the rows of its manifest, without Ray.

Chunks of segments arrive in any order; `Stitcher` puts them in the title's order and numbers their frames, a
`CutDecider` finds the shots, and `MapBuilder` gives every frame exactly one map. `TitleAssembly` is the three in a row.
Everything is emitted as soon as it cannot change any more, so memory does not grow with the length of a title.
"""

from vsal.assembly.stitch import JoinBroken
from vsal.assembly.title import TitleAssembly, TitleTotals

__all__ = ["JoinBroken", "TitleAssembly", "TitleTotals"]
