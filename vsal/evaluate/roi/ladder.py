"""The ladder of a title: every codec at every rate under every arm, and the rows that come of it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vsal import storage
from vsal.encode.codecs import encoder_of
from vsal.encode.settings import EncodeSettings
from vsal.errors import SettingsError
from vsal.evaluate.roi.account import Account, ModelAccount, in_force
from vsal.evaluate.roi.arms import PLAIN, Arm
from vsal.evaluate.roi.clip import Clip, first_seconds, some_shots
from vsal.evaluate.roi.maps import Maps, maps_of
from vsal.evaluate.roi.points import Metrics, OnFrame, Point, PointStore, make_point, point_key
from vsal.evaluate.roi.sources import MapSource
from vsal.evaluate.saliency.foretold import foretell
from vsal.manifest import TitleManifest, maps_uri

# Where no others are asked for. Sources were coded before: finer than this an encode follows their own artefacts.
CRFS: dict[str, tuple[float, ...]] = {
    "x264": (24, 27, 30, 33, 36, 39),
    "x265": (24, 27, 30, 33, 36, 39),
    "vp9": (32, 37, 42, 47, 52, 57),
    "svtav1": (32, 37, 42, 47, 52, 57),
    "kvazaar": (24, 27, 30, 33, 36, 39),
}
PRESETS = {"x264": "fast", "x265": "fast", "svtav1": "8"}
COARSE_CELL, COARSE_WIDTH = 64, 832  # encoders of such cells are judged on pictures of at least that width
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Rates:
    """A codec and its points.

    Attributes:
        codec: its name.
        crfs: rate factors, rising.
        preset: the encoder's own word; None for its default.
        encoder_options: for every arm.
    """

    codec: str
    crfs: tuple[float, ...]
    preset: str | None = None
    encoder_options: Mapping[str, str] = field(default_factory=dict)

    def settings(self, crf: float, arm: Arm) -> EncodeSettings:
        """Of one encode."""
        options = dict(self.encoder_options) | arm.options_for(self.codec)
        preset = options.pop("preset", self.preset)
        roi = arm.kind != "plain"
        return EncodeSettings(self.codec, crf=crf, preset=preset, encoder_options=options, roi=roi, threads=1)


@dataclass(frozen=True, slots=True)
class Ladder:
    """What is done with every title.

    Attributes:
        dest: root of points, maps and tables.
        account: by which errors are weighed.
        arms: with plain and controls, plain first.
        rates: of each codec.
        metrics: that are measured.
        seconds: of a title, or of each of its shots; None for all.
        shots_per_title: that are judged, spread evenly; None for the title's beginning.
    """

    dest: str
    account: Account
    arms: tuple[Arm, ...]
    rates: tuple[Rates, ...]
    metrics: Metrics = field(default_factory=Metrics)
    seconds: float | None = None
    shots_per_title: int | None = None

    @property
    def store(self) -> PointStore:
        """Where points are kept."""
        return PointStore(storage.join(self.dest, "points"))

    def saliency_out(self, source: MapSource) -> str:
        """Where the manifests of a source of maps lie, as `prepare` lays them out."""
        return storage.join(self.dest, "saliency", source.key)


@dataclass(frozen=True, slots=True)
class Judged:
    """A title of the catalogue, and the one whose maps stand in as another title's."""

    title_id: str
    uri: str
    group: str
    other_id: str | None = None
    other_uri: str | None = None


def check_ladder(ladder: Ladder) -> None:
    """What can be refused before any title is looked at.

    Raises:
        SettingsError: a rate or an option is none of the encoder's, or a curve would have too few points.
    """
    for rates in ladder.rates:
        if len(set(rates.crfs)) != len(rates.crfs):
            raise SettingsError(f"the rates of {rates.codec} hold one twice: {', '.join(map(str, rates.crfs))}")
        for arm in ladder.arms:
            for crf in rates.crfs:
                encoder_of(rates.codec).check(rates.settings(crf, arm))


def sources_needed(ladder: Ladder, title: Judged) -> list[tuple[MapSource, str, str]]:
    """(source of maps, video, title id) of every manifest that a title's arms and account need."""
    needed = []
    if isinstance(ladder.account, ModelAccount):
        needed.append((ladder.account.source, title.uri, title.title_id))
    for arm in ladder.arms:
        if arm.kind == "model" and arm.source is not None:
            needed.append((arm.source, title.uri, title.title_id))
        elif arm.kind == "elsewhere" and arm.source is not None and title.other_id is not None:
            needed.append((arm.source, title.other_uri or "", title.other_id))
    unique = {(source.key, title_id): (source, uri, title_id) for source, uri, title_id in needed}
    return list(unique.values())


def open_clip(ladder: Ladder, title: Judged) -> Clip:
    """The frames of a title that are judged.

    Raises:
        TitleFailed: it cannot be read.
    """
    if ladder.shots_per_title is None:
        return first_seconds(title.uri, title.title_id, title.group, ladder.seconds)
    whole = first_seconds(title.uri, title.title_id, title.group, None)
    steered = next((arm for arm in ladder.arms if _manifest(ladder, arm, title) is not None), None)
    shots = [(0, len(whole.pts))]
    if steered is not None:
        with TitleManifest(_manifest(ladder, steered, title) or "") as manifest:
            shots = [(start, end) for _, start, end in manifest.shots()]
    return some_shots(whole, shots, ladder.shots_per_title, ladder.seconds)


def arms_of(ladder: Ladder, title: Judged) -> list[Arm]:
    """Those that this title can have: without another title there is no map of another."""
    return [arm for arm in ladder.arms if arm.kind != "elsewhere" or title.other_id is not None]


def row_of(
    ladder: Ladder, title: Judged, clip: Clip, rates: Rates, crf: float, arm: Arm, on_frame: OnFrame = lambda done: None
) -> Row:
    """One encode of the ladder: from what is kept of it, else made.

    Returns:
        The row of the table: plain values.

    Raises:
        TitleFailed: it cannot be encoded or measured.
    """
    settings, account = rates.settings(crf, arm), ladder.account
    maps = maps_of(arm, clip, account, _manifest(ladder, arm, title))
    digest = account.digest(title.title_id)
    key = point_key(clip, settings, maps, digest, ladder.metrics)
    store = ladder.store
    point = store.get(key)
    weights = None
    if point is None:
        weights = account.weights(clip)
        plain = point_key(clip, rates.settings(crf, _twin(arm)), None, digest, ladder.metrics)
        twin = None if maps is None else store.errors(plain)
        point, errors = make_point(key, clip, settings, maps, weights, ladder.metrics, twin, on_frame)
        if maps is None:
            store.put_errors(key, errors)
        store.put(point)
    foretold = {} if maps is None else _foretold(maps, clip, account.weights(clip) if weights is None else weights)
    return _row(title, clip, rates, crf, arm, point) | foretold


def ladder_of(ladder: Ladder, title: Judged) -> list[Row]:
    """All rows of a title, in this process, plain encodes first; its maps must be there."""
    clip = open_clip(ladder, title)
    return [
        row_of(ladder, title, clip, rates, crf, arm)
        for rates in ladder.rates
        for arm in arms_of(ladder, title)
        for crf in rates.crfs
    ]


def write_rows(ladder: Ladder, title_id: str, rows: Sequence[Row]) -> str:
    """Publish the rows of a title; returns the file's URI."""
    uri = storage.join(ladder.dest, "titles", f"{title_id}.parquet")
    names = list(dict.fromkeys(name for row in rows for name in row))
    held = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), held)
    storage.write_bytes(uri, held.getvalue())
    return uri


def read_rows(ladder: Ladder, title_id: str) -> list[Row]:
    """The rows that were published of a title."""
    uri = storage.join(ladder.dest, "titles", f"{title_id}.parquet")
    rows: list[Row] = pq.read_table(io.BytesIO(storage.read_bytes(uri))).to_pylist()
    return rows


def whole_rows(ladder: Ladder, title: Judged) -> list[Row]:
    """The rows of a title if they are those of this ladder, whichever run made them; none otherwise."""
    try:
        rows = read_rows(ladder, title.title_id)
    except FileNotFoundError:
        return []
    wanted = {
        (rates.codec, crf, arm.name) for rates in ladder.rates for crf in rates.crfs for arm in arms_of(ladder, title)
    }
    return rows if {(row["codec"], row["crf"], row["arm"]) for row in rows} == wanted else []


def _manifest(ladder: Ladder, arm: Arm, title: Judged) -> str | None:
    if arm.kind == "manifest" and arm.out is not None:
        return maps_uri(arm.out, title.title_id)
    if arm.source is None:
        return None
    if arm.kind == "elsewhere":
        return maps_uri(ladder.saliency_out(arm.source), title.other_id or "")
    return maps_uri(ladder.saliency_out(arm.source), title.title_id)


def _twin(arm: Arm) -> Arm:
    """The plain encode with an arm's own options."""
    return Arm(PLAIN, "plain", encoder_options=arm.encoder_options)


def _foretold(maps: Maps, clip: Clip, weights: Any) -> Row:
    """What the offsets foretell of the rate, without an encode; nothing without an account."""
    if weights is None:
        return {}
    offsets = maps.offsets()
    found = foretell([offsets[i] for i in in_force(maps.rows, clip.numbers)], weights)
    spread = float(np.mean([grid.std() for grid in offsets]))
    return {f"foretold_{name}": value for name, value in asdict(found).items()} | {"spread_qp": spread}


def _row(title: Judged, clip: Clip, rates: Rates, crf: float, arm: Arm, point: Point) -> Row:
    info = clip.facts.info
    coarse = encoder_of(rates.codec).cell == COARSE_CELL and info.width < COARSE_WIDTH
    return {
        "title_id": title.title_id,
        "group": title.group,
        "codec": rates.codec,
        "arm": arm.name,
        "crf": float(crf),
        "width": info.width,
        "height": info.height,
        "frames": point.frames,
        "duration_s": point.duration_s,
        "bytes": point.bytes,
        "later_bytes": point.later_bytes,
        "kbps": point.kbps,
        "encode_s": point.encode_s,
        "measure_s": point.measure_s,
        "steered": point.steered,
        "too_small": coarse,
        **point.figures,
        **{f"later_{name}": value for name, value in point.later.items()},
    }
