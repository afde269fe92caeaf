"""An evaluation as JSON has it, and as Markdown for people."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from vsal.evaluate.roi.arms import PLAIN
from vsal.evaluate.roi.statistics import Estimate
from vsal.evaluate.roi.table import ALONE, EVEN, LATER, WHOLE, RoiTable
from vsal.evaluate.roi.verdict import groups_behind, judge, warnings_of

SHOWN = (
    (ALONE, "density alone"),
    (EVEN, "0.1 + 0.9 density"),
    (WHOLE, "plain PSNR"),
    (LATER + ALONE, "density alone, after 1 s"),
    ("ssim_alone", "SSIM, density alone"),
    ("vmaf_alone", "VMAF, weighted"),
    ("vmaf_neg", "VMAF NEG"),
)
MOST_WARNINGS = 20


def document_of(table: RoiTable) -> dict[str, Any]:
    """Plain values: everything that was found."""
    sums = [
        {
            "codec": s.codec,
            "arm": s.arm,
            "against": s.against,
            "metric": s.metric,
            "refused": list(s.refused),
            "warned": list(s.warned),
            **(asdict(s.estimate) if s.estimate is not None else {"mean": None}),
        }
        for s in table.sums
    ]
    findings = [judge(table, codec, arm.name) for codec in table.codecs for arm in table.candidates]
    verdicts = [asdict(finding) | {"reasons": list(finding.reasons)} for finding in findings]
    return {
        "account": {"name": table.account[0], "whose": table.account[1]},
        "arms": [arm.to_json() for arm in table.arms],
        "titles": len({row["title_id"] for row in table.rows}),
        "encodes": len(table.rows),
        "bd_rates": sums,
        "by_title": [rate.document() for rate in table.rates],
        "foretold": {codec: table.foretold(codec) for codec in table.codecs},
        "steered": {
            codec: {arm.name: table.mean_of(codec, arm.name, "steered") for arm in table.arms} for codec in table.codecs
        },
        "seconds": {
            "encode": round(sum(row["encode_s"] for row in table.rows), 1),
            "measure": round(sum(row["measure_s"] for row in table.rows), 1),
        },
        "warnings": warnings_of(table),
        "verdicts": verdicts,
    }


def markdown_of(table: RoiTable) -> str:
    """Tables by codec, the account on the first line, the verdicts under them."""
    lines = [f"Account: {table.account[0]}: {table.account[1]}.", ""]
    for codec in table.codecs:
        lines += [*_codec(table, codec), ""]
    lines += _warnings(table)
    lines += [f"{judge(table, codec, arm.name).text}\n" for codec in table.codecs for arm in table.candidates]
    return "\n".join(lines).rstrip() + "\n"


def _codec(table: RoiTable, codec: str) -> list[str]:
    crfs = sorted({row["crf"] for row in table.rows if row["codec"] == codec})
    rates = ", ".join(f"{crf:g}" for crf in crfs)
    shown = [(metric, name) for metric, name in SHOWN if any(s.metric == metric for s in table.sums)]
    lines = [
        f"{codec}, CRF {rates}: rate needed beside the plain encode at equal quality, mean over titles "
        "[95 % interval, groups drawn]:",
        "",
        "| arm | " + " | ".join(name for _, name in shown) + " | p | steered |",
        "|---|" + "---|" * (len(shown) + 2),
    ]
    for arm in table.arms:
        if arm.name == PLAIN:
            continue
        cells = [_cell(table, codec, arm.name, metric) for metric, _ in shown]
        found, steered = table.of(codec, arm.name), table.mean_of(codec, arm.name, "steered")
        p = "" if found is None else f"{found.p:.3f}" + (f", {found.p_holm:.3f}" if found.p_holm is not None else "")
        name = f"*{arm.name}*" if arm.control else f"**{arm.name}**"
        lines.append(f"| {name} | " + " | ".join([*cells, p, "" if steered is None else f"{steered:.0%}"]) + " |")
    lines += ["", "Controls are in italics; p is of the sign-flip test by groups, then held by Holm over the arms."]
    return [*lines, "", *_by_title(table, codec), "", _foretold(table, codec)]


def _by_title(table: RoiTable, codec: str) -> list[str]:
    titles = list(dict.fromkeys((row["title_id"], row["group"]) for row in table.rows if row["codec"] == codec))
    arms = [arm.name for arm in table.arms if arm.name != PLAIN]
    found = {
        (r.title_id, r.arm): r.rate for r in table.rates if (r.codec, r.against, r.metric) == (codec, PLAIN, ALONE)
    }
    lines = [
        "By title, density alone:",
        "",
        "| title | group | " + " | ".join(arms) + " |",
        "|---" * (len(arms) + 2) + "|",
    ]
    for title, group in titles:
        cells = []
        for arm in arms:
            rate = found.get((title, arm))
            cells.append("" if rate is None else "refused" if rate.akima is None else f"{rate.akima:+.1%}")
        lines.append(f"| {title} | {group} | " + " | ".join(cells) + " |")
    prior = table.best_prior(codec)
    if prior is not None:
        behind = {arm.name: groups_behind(table, codec, arm.name, prior) for arm in table.candidates}
        told = "; ".join(f"{name}: {', '.join(groups) or 'none'}" for name, groups in behind.items())
        lines += ["", f"Groups behind {prior}: {told}."]
    return lines


def _foretold(table: RoiTable, codec: str) -> str:
    found = table.foretold(codec)
    alone, even = (found[metric] for metric in (ALONE, EVEN))
    if alone is None or even is None:
        return f"Foretold rate and measured: {found['maps']} maps are too few for a rank correlation."
    return (
        f"Spearman's rank correlation of the rate foretold without encoding with the one measured, over "
        f"{found['maps']} maps: {alone:+.2f} (density alone), {even:+.2f} (0.1 + 0.9 density)."
    )


def _cell(table: RoiTable, codec: str, arm: str, metric: str) -> str:
    found = table.summed(codec, arm, metric)
    if found is None:
        return "not there"
    told = told_of(found.estimate)
    return told if not found.refused else f"{told} ({len(found.refused)} refused)".strip()


def told_of(estimate: Estimate | None) -> str:
    """A mean with its interval; nothing where no title has a figure."""
    return "" if estimate is None else estimate.words


def _warnings(table: RoiTable) -> list[str]:
    found = warnings_of(table)
    lines = [f"- {text}" for text in found[:MOST_WARNINGS]]
    if len(found) > MOST_WARNINGS:
        lines.append(f"- and {len(found) - MOST_WARNINGS} more, all in the document")
    return [*lines, ""] if lines else []
