"""Groups of settings that check themselves, and their strict reading from plain mappings."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

C = TypeVar("C", bound="Section")


class ConfigError(ValueError):
    """A setting that a person can mend; its text is one clear sentence."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """'; did you mean 'x'?' for a close match, else the list of what is known."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f" (known: {', '.join(known)})"


def setting(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """A dataclass field with its meaning, unit and allowed range (inclusive; element-wise for tuples)."""
    about = {"doc": doc, "unit": unit, "low": low, "high": high, "choices": tuple(choices) if choices else None}
    return dataclasses.field(default=default, metadata=about)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Section:
    """A group of settings that checks itself."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.metadata:
                _check(f"{type(self).__name__}.{field.name}", getattr(self, field.name), field.metadata)


def _check(where: str, value: Any, about: Mapping[str, Any]) -> None:
    if about["choices"] and value not in about["choices"]:
        raise ConfigError(f"{where} is {value!r}{did_you_mean(str(value), about['choices'])}")
    for element in value if isinstance(value, tuple) else (value,):
        if isinstance(element, bool | str):
            continue
        if isinstance(element, float) and not math.isfinite(element):
            raise ConfigError(f"{where} is {value}, must be a finite number")
        too_low = about["low"] is not None and not element >= about["low"]
        too_high = about["high"] is not None and not element <= about["high"]
        if too_low or too_high:
            raise ConfigError(
                f"{where} is {value}, must lie in [{about['low']}, {about['high']}] {about['unit']}".rstrip()
            )


def from_mapping(cls: type[C], raw: Mapping[str, Any], where: str = "") -> C:
    """Build a section from a (nested) mapping of differences.

    Raises:
        ConfigError: on an unknown key, a wrong type or a value outside its range.
    """
    hints = typing.get_type_hints(cls)
    given: dict[str, Any] = {}
    for key, value in raw.items():
        path = f"{where}.{key}" if where else str(key)
        if key not in hints:
            raise ConfigError(f"unknown setting '{path}'{did_you_mean(str(key), hints)}")
        kind = hints[key]
        if isinstance(kind, type) and issubclass(kind, Section):
            if not isinstance(value, Mapping):
                raise ConfigError(f"setting '{path}' is a group of settings, got {value!r}")
            given[key] = from_mapping(kind, value, path)
        else:
            given[key] = _coerce(path, value, kind)
    return cls(**given)


def _coerce(path: str, value: Any, kind: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        return _coerce_tuple(path, value, kind)
    if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 as text
        except (ValueError, OverflowError):
            pass
    elif type(value) is kind:
        return value
    raise ConfigError(f"setting '{path}' is {value!r} ({type(value).__name__}), expected {kind.__name__}")


def _coerce_tuple(path: str, value: Any, kind: Any) -> tuple[Any, ...]:
    parts = typing.get_args(kind)
    if not isinstance(value, list | tuple):
        raise ConfigError(f"setting '{path}' is {value!r}, expected a list")
    parts = (parts[0],) * len(value) if parts[-1] is Ellipsis else parts
    if len(parts) != len(value):
        raise ConfigError(f"setting '{path}' has {len(value)} elements, expected {len(parts)}")
    return tuple(_coerce(f"{path}[{i}]", v, k) for i, (v, k) in enumerate(zip(value, parts, strict=True)))


def to_mapping(section: Section) -> dict[str, Any]:
    """Every setting as plain YAML types, nested."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(section)))
    return plain


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'sac': {'discount': .9}} → {'sac.discount': .9}; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        path = f"{prefix}{key}"
        flat |= flatten(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return flat
