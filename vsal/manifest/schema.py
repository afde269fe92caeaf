"""What a manifest holds: columns, metadata keys, names of files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import vsal
from vsal import storage
from vsal.errors import VsalError
from vsal.manifest.fingerprints import SCHEMA_VERSION, algorithms, canonical, fingerprint
from vsal.roi.grid import MACROBLOCK
from vsal.storage import SourceInfo

MAPS_PER_GROUP = 256
# Blocks of a row group at most (32 maps of 8K): what a reader or writer holds does not grow with the picture.
BLOCKS_PER_GROUP = 4 * 1024 * 1024


def _required(name: str, kind: Any) -> Any:
    return pa.field(name, kind, nullable=False)


SCHEMA = pa.schema(
    [
        _required("title_id", pa.string()),
        _required("shot", pa.int32()),
        _required("map", pa.int32()),
        _required("frame_start", pa.int32()),
        _required("frame_end", pa.int32()),
        _required("pts_start", pa.int64()),
        _required("pts_end", pa.int64()),
        _required("time_base_num", pa.int32()),
        _required("time_base_den", pa.int32()),
        _required("width", pa.int32()),
        _required("height", pa.int32()),
        _required("block_size", pa.int32()),
        _required("cols", pa.int32()),
        _required("rows", pa.int32()),
        _required("samples", pa.int32()),
        _required("motion", pa.float32()),
        _required("saliency", pa.list_(_required("element", pa.uint8()))),
        _required("qp_offset", pa.list_(_required("element", pa.int8()))),
    ]
)

# Keys that every manifest file carries; values are text, JSON where the name is a group of facts.
KEY_SCHEMA_VERSION = "vsal.schema_version"
KEY_VERSION = "vsal.version"
KEY_SOURCE = "vsal.source"
KEY_MODEL = "vsal.model"
KEY_SETTINGS = "vsal.settings"
KEY_ALGORITHMS = "vsal.algorithms"
KEY_REGIONS = "vsal.regions"
KEY_FINGERPRINT = "vsal.fingerprint"
KEY_DECODE_ERRORS = "vsal.decode_errors"
KEY_VIDEO = "vsal.video"
KEY_FRAMES = "vsal.frames"
KEY_SHOTS = "vsal.shots"
KEY_MAPS = "vsal.maps"
KEYS = (
    KEY_SCHEMA_VERSION,
    KEY_VERSION,
    KEY_SOURCE,
    KEY_MODEL,
    KEY_SETTINGS,
    KEY_ALGORITHMS,
    KEY_FINGERPRINT,
    KEY_DECODE_ERRORS,
    KEY_VIDEO,
    KEY_FRAMES,
    KEY_SHOTS,
    KEY_MAPS,
)

Saliency = npt.NDArray[np.uint8]
QpOffsets = npt.NDArray[np.int8]


class ManifestError(VsalError):
    """A manifest is missing, damaged or of another version; the text names the file and the remedy."""


@dataclass(frozen=True, slots=True, eq=False)
class MapRow:
    """One map: a run of frames of one shot that share their block grid.

    Attributes:
        title_id: of the title.
        shot: counts up through the title from 0.
        map: counts up through the title from 0.
        frame_start: first frame, in display order from 0.
        frame_end: one past the last frame.
        pts_start: presentation time of the first frame, in `time_base`.
        pts_end: of the first frame after the map; for the last map, of its last frame plus that frame's duration.
        time_base: seconds of one unit of pts.
        width: luma samples a row as coded, before display rotation.
        height: luma rows as coded.
        samples: frames that the model saw for this map.
        motion: mean absolute luma change of its frames, 0..255.
        saliency: uint8 [rows, cols], 0..255 for 0..1.
        qp_offset: int8 [rows, cols], in QP; negative where people look.
        block_size: side of a block in luma samples.
    """

    title_id: str
    shot: int
    map: int
    frame_start: int
    frame_end: int
    pts_start: int
    pts_end: int
    time_base: Fraction
    width: int
    height: int
    samples: int
    motion: float
    saliency: Saliency
    qp_offset: QpOffsets
    block_size: int = MACROBLOCK

    @property
    def rows(self) -> int:
        """Blocks down the picture."""
        return -(-self.height // self.block_size)

    @property
    def cols(self) -> int:
        """Blocks across the picture."""
        return -(-self.width // self.block_size)


def file_metadata(
    source: SourceInfo,
    model: str,
    model_sha256: str,
    settings: Mapping[str, Any],
    video: Mapping[str, Any] | None = None,
    decode_errors: int = 0,
    versions: Mapping[str, int] | None = None,
) -> dict[str, str]:
    """The metadata of a manifest file, fingerprint included; the writer adds versions and counts.

    Args:
        source: of the title.
        model: name of the model.
        model_sha256: of the model file.
        settings: as for `fingerprint`.
        video: facts of the stream as plain JSON values.
        decode_errors: met so far; `ManifestWriter.close` can still change any value.
        versions: of the algorithms, where it was made by others than those of today.
    """
    versions = algorithms(settings) if versions is None else versions
    return {
        KEY_SOURCE: canonical(asdict(source)),
        KEY_MODEL: canonical({"name": model, "sha256": model_sha256}),
        KEY_SETTINGS: canonical(dict(settings)),
        KEY_ALGORITHMS: canonical(dict(versions)),
        KEY_FINGERPRINT: fingerprint(source, model_sha256, settings, versions),
        KEY_DECODE_ERRORS: str(decode_errors),
        KEY_VIDEO: canonical(dict(video or {})),
    }


def written_by() -> dict[str, str]:
    """Metadata that says which vsal wrote a file."""
    return {KEY_SCHEMA_VERSION: str(SCHEMA_VERSION), KEY_VERSION: vsal.__version__}


def maps_folder(out: str) -> str:
    """Folder of the manifest files below OUT."""
    return storage.join(out, "maps")


def maps_uri(out: str, title_id: str) -> str:
    """The manifest file of a title.

    Raises:
        ValueError: the id is not safe as a file name, so it is none that a catalogue gave.
    """
    if not title_id or "/" in title_id or "\0" in title_id or title_id.startswith("."):
        raise ValueError(f"{title_id!r} is no title id: it would not be a plain file name")
    return storage.join(out, "maps", f"{title_id}.parquet")


def titles_uri(out: str) -> str:
    """The table of titles below OUT."""
    return storage.join(out, "titles.parquet")


def runs_uri(out: str, run_id: str) -> str:
    """The summary of a run."""
    return storage.join(out, "runs", f"{run_id}.json")
