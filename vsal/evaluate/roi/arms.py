"""What is compared: maps and their strength, each under a name. Controls stand in every table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vsal.errors import SettingsError
from vsal.evaluate.roi.sources import MapSource
from vsal.evaluate.saliency.status_quo import STUDENT
from vsal.roi.qp import QpMapping
from vsal.saliency.prior import FIXED_PRIOR
from vsal.settings import PrepareSettings, checked

Kind = Literal["plain", "model", "manifest", "prior", "elsewhere", "uniform", "truth"]
PLAIN, STATUS_QUO, PRIOR, ELSEWHERE, UNIFORM, TRUTH = (
    "plain", "status-quo", "fixed prior", "another title's map", "uniform offset", "truth",
)  # fmt: skip
UNIFORM_QP = 2  # finer everywhere: at equal quality it gives nothing but what a rate curve's error gives
STATUS_QUO_MAPPING = QpMapping("rd", floor=0.2, limit=6)
# What an arm's options mean, by PrepareSettings' own fields.
_PREPARE = {
    "model": "model", "mode": "saliency_mode", "aggregator": "aggregator", "half-life": "ema_half_life_s",
    "interval": "map_interval", "rate": "sample_rate", "smooth": "smooth_s", "mapping": "qp_mapping",
    "floor": "qp_floor", "limit": "qp_limit", "offset": "qp_offset",
}  # fmt: skip
_NUMBERS = {"half-life", "rate", "smooth", "floor"}
_WHOLE = {"limit", "offset"}


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to steer an encode.

    Attributes:
        name: in tables.
        kind: where its maps come from.
        source: of kind `model`; of `elsewhere` what makes the other title's map.
        out: of kind `manifest`: where `vsal prepare` wrote it.
        mapping: from saliency to QP offsets.
        gain: strength of the offsets; None for the mapping's own.
        spread: deviation that the offsets of a title shall have, in QP, in place of a gain.
        encoder_options: beside those of the codec.
        control: whether it is there to be compared with, and no candidate for anything.
        note: what a table says of it.
    """

    name: str
    kind: Kind
    source: MapSource | None = None
    out: str | None = None
    mapping: QpMapping = field(default_factory=QpMapping)
    gain: float | None = None
    spread: float | None = None
    encoder_options: tuple[tuple[str, str], ...] = ()
    control: bool = False
    note: str = ""

    def options_for(self, codec: str) -> dict[str, str]:
        """Of those given as CODEC.KEY=VALUE those of this codec; those without a codec for all."""
        found = {}
        for key, value in self.encoder_options:
            of, dot, rest = key.partition(".")
            if not dot or of == codec:
                found[rest if dot else key] = value
        return found

    def to_json(self) -> dict[str, Any]:
        """For documents: what a person needs to make it again."""
        made = None
        if self.source is not None:
            made = {"model": self.source.model, **self.source.settings.shaping()}
        return {
            "name": self.name,
            "kind": self.kind,
            "control": self.control,
            "maps": made or self.out,
            "mapping": [self.mapping.kind, self.mapping.floor, self.mapping.limit, self.mapping.offset],
            "gain": self.gain,
            "spread": self.spread,
            "encoder_options": dict(self.encoder_options),
            "note": self.note,
        }


def parse_arm(text: str, defaults: Mapping[str, Any] | None = None) -> Arm:
    """An arm as `--arm NAME:OPTIONS` has it.

    Args:
        text: NAME alone for the defaults, else NAME: and key=value words with commas between: model, mode, aggregator,
            half-life, interval, rate, smooth, mapping, floor, limit, offset (of prepare); maps=OUT, a manifest that is
            there; kind=plain, prior or truth; gain, spread; any key with a dot, or after `option.`, for the encoder
            (`x264.aq-mode=3` for that one alone, `option.preset=...` for all).
        defaults: settings of prepare by their field, where an arm names none.

    Raises:
        SettingsError: a word is none of these, or a value is out of its range.
    """
    name, _, options = text.partition(":")
    if not name.strip() or name in (PLAIN, STATUS_QUO, PRIOR, ELSEWHERE, UNIFORM, TRUTH):
        raise SettingsError(f"--arm is NAME:OPTIONS with a name of its own, not {text!r}")
    prepare: dict[str, Any] = dict(defaults or {})
    more: dict[str, str] = {}
    encoder: list[tuple[str, str]] = []
    for word in filter(None, (word.strip() for word in options.split(","))):
        key, equals, value = word.partition("=")
        if not equals:
            raise SettingsError(f"--arm {name}: {word!r} is no key=value")
        if key in _PREPARE:
            prepare[_PREPARE[key]] = _value(name, key, value)
        elif key in ("maps", "kind", "gain", "spread"):
            more[key] = value
        elif key.startswith("option."):
            encoder.append((key.removeprefix("option."), value))
        elif "." in key:
            encoder.append((key, value))
        else:
            known = ", ".join([*_PREPARE, "maps", "kind", "gain", "spread", "CODEC.KEY"])
            raise SettingsError(f"--arm {name} has no option {key!r}; there are {known}")
    kind = more.get("kind", "manifest" if "maps" in more else "model")
    if kind not in ("plain", "model", "manifest", "prior", "truth"):
        raise SettingsError(f"--arm {name}: kind is plain, model, manifest, prior or truth, not {kind!r}")
    settings = checked(PrepareSettings, prepare)
    return Arm(
        name,
        kind,  # type: ignore[arg-type]
        MapSource(settings.model, settings) if kind == "model" else None,
        more.get("maps"),
        QpMapping.of_settings(settings.shaping()),
        _number(name, "gain", more.get("gain")),
        _number(name, "spread", more.get("spread")),
        tuple(sorted(encoder)),
    )


def status_quo() -> Arm:
    """The first default: it stands in every table, so that tables of years can be compared."""
    settings = PrepareSettings(model=STUDENT, aggregator="ema", qp_floor=0.2, qp_limit=6)
    return Arm(STATUS_QUO, "model", MapSource(STUDENT, settings), mapping=STATUS_QUO_MAPPING)


def with_controls(arms: Sequence[Arm], has_truth: bool) -> list[Arm]:
    """Plain first, then the arms, then what they are held against.

    The fixed prior, and the truth where there is one, stand under every mapping of the arms: place and strength are two
    questions. Another title's map is made as the first arm's are.

    Args:
        arms: that are considered, the status quo among them.
        has_truth: whether the account can say what the best map is.

    Raises:
        SettingsError: two arms have one name.
    """
    names = [arm.name for arm in arms]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SettingsError(f"two arms are called {', '.join(twice)}: give each --arm a name of its own")
    steered = [arm for arm in arms if arm.kind not in ("plain", "prior", "truth")]
    mappings = list(dict.fromkeys((arm.mapping, arm.gain, arm.spread) for arm in steered))
    found = [Arm(PLAIN, "plain", control=True), *arms]
    for mapping, gain, spread in mappings:
        told = "" if len(mappings) == 1 else f" ({strength(mapping, gain, spread)})"
        own = Arm("", "prior", mapping=mapping, gain=gain, spread=spread, control=True)
        found.append(replace(own, name=PRIOR + told, note=f"fitted on {FIXED_PRIOR.source}"))
        if has_truth:
            found.append(replace(own, name=TRUTH + told, kind="truth", note="the most that can be won"))
    first = next((arm for arm in steered if arm.source is not None), None)
    if first is not None:
        note = f"made as {first.name}'s are, of the next title of another group"
        found.append(replace(first, name=ELSEWHERE, kind="elsewhere", control=True, note=note))
    uniform = QpMapping("linear", offset=UNIFORM_QP)
    found.append(Arm(UNIFORM, "uniform", mapping=uniform, control=True, note=f"-{UNIFORM_QP} QP everywhere"))
    return found


def at_spread(arms: Sequence[Arm], spread: float) -> list[Arm]:
    """The steered arms once more, each at one deviation of its offsets: then place alone tells them apart."""
    same = [arm for arm in arms if arm.kind not in ("plain", "uniform") and arm.spread is None]
    return [replace(arm, name=f"{arm.name} @ {spread:g} QP", spread=spread, gain=None) for arm in same]


def strength(mapping: QpMapping, gain: float | None = None, spread: float | None = None) -> str:
    """A mapping in words."""
    told = f"floor {mapping.floor:g}, limit {mapping.limit}" if mapping.kind == "rd" else f"linear {mapping.offset}"
    told += "" if gain is None else f", gain {gain:g}"
    return told + ("" if spread is None else f", spread {spread:g} QP")


def _value(arm: str, key: str, value: str) -> Any:
    if key in _WHOLE or key in _NUMBERS or (key == "interval" and value != "shot"):
        number = _number(arm, key, value)
        assert number is not None
        return int(number) if key in _WHOLE and number == int(number) else number
    return value


def _number(arm: str, key: str, value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        raise SettingsError(f"--arm {arm}: {key} is a number, not {value!r}") from None
