"""A settings file: what an evaluation has found, as `prepare` and `encode` take it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from vsal import storage
from vsal.errors import SettingsError


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """Settings by whom they are for.

    Attributes:
        codec: that they were found for.
        prepare: values of `PrepareSettings` by their field.
        encoder_options: of `encode --codec` of that name.
        preset: likewise; None for the encoder's own.
        no_roi: titles for which maps do not pay.
        found: by what, for people: account, titles, figures.
    """

    codec: str
    prepare: Mapping[str, Any] = field(default_factory=dict)
    encoder_options: Mapping[str, str] = field(default_factory=dict)
    preset: str | None = None
    no_roi: tuple[str, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)


def write_settings(uri: str, settings: SettingsFile) -> None:
    """Write a settings file, JSON."""
    storage.write_bytes(uri, (json.dumps({"vsal_settings": 1, **asdict(settings)}, indent=1) + "\n").encode())


def read_settings(uri: str) -> SettingsFile:
    """Read one.

    Raises:
        SettingsError: there is none, or it is none.
    """
    try:
        document = json.loads(storage.read_bytes(uri))
        if document.pop("vsal_settings") != 1:
            raise ValueError("another version")
        found = SettingsFile(**{**document, "no_roi": tuple(document.get("no_roi", ()))})
        if not isinstance(found.codec, str) or not isinstance(found.prepare, dict):
            raise ValueError("codec is a word and prepare an object")
        return found
    except FileNotFoundError:
        raise SettingsError(f"--settings {uri}: there is no such file; `vsal evaluate roi --tune` writes one") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SettingsError(
            f"--settings {uri} is no settings file ({type(error).__name__}: {error}): take one that `vsal evaluate roi "
            "--tune` has written"
        ) from None
