"""The tables of the protocol on gaze as Markdown, for documents."""

from __future__ import annotations

from typing import Any

COLUMNS = {
    "nss": "NSS",
    "nss_share_of_observers": "of observers'",
    "cc": "CC",
    "sim": "SIM",
    "kl": "KL",
    "auc_judd": "AUC-J",
    "auc_shuffled": "sAUC",
    "gain_bits": "bits",
    "qp_gain": "QP gain",
    "rate": "rate",
    "rate_even": "rate, 0.1 + 0.9",
}


def figure(name: str, value: float | None) -> str:
    """A figure as tables show it."""
    if value is None:
        return ""
    if name == "nss_share_of_observers":
        return f"{value:.0%}"
    if name.startswith("rate"):
        return f"{value:+.1%}".replace("%", " %")
    return f"{value:.2f}"


def of_observers(nss: float | None, most: float | None) -> str:
    """NSS, and in brackets its share of the observers' where theirs is known."""
    if nss is None:
        return ""
    return f"{nss:.2f} ({nss / most:.0%})" if most else f"{nss:.2f}"


def interval_of(row: dict[str, Any]) -> str:
    """The interval of a row's NSS."""
    return "" if row["nss_low"] is None else f"{row['nss_low']:.2f}, {row['nss_high']:.2f}"


def ahead(difference: dict[str, float] | None) -> str:
    """How far a row is ahead of another: mean, interval, p."""
    if difference is None or difference["nss"] is None:
        return ""
    return f"{difference['nss']:+.2f} [{difference['low']:+.2f}, {difference['high']:+.2f}], p {difference['p']:.3f}"


def markdown_of(document: dict[str, Any]) -> str:
    """Three tables: figures, how far each row is ahead of the controls, and NSS by clip.

    Args:
        document: of `protocol.document_of`.
    """
    rows = document["rows"]
    names = [" ".join(filter(None, (row["model"], row["aggregator"]))) for row in rows]
    others = list(dict.fromkeys(other for row in rows for other in row["ahead_of"]))
    pairs = list(zip(names, rows, strict=True))
    first = [[name, *(figure(column, row[column]) for column in COLUMNS)] for name, row in pairs]
    second = [
        [
            name,
            f"{figure('nss', row['nss'])} [{interval_of(row)}]",
            *(ahead(row["ahead_of"].get(other)) for other in others),
            ", ".join(row["groups_below_prior"]) or "none",
        ]
        for name, row in pairs
    ]
    clips = document["by_clip"]
    third = []
    for clip, found in clips.items():
        cells = []
        for name in names:
            cells.append(of_observers(found["rows"][name]["nss"], found["rows"]["observers"]["nss"]))
        third.append([clip, found["group"], *cells])
    return "\n\n".join(
        [
            _table(["map", *COLUMNS.values()], first),
            _table(["map", "NSS [95 %]", *(f"ahead of {other}" for other in others), "groups below the prior"], second),
            _table(["clip", "group", *names], third),
        ]
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
