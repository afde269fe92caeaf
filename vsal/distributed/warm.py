"""Workers that have begun before there is work for them: imports take a third of a second of CPU in each new one."""

from __future__ import annotations

import importlib
from typing import Any

import ray


@ray.remote(num_cpus=0, max_retries=0)
def _import(module: str) -> None:
    importlib.import_module(module)


def warm_workers(count: int, module: str) -> list[Any]:
    """Starts so many workers, spread over the nodes; answers come when each has imported the module of its tasks."""
    return [_import.options(scheduling_strategy="SPREAD").remote(module) for _ in range(count)]
