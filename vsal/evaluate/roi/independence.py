"""Opening the account that `--weights` names; a model judges no arm that it shares a teacher or an ancestor with."""

from __future__ import annotations

from collections.abc import Sequence

from vsal import storage
from vsal.errors import SettingsError
from vsal.evaluate.roi.account import Account, GazeAccount, MaskAccount, ModelAccount, NoAccount
from vsal.evaluate.roi.arms import STATUS_QUO, Arm
from vsal.evaluate.roi.sources import MapSource
from vsal.manifest import read_manifest
from vsal.saliency import ModelRefused, load_model
from vsal.saliency.lineage import shared
from vsal.saliency.registry import Entry, list_models
from vsal.settings import PrepareSettings

KINDS = ("gaze", "mask", "model", "none")


def open_account(weights: str, dest: str) -> Account:
    """The account of `--weights`.

    Args:
        weights: gaze:FOLDER, mask:FILES, model:NAME or none.
        dest: of the evaluation, where a model's maps go.

    Raises:
        SettingsError: it is none of these, or there is nothing of that name.
        DatasetBroken: the folder holds no gaze set.
    """
    kind, _, what = weights.partition(":")
    if kind == "gaze" and what:
        return GazeAccount.open(what)
    if kind == "mask" and what:
        return MaskAccount.open(what)
    if kind == "model" and what:
        model = load_model(what)
        source = MapSource(what, PrepareSettings(model=what))
        return ModelAccount(model.name, model.sha256, source, storage.join(dest, "saliency", source.key))
    if weights == "none":
        return NoAccount()
    raise SettingsError(f"--weights is gaze:FOLDER, mask:FILES, model:NAME or none, not {weights!r}")


def independent(account: Account, arms: Sequence[Arm]) -> tuple[list[Arm], list[str]]:
    """The arms that an account may judge.

    Returns:
        The arms, and what was left out and why: of the standing arms only, for a table has to go on without them.

    Raises:
        SettingsError: an arm that was asked for shares a teacher or an ancestor with the account's model, or nobody
            knows whether it does.
    """
    if not isinstance(account, ModelAccount):
        return list(arms), []
    judge = _entry(account.source.model, "--weights model:")
    kept, left_out = [], []
    for arm in arms:
        common = _common(judge, arm)
        if not common:
            kept.append(arm)
        elif arm.control or arm.name == STATUS_QUO:
            left_out.append(f"{arm.name} is left out: {account.name} cannot judge it, for they share {common}")
        else:
            raise SettingsError(
                f"--weights {account.name} cannot judge the arm {arm.name}: they share {common}. What it has learned "
                "it would find again; take people's gaze (gaze:), true masks (mask:) or an unrelated model"
            )
    return kept, left_out


def _common(judge: Entry, arm: Arm) -> str:
    """What judge and arm share, in words; empty where the arm has no model or shares nothing."""
    if arm.source is not None:
        entry = _entry(arm.source.model, f"--arm {arm.name}: model ")
    elif arm.out is not None:
        entry = _entry_of_manifest(arm)
    else:
        return ""
    try:
        found = shared(judge, entry)
    except ModelRefused as refused:
        raise SettingsError(f"--weights model:{judge.name}, arm {arm.name}: {refused}") from None
    return ", ".join(name for name in found if not name.startswith("sha256:")) or ", ".join(found)


def _entry(name: str, where: str) -> Entry:
    entry = load_model(name).entry
    if entry is None:
        raise SettingsError(
            f"{where}{name} is a file that no registry knows, so nobody knows what it has learned from: register it "
            "with `vsal models add` and --teacher, --ancestor or --no-lineage"
        )
    return entry


def _entry_of_manifest(arm: Arm) -> Entry:
    manifest = read_manifest(arm.out or "")
    ids = manifest.title_ids()
    if not ids:
        raise SettingsError(f"--arm {arm.name}: {arm.out} holds no manifest: run `vsal prepare` first")
    with manifest.title(sorted(ids)[0]) as title:
        made_by = title.model
    entry = next((entry for entry in list_models() if entry.sha256 == made_by["sha256"]), None)
    if entry is None:
        raise SettingsError(
            f"--arm {arm.name}: {arm.out} was made by {made_by['name']}, which no registry knows: nobody knows what "
            "it has learned from"
        )
    return entry
