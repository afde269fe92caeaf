"""What verify says of encodes that obey their maps, that had none, and that had wrong ones: docs/encoders.md's table.

vsal prepare CLIPS --out MANIFEST
python -m benchmarks.verify MANIFEST [--codecs x264 vp9] [--arms obey plain] [--title ID] [--json]

Each title is encoded by each encoder four times, and each encode is held against the manifest's own maps: under those
maps (obey), without maps (plain), under maps with the opposite sign (swapped), and under maps that lie one cell of the
encoder further right (shifted: 16 pixels, 64 for encoders with cells of 64). It ends with 1 where a verdict is not the
one that belongs to its arm.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from vsal import storage
from vsal.encode.codecs import ENCODERS
from vsal.encode.proof.verdict import TitleProof
from vsal.encode.proof.verify import verify_title
from vsal.encode.settings import EncodeSettings
from vsal.encode.title import encode_title
from vsal.errors import VsalError
from vsal.manifest import Manifest, ManifestWriter, MapRow, TitleManifest, maps_uri, read_manifest
from vsal.roi.grid import MACROBLOCK
from vsal.roi.qp import QpMapping

EXPECTED = {"obey": "obeyed", "plain": "ignored", "swapped": "ignored", "shifted": "weak"}
Row = dict[str, object]


def main() -> int:
    """Print a line for each encode, then the table; 1 where a verdict is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--codecs", nargs="*", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--arms", nargs="*", default=list(EXPECTED), choices=list(EXPECTED))
    parser.add_argument("--title", nargs="*")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    manifest, rows = read_manifest(given.manifest), []
    for row in figures(manifest, given.title or manifest.title_ids(), given.codecs, given.arms, given.threads):
        rows.append(row)
        print(json.dumps(row) if given.json else "  ".join(str(value) for value in row.values()), flush=True)
    if not given.json:
        print(table(rows))
    return 0 if all(row["verdict"] == EXPECTED[str(row["arm"])] for row in rows) else 1


def figures(
    manifest: Manifest, title_ids: list[str], codecs: list[str], arms: list[str], threads: int
) -> Iterator[Row]:
    """A row for each title, encoder and arm; an encode that fails has the reason for its verdict."""
    for title_id, codec, arm in product(title_ids, codecs, arms):
        began = time.perf_counter()
        settings = EncodeSettings(codec, threads=threads, chunked=False)
        row: Row = {"title": title_id, "codec": codec, "arm": arm}
        try:
            proof = proved(manifest, title_id, settings, arm)
            slopes = [shot.slope for shot in proof.shots]
            row |= {"verdict": str(proof.verdict), "correlation": round(proof.correlation, 3)}
            row |= {"slope": round(float(np.median(slopes)), 3) if slopes else 0.0}
            row |= {"shift": sorted({shot.shift for shot in proof.shots}), "shots": len(proof.shots)}
        except VsalError as error:
            row |= {"verdict": "failed", "correlation": 0.0, "slope": 0.0, "why": str(error)}
        yield row | {"seconds": round(time.perf_counter() - began, 1)}


def proved(manifest: Manifest, title_id: str, settings: EncodeSettings, arm: str) -> TitleProof:
    """One encode of an arm, held against the manifest's own maps."""
    with tempfile.TemporaryDirectory(prefix="vsal-bench-") as folder, manifest.title(title_id) as title:
        out = str(Path(folder) / "out")
        write_changed(title, out, changes(title, ENCODERS[settings.codec].cell)[arm])
        coded = settings.plain() if arm == "plain" else settings
        record = encode_title(out, title_id, coded, str(Path(folder) / "dest"))
        return verify_title(title, str(Path(folder) / "dest" / record["outputs"][0]["name"]), settings)


def changes(title: TitleManifest, cell: int) -> dict[str, Callable[[MapRow], MapRow]]:
    """What each arm does to a map."""
    floor = QpMapping.of_settings(title.settings).floor

    def swapped(row: MapRow) -> MapRow:
        # rd offsets go with the logarithm of the weight, so the weight that is the inverse swaps their sign.
        weight = floor + (1.0 - floor) * row.saliency / 255.0
        saliency = 255.0 * (floor / weight - floor) / (1.0 - floor)
        return replace(row, saliency=np.rint(saliency).astype(np.uint8), qp_offset=-row.qp_offset)

    def shifted(row: MapRow) -> MapRow:
        by = cell // MACROBLOCK
        return replace(row, saliency=np.roll(row.saliency, by, axis=1), qp_offset=np.roll(row.qp_offset, by, axis=1))

    return {"obey": lambda row: row, "plain": lambda row: row, "swapped": swapped, "shifted": shifted}


def write_changed(title: TitleManifest, out: str, change: Callable[[MapRow], MapRow]) -> None:
    """A title's manifest with each map changed, under another OUT."""
    uri = maps_uri(out, title.title_id)
    local = storage.staging_file(uri)
    with ManifestWriter(local, title.metadata) as writer:
        writer.append([change(row) for row in title.iter_maps()])
    storage.publish(local, uri)


def table(rows: list[Row]) -> str:
    """Encoders down, arms across: how many have the verdict that belongs to the arm, correlations and slopes."""
    lines = ["| encoder | arm | as it should be | correlation | slope |", "|---|---|---|---|---|"]
    for codec, arm in sorted({(str(row["codec"]), str(row["arm"])) for row in rows}):
        found = [row for row in rows if (row["codec"], row["arm"]) == (codec, arm)]
        right = sum(row["verdict"] == EXPECTED[arm] for row in found)
        spans = [
            f"{min(values):.2f} to {max(values):.2f}"
            for values in ([float(str(row[name])) for row in found] for name in ("correlation", "slope"))
        ]
        lines.append(f"| {codec} | {arm} | {right} of {len(found)} {EXPECTED[arm]} | {' | '.join(spans)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
