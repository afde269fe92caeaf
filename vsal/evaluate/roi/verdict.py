"""The paragraph that a person can quote, from the numbers alone: pays, does not pay, or cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vsal.evaluate.roi.arms import ELSEWHERE, PLAIN, UNIFORM
from vsal.evaluate.roi.statistics import Estimate
from vsal.evaluate.roi.table import ALONE, EVEN, WHOLE, RoiTable, is_control

Answer = Literal["pays", "does not pay", "cannot tell"]
LEAST_TITLES, LEAST_GROUPS = 6, 4
MOST_PLAIN_LOSS = 0.05  # of rate at equal plain PSNR: the guard
CURVE_ERROR = 0.01  # what a uniform offset may gain or lose before the curves themselves are doubted


@dataclass(frozen=True, slots=True)
class Finding:
    """What is to be said of one arm under one codec.

    Attributes:
        codec: its name.
        arm: likewise.
        answer: in two words.
        reasons: why not more, one sentence each.
        text: the paragraph.
    """

    codec: str
    arm: str
    answer: Answer
    reasons: tuple[str, ...]
    text: str


def judge(table: RoiTable, codec: str, arm: str) -> Finding:
    """Judge an arm.

    It pays if it gains where people look, more than a fixed prior and another title's map do, each with an interval
    that leaves out 0, at a loss of plain PSNR within the guard.
    """
    gain, plain = table.of(codec, arm, ALONE), table.of(codec, arm, WHOLE)
    if gain is None:
        told = (
            "nobody's weights: --weights gaze:, mask: or model: says by whom"
            if table.of(codec, arm, WHOLE) is not None
            else "no title has a curve: " + "; ".join(_refusals(table, codec, arm)[:3])
        )
        return _finding(table, codec, arm, "cannot tell", [told], gain, plain)
    doubts = _doubts(table, codec, arm, gain)
    if doubts:
        return _finding(table, codec, arm, "cannot tell", doubts, gain, plain)
    against = _against_controls(table, codec, arm)
    if not gain.below:
        answer: Answer = "does not pay" if gain.above else "cannot tell"
        reasons = [f"the interval of its gain, [{gain.low:+.1%}, {gain.high:+.1%}], does not leave out 0"]
        return _finding(table, codec, arm, answer, reasons, gain, plain)
    behind = [text for estimate, text in against if estimate.above]
    if behind:
        return _finding(table, codec, arm, "does not pay", behind, gain, plain)
    undecided = [text for estimate, text in against if not estimate.below]
    if undecided:
        return _finding(table, codec, arm, "cannot tell", undecided, gain, plain)
    if plain is not None and plain.mean > MOST_PLAIN_LOSS:
        told = f"plain PSNR costs {plain.mean:+.1%}, more than the {MOST_PLAIN_LOSS:.0%} of the guard"
        return _finding(table, codec, arm, "does not pay", [told], gain, plain)
    return _finding(table, codec, arm, "pays", [], gain, plain)


def groups_behind(table: RoiTable, codec: str, arm: str, against: str | None) -> list[str]:
    """Groups of titles in which an arm needs more rate than a control."""
    found = None if against is None else table.of(codec, arm, ALONE, against)
    return [] if found is None else sorted(group for group, mean in found.groups.items() if mean > 0)


def warnings_of(table: RoiTable) -> list[str]:
    """What is wrong with the figures as a whole: controls that gain, curves that are refused or doubtful."""
    found = []
    for codec in table.codecs:
        shuffled = table.of(codec, ELSEWHERE)
        if shuffled is not None and shuffled.below:
            found.append(
                f"{codec}: {ELSEWHERE} gains {shuffled.words}: the "
                "account rewards maps that know nothing of the title, so gains count only ahead of it"
            )
        uniform = table.of(codec, UNIFORM)
        if uniform is not None and abs(uniform.mean) > CURVE_ERROR:
            told = f"{codec}: a {UNIFORM} comes out at {uniform.mean:+.1%}, where nothing is to be gained: "
            found.append(told + "smaller differences than that say nothing")
        for s in table.sums:
            if s.codec == codec and s.against == PLAIN and s.metric == ALONE:
                found += [f"{codec}, {s.arm}: {text}" for text in (*s.refused, *s.warned)]
    small = sorted({row["title_id"] for row in table.rows if row["too_small"]})
    if small:
        found.append(f"encoders with cells of 64 pixels are not judged by pictures below 832 wide: {', '.join(small)}")
    return found


def _doubts(table: RoiTable, codec: str, arm: str, gain: Estimate) -> list[str]:
    """What forbids any answer."""
    doubts = []
    if gain.titles < LEAST_TITLES or len(gain.groups) < LEAST_GROUPS:
        told = f"{gain.titles} titles in {len(gain.groups)} groups"
        doubts.append(f"{told} are too few: {LEAST_TITLES} in {LEAST_GROUPS} are the least")
    shuffled = table.of(codec, ELSEWHERE)
    ahead = table.of(codec, arm, ALONE, ELSEWHERE)
    if shuffled is not None and shuffled.below and ahead is not None and not ahead.below:
        doubts.append(
            f"{ELSEWHERE} gains too ({shuffled.mean:+.1%}), and the arm is not surely ahead of it "
            f"[{ahead.low:+.1%}, {ahead.high:+.1%}]: this account does not see where maps point"
        )
    refused = _refusals(table, codec, arm)
    if len(refused) > gain.titles:
        doubts.append(f"{len(refused)} curves of {len(refused) + gain.titles} are refused, as {refused[0]}")
    return doubts


def _against_controls(table: RoiTable, codec: str, arm: str) -> list[tuple[Estimate, str]]:
    found = []
    for control in filter(None, (table.best_prior(codec), ELSEWHERE)):
        estimate = table.of(codec, arm, ALONE, control)
        if estimate is not None and not is_control(arm, "prior"):
            told = f"{estimate.words} against {control}"
            found.append((estimate, told))
    return found


def _refusals(table: RoiTable, codec: str, arm: str) -> tuple[str, ...]:
    found = table.summed(codec, arm, ALONE) or table.summed(codec, arm, WHOLE)
    return () if found is None else found.refused


def _finding(
    table: RoiTable,
    codec: str,
    arm: str,
    answer: Answer,
    reasons: list[str],
    gain: Estimate | None,
    plain: Estimate | None,
) -> Finding:
    words = [f"{arm} under {codec}: {answer}" + (f" ({'; '.join(reasons)})." if reasons else ".")]
    words.append(f"By {table.account[1]}:")
    if gain is not None:
        words[-1] += f" {gain.words} rate at equal weighted PSNR over"
        words[-1] += f" {gain.titles} titles in {len(gain.groups)} groups"
        even = table.of(codec, arm, EVEN)
        if even is not None:
            told = even.words
            words[-1] += f", {told} with a tenth of the weight spread evenly"
        words[-1] += "."
    else:
        words[-1] += " no figure."
    if plain is not None:
        words.append(f"The whole picture at equal plain PSNR: {plain.words}.")
    controls = [text for _, text in _against_controls(table, codec, arm)]
    if controls:
        words.append(f"Rate that it needs beside the controls: {', '.join(controls)}.")
    if gain is not None:
        best, worst = (pick(gain.groups, key=lambda group: gain.groups[group]) for pick in (min, max))
        if best != worst:
            most, least = (f"{group} ({gain.groups[group]:+.1%})" for group in (best, worst))
            words.append(f"It gives most on {most} and least on {least}.")
        prior = table.best_prior(codec)
        behind = groups_behind(table, codec, arm, prior)
        if behind:
            words.append(f"Behind {prior} in: {', '.join(behind)}.")
    return Finding(codec, arm, answer, tuple(reasons), " ".join(words))
