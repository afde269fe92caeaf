"""What `vsal evaluate roi` is asked for, as its options say it, and its table on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vsal.errors import SettingsError

if TYPE_CHECKING:
    from rich.table import Table

    from vsal.evaluate.roi.ladder import Rates
    from vsal.evaluate.roi.table import RoiTable


def rates_of(
    codecs: Sequence[str], crf: Sequence[str], preset: Sequence[str], encoder_option: Sequence[str]
) -> tuple[Rates, ...]:
    """Codecs with their rates.

    Args:
        codecs: their names.
        crf: lists such as 24,29,34,39, for all codecs or after CODEC=.
        preset: words, likewise.
        encoder_option: key=value, for all codecs, or CODEC.key=value for one.

    Raises:
        SettingsError: there is no such codec, or a rate is no number.
    """
    from vsal.encode.codecs import encoder_of
    from vsal.evaluate.roi.ladder import CRFS, PRESETS, Rates

    names = list(dict.fromkeys(codecs))
    crfs, presets = _by_codec("--crf", crf, names), _by_codec("--preset", preset, names)
    options: dict[str, dict[str, str]] = {name: {} for name in names}
    for word in encoder_option:
        key, equals, value = word.partition("=")
        if not equals:
            raise SettingsError(f"--encoder-option takes key=value, not {word!r}")
        of, dot, rest = key.partition(".")
        for name in [of] if dot and of in options else names:
            options[name][rest if dot and of in options else key] = value
    found = []
    for name in names:
        encoder_of(name)
        chosen = _numbers(name, crfs[name]) if name in crfs else CRFS[name]
        found.append(Rates(name, chosen, presets.get(name, PRESETS.get(name)), options[name]))
    return tuple(found)


def screen_table(table: RoiTable, codec: str) -> Table:
    """Means with intervals of every arm."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from vsal.evaluate.roi.arms import PLAIN
    from vsal.evaluate.roi.document import SHOWN, told_of

    shown = [(metric, name) for metric, name in SHOWN if any(s.metric == metric for s in table.sums)]
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=codec, title_justify="left")
    drawn.add_column("arm")
    for _, name in shown:
        drawn.add_column(name, justify="right")
    drawn.add_column("steered", justify="right")
    for arm in table.arms:
        if arm.name == PLAIN:
            continue
        sums = [table.summed(codec, arm.name, metric) for metric, _ in shown]
        # Without another title there is no map of another.
        cells = ["not there" if s is None else told_of(s.estimate) or "refused" for s in sums]
        steered = table.mean_of(codec, arm.name, "steered")
        name = escape(arm.name) if not arm.control else f"[dim]{escape(arm.name)}[/]"
        drawn.add_row(name, *(escape(cell) for cell in cells), "" if steered is None else f"{steered:.0%}")
    return drawn


def _by_codec(option: str, given: Sequence[str], codecs: Sequence[str]) -> dict[str, str]:
    found = {}
    for word in given:
        name, equals, value = word.partition("=")
        if equals and name not in codecs:
            raise SettingsError(f"{option} {word}: {name} is no --codec of this run ({', '.join(codecs)})")
        for codec in [name] if equals else codecs:
            found[codec] = value if equals else word
    return found


def _numbers(codec: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(sorted(float(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise SettingsError(f"--crf of {codec} is numbers with commas between, not {text!r}") from None
