"""How a bug is planted in the product while a world is played, and taken out again."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Plant = Callable[["Patches"], None]


class Patches:
    """What was replaced, to be put back."""

    def __init__(self) -> None:
        self._undo: list[tuple[Any, str, Any]] = []

    def attribute(self, owner: Any, name: str, value: Any) -> None:
        """Replaces an attribute of a class or module."""
        self._undo.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, value)

    def function(self, function: Callable[..., Any], value: Callable[..., Any]) -> None:
        """Replaces a function in every module of the project that has it by name."""
        for name, module in sorted(sys.modules.items()):
            if name.startswith("orchestra."):
                for key, found in list(vars(module).items()):
                    if found is function:
                        self.attribute(module, key, value)

    def back(self) -> None:
        """Puts everything back."""
        for owner, name, value in reversed(self._undo):
            setattr(owner, name, value)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug: what is wrong, and where it was met or what forbids it.

    faults, theme: the worlds to look for it in; any, if it is not rare.
    """

    name: str
    source: str
    plant: Plant
    faults: Sequence[str] = ()
    theme: str = ""


MUTANTS: dict[str, Mutant] = {}


def mutant(source: str, faults: Sequence[str] = (), theme: str = "") -> Callable[[Plant], Plant]:
    """Lists a bug under the name of the function that plants it."""

    def add(plant: Plant) -> Plant:
        MUTANTS[plant.__name__] = Mutant(plant.__name__, source, plant, faults, theme)
        return plant

    return add
