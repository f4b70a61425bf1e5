"""From a TOML file to a station's config; a slip names its line, its key and the closest right one.

`tomllib` where Python has it (3.11), else the package it came from.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from edgefoundad.errors import InputError
from edgefoundad_jetson.config.station_config import StationConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LARGEST = 1 << 20

Place = tuple[str, ...]
"""Section, subsection if there is one, and key."""

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text in quotes",
    "string_too_short": "a text that is not empty",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "dict_type": "a table",
    "model_type": "a table",
    "finite_number": "a finite number",
}


def read(path: Path) -> StationConfig:
    """Read a station's file.

    Raises:
        InputError: it cannot be read, is no TOML, has a key that there is none of, or a value that
            is of another kind than its key takes.
    """
    text = _text(path)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is no TOML: {error}: see `edgefoundad config init`") from None
    try:
        return StationConfig.model_validate(found)
    except ValidationError as error:
        faults = [_Fault(one, found, text) for one in _without_echoes(error)]
    first = min(faults, key=lambda one: one.line or 1 << 30)
    others = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    where = f", line {first.line}" if first.line else ""
    raise InputError(f"{path}{where}: {first.message}{others}")


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "nothing"
            raise InputError(
                f"found {found} at {path}; expected a station's file: make one with `edgefoundad "
                f"config init -o {path}`"
            )
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} is larger than any station's file: check the path")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8: check the path") from None


def _without_echoes(error: ValidationError) -> list[Mapping[str, Any]]:
    """What is wrong, once each: a union is told for each of its members."""
    seen: dict[Place, Mapping[str, Any]] = {}
    for one in error.errors():
        seen.setdefault(_place(one), one)
    return list(seen.values())


def _place(fault: Mapping[str, Any]) -> Place:
    """Where the fault is, without what pydantic adds to name a union's member."""
    place: list[str] = []
    fields: Any = StationConfig.model_fields
    for step in map(str, fault["loc"]):
        place.append(step)
        if fields is None or step not in fields:
            break
        fields = _fields_of(fields[step].annotation)
        if fields is None and step != "options":
            break
    return tuple(place[:3] if place[:2] == ["source", "options"] else place)


def _fields_of(annotation: Any) -> Any:
    is_section = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation.model_fields if is_section else None


class _Fault:
    """One thing that is wrong with a file.

    Attributes:
        line: of the file, from 1; None where it is of nothing that is there.
        message: what was found, and what was expected.
    """

    def __init__(self, fault: Mapping[str, Any], found: dict[str, Any], text: str) -> None:
        self._place = _place(fault)
        *outer, key = self._place or ("",)
        self._table = f"[{'.'.join(outer)}]"
        self.line = _line(text, tuple(outer), key)
        if fault["type"] == "extra_forbidden":
            self.message = self._unknown(outer, key)
        elif fault["type"] == "missing":
            what = f"{self._table} has no {key}" if outer else f"found no section [{key}]"
            self.message = f"{what}: {_example(self._place)}"
        elif fault["type"] == "value_error":
            self.message = f"[{'.'.join(self._place)}] {fault['ctx']['error']}"
        else:
            self.message = self._other(fault, found)

    def _unknown(self, outer: list[str], key: str) -> str:
        known = _keys(tuple(outer))
        close = difflib.get_close_matches(key, known, n=1)
        what = f"{self._table} has no key {key}" if outer else f"there is no section [{key}]"
        # A section's key that stands before any section, or in another one.
        homes = [f"[{home}]" for home in _sections() if key in _keys(tuple(home.split(".")))]
        if not close and homes:
            return f"{what}; did you mean that of {homes[0]}?"
        hint = f"did you mean {close[0]}? " if close else ""
        kind = "It takes" if outer else "There are"
        return f"{what}; {hint}{kind} {', '.join(known)}"

    def _other(self, fault: Mapping[str, Any], found: dict[str, Any]) -> str:
        value: Any = found
        for step in self._place:
            value = value.get(step) if isinstance(value, dict) else None
        context = {key: _number(v) for key, v in fault.get("ctx", {}).items()}
        allowed = _choices(self._place)
        expected = _EXPECTED.get(fault["type"], fault["msg"]).format_map(_Lenient(context))
        if allowed:
            expected = " or ".join(filter(None, [", ".join(allowed[:-1]), allowed[-1]]))
        named = f"{self._table} {self._place[-1]}" if len(self._place) > 1 else self._place[-1]
        return f"found {named} = {_toml(value)}; expected {expected}"


class _Lenient(dict[str, Any]):
    def __missing__(self, key: str) -> str:
        return key


def _number(value: Any) -> Any:
    return f"{value:g}" if isinstance(value, float) else value


def _keys(place: Place) -> list[str]:
    fields: Any = StationConfig.model_fields
    for step in place:
        fields = _fields_of(fields[step].annotation) if fields and step in fields else None
    return list(fields or ())


def _sections() -> list[str]:
    """Every section's name, those within others after them."""
    names = []
    for name in StationConfig.model_fields:
        names.append(name)
        fields = _fields_of(StationConfig.model_fields[name].annotation)
        names += [f"{name}.{key}" for key in fields if _fields_of(fields[key].annotation)]
    return names


def _choices(place: Place) -> list[str]:
    """The words that a key takes, where it takes only some."""
    fields: Any = StationConfig.model_fields
    annotation: Any = None
    for step in place:
        if not fields or step not in fields:
            return []
        annotation = fields[step].annotation
        fields = _fields_of(annotation)
    return list(dict.fromkeys(words_of(annotation)))


def words_of(annotation: Any) -> list[str]:
    """What is in a `Literal`, or a union of some."""
    found: list[str] = []
    for one in get_args(annotation):
        found += [f'"{one}"'] if isinstance(one, str) else words_of(one)
    return found


def _example(place: Place) -> str:
    fields: Any = StationConfig.model_fields
    for step in place[:-1]:
        fields = _fields_of(fields[step].annotation)
    field = fields[place[-1]]
    if field.examples:
        return f"add {place[-1]} = {_toml(field.examples[0])}, {field.description}"
    return "see `edgefoundad config init`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    return "a table" if isinstance(value, dict) else str(value)


def _line(text: str, outer: Place, key: str) -> int | None:
    """Where a key is written, as far as it is written in the usual way."""
    table: Place = ()
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\[\]]+?)\s*\]", line)
        if header:
            table = tuple(part.strip(" \"'") for part in header[1].split("."))
            if table[: len(outer) + 1] == (*outer, key):
                return number
        elif table == outer and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*[.=]", line):
            return number
    return None
