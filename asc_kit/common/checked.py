"""Frozen settings that refuse a value of the wrong type or out of range, by name."""

from dataclasses import field
from math import inf
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from asc_kit.common.errors import InputError


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a hint's type; a whole number is a number, True is none."""
    if get_origin(hint) is Literal:
        return any(value == one and type(value) is type(one) for one in get_args(hint))  # True == 1
    if get_origin(hint) is UnionType:
        return any(fits(value, part) for part in get_args(hint))
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < inf
    return type(value) is hint


def words(hint: Any) -> str:
    """A hint for people."""
    if get_origin(hint) is Literal:
        return " or ".join(map(repr, get_args(hint)))
    if get_origin(hint) is UnionType:
        return " or ".join(map(words, get_args(hint)))
    kinds = {int: "a whole number", float: "a number", bool: "True or False", str: "text", NoneType: "None",
             list: "a list", dict: "names and values"}  # fmt: skip
    return kinds[hint]


class Checked:
    """Refuses a field of the wrong type or out of range, by name."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if not fits(value, hint):
                raise InputError(f"{name}: {value!r} is not possible; give {words(hint)}")
            low, high = (self.__dataclass_fields__[name].metadata.get(side) for side in ("low", "high"))
            if low is not None and value is not None and not low <= value <= high:
                limits = f"{low:g} to {high:g}" if high < float("inf") else f"{low:g} or more"
                raise InputError(f"{name}: {value!r} is out of range; give {limits}")


def between(low: float, high: float, default: Any) -> Any:
    """A field with a smallest and a largest value."""
    return field(default=default, metadata={"low": low, "high": high})


def at_least(low: float, default: Any) -> Any:
    """A field with a smallest value."""
    return between(low, float("inf"), default)


def later(default: Any, low: float | None = None, high: float = float("inf")) -> Any:
    """A field that came after runs were named by their settings: at its default it does not count in the hash."""
    return field(default=default, metadata={"low": low, "high": high, "later": True})
