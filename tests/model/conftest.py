from __future__ import annotations

import sys
from pathlib import Path

# model/ is no part of the installed package: its tests import it from the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
