"""What is wrong with an expression, said at its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from appliance.errors import Fault, FlowError, Place

NOWHERE = Place()


class ExpressionError(FlowError):
    """An expression that cannot be used; `fault` says where, why and what to write instead."""

    def __init__(self, fault: Fault) -> None:
        super().__init__([fault])
        self.fault = fault

    @classmethod
    def of(cls, message: str, remedy: str = "") -> ExpressionError:
        """An error whose place is not known here; whoever knows it uses `at`."""
        return cls(Fault(NOWHERE, message, remedy))

    def at(self, place: Place) -> ExpressionError:
        """The same error with its place."""
        return ExpressionError(replace(self.fault, place=place))


def nearest(name: str, choices: Iterable[str]) -> str | None:
    """The choice that is spelled most like `name`, or None when none is close."""
    # Imported late: only a fault needs it, and it costs 3 ms.
    from difflib import get_close_matches

    found = get_close_matches(name.lower(), list(choices), n=1, cutoff=0.6)
    return found[0] if found else None
