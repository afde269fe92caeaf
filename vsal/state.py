"""What an object has seen so far, taken out of it and put into another one that was made alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Stateful:
    """An object whose past is a few of its attributes; all others follow from how it was made.

    Attributes:
        STATE: names of those attributes. One that is itself stateful is taken and put back by its own names.
    """

    STATE: ClassVar[tuple[str, ...]] = ()

    def state(self) -> dict[str, Any]:
        """Its past. Nothing is copied: it has to be written down before the object goes on."""
        return {name: value.state() if isinstance(value, Stateful) else value for name, value in self._parts()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes up a past; the object has seen nothing yet.

        Raises:
            KeyError: the state is that of another kind of object.
        """
        for name, value in self._parts():
            if isinstance(value, Stateful):
                value.restore(state[name])
            else:
                setattr(self, name, state[name])

    def _parts(self) -> list[tuple[str, Any]]:
        return [(name, getattr(self, name)) for name in self.STATE]
