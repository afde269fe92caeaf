"""`vsal evaluate roi --tune`: the rounds of a search, and the settings files that come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from vsal import storage
from vsal.errors import SettingsError
from vsal.settings_file import SettingsFile, write_settings

if TYPE_CHECKING:
    from vsal.evaluate.roi.arms import Arm
    from vsal.evaluate.roi.ladder import Ladder, Rates
    from vsal.evaluate.roi.table import RoiTable
    from vsal.evaluate.roi.tune import Tuned

Evaluate = Callable[["Ladder"], "RoiTable"]


def tune(ladder: Ladder, arm: Arm, evaluate: Evaluate, say: Callable[[str], None]) -> list[Arm]:
    """Tune an arm for each codec of a ladder, and write DEST/settings-CODEC.json, and settings-CODEC-mild.json where
    VMAF is measured.

    Args:
        ladder: codecs, rates and account; its arms do not count.
        arm: whose maps are kept, and whose strength is searched.
        evaluate: gives the table of a ladder.
        say: tells a person.

    Returns:
        The arms that were chosen, each for its codec.

    Raises:
        SettingsError: there are too few titles, or no setting keeps the guard.
    """
    from vsal.evaluate.roi.arms import PLAIN, Arm
    from vsal.evaluate.roi.tune import GUARD, MILD_GUARD, aq_round, cross_fit, mappings_round, told_of

    if arm.kind not in ("model", "manifest"):
        raise SettingsError(f"--tune searches the strength of maps, and the arm {arm.name} has none of its own")
    plain, chosen = Arm(PLAIN, "plain", control=True), []
    for rates in ladder.rates:
        arms = mappings_round(arm)
        one = replace(ladder, rates=(rates,))
        first = cross_fit(evaluate(replace(one, arms=(plain, *arms))), rates.codec, arms)
        if first is None:
            raise SettingsError(f"no setting for {rates.codec} keeps plain PSNR within {GUARD:.0%}: none is written")
        more = aq_round(first.arm, rates.codec)
        table = evaluate(replace(one, arms=(plain, *arms, *more[1:])))
        everything = [*arms, *more[1:]]
        for name, guard, limit in (("", "psnr", GUARD), ("-mild", "vmaf", MILD_GUARD)):
            found = cross_fit(table, rates.codec, everything, guard, limit) if _measured(table, guard) else None
            if found is None:
                say(f"{rates.codec}: no {name.lstrip('-') or 'tuned'} settings: {_why(table, guard, limit)}")
                continue
            uri = storage.join(ladder.dest, f"settings-{rates.codec}{name}.json")
            write_settings(uri, settings_of(found, rates, table))
            say(f"{told_of(found)} Written to {uri}.")
            if not name:
                # Under a name of its own, and for this codec alone.
                chosen.append(replace(found.arm, name=f"tuned for {rates.codec}: {found.arm.name}"))
    return chosen


def settings_of(tuned: Tuned, rates: Rates, table: RoiTable) -> SettingsFile:
    """What was chosen, as `prepare` and `encode` take it."""
    from vsal.manifest.remap import mapping_settings

    arm = tuned.arm
    prepare: dict[str, Any] = mapping_settings(arm.mapping)
    if arm.source is not None:
        prepare = {"model": arm.source.model, **arm.source.settings.shaping(), **prepare}
    options = dict(rates.encoder_options) | arm.options_for(rates.codec)
    preset = options.pop("preset", rates.preset)
    found = {
        "account": table.account[0],
        "guard": [tuned.guard, tuned.limit],
        "steady": tuned.steady,
        "halves": [asdict(half) for half in tuned.halves],
        "held_out": {metric: asdict(estimate) for metric, estimate in tuned.held_out.items()},
    }
    return SettingsFile(tuned.codec, prepare, options, preset, tuple(unpaid(table, tuned.codec, arm.name)), found)


def unpaid(table: RoiTable, codec: str, arm: str) -> list[str]:
    """Titles that need more rate under an arm by every measure of the account: PSNR whole and without the first
    second, and SSIM. One title has no interval, so the measures have to agree.
    """
    from vsal.evaluate.roi.arms import PLAIN
    from vsal.evaluate.roi.table import ALONE, LATER

    measures = (ALONE, LATER + ALONE, "ssim_alone")
    found: dict[str, list[float]] = {}
    for rate in table.rates:
        known = rate.rate.akima
        if (
            (rate.codec, rate.arm, rate.against) == (codec, arm, PLAIN)
            and rate.metric in measures
            and known is not None
        ):
            found.setdefault(rate.title_id, []).append(known)
    return sorted(title for title, rates in found.items() if len(rates) == len(measures) and min(rates) > 0)


def _measured(table: RoiTable, metric: str) -> bool:
    return any(rate.metric == metric for rate in table.rates)


def _why(table: RoiTable, guard: str, limit: float) -> str:
    if not _measured(table, guard):
        return f"{guard.upper()} is not measured; --metrics full does"
    return f"none keeps {guard.upper()} within {limit:+.0%}"
