"""What the scan of a title must deliver for a model under some settings."""

from __future__ import annotations

from vsal.saliency.contract import ModelInput
from vsal.settings import PrepareSettings
from vsal.video.scan import ScanSettings


def scan_settings(settings: PrepareSettings, model_input: ModelInput) -> ScanSettings:
    """What a scan must deliver for these settings and that model."""
    return ScanSettings(
        sample_rate=settings.sample_rate,
        exact_decode=settings.exact_decode,
        tiny=settings.shot_detector == "transnetv2",
        motion=("signed" if model_input.signed else "frame") if model_input.motion else None,
    )
