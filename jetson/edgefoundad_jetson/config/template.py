"""A station's file as it is first written: every key with its default, what it is and its unit.

What is written out is the default, so that a person sees it; what has none is commented out.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from edgefoundad_jetson.config.station_config import StationConfig

WIDTH = 100

_HEAD = """\
# A station of edgefoundad: {name}
#
# `edgefoundad config check FILE` tells whether it is right, `systemctl reload` takes it up: all but
# [source], which takes a restart.
"""


def write(name: str, given: Mapping[str, Any]) -> str:
    """A commented file.

    Args:
        name: of the station.
        given: what differs from the defaults, by section.
    """
    lines = [_HEAD.format(name=name)]
    for section, field in StationConfig.model_fields.items():
        lines += _section(section, field.annotation, given.get(section, {}))
    return "\n".join(lines).rstrip() + "\n"


def _section(name: str, model: Any, given: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n[{name}]  # {_summary(model)}"
    tables = []
    for key, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            tables.append((f"{name}.{key}", kind, given.get(key, {})))
            continue
        if key == "options":
            tables.append((f"{name}.{key}", field, given.get(key, {})))
            continue
        default = field.get_default(call_default_factory=True)
        value = given.get(key, default)
        unset = value is None or value is PydanticUndefined
        yield from _comment(f"{field.description}{_choices(field)}")
        example = field.examples[0] if field.examples else ""
        yield f"# {key} = {toml(example)}" if unset else f"{key} = {toml(value)}"
    for title, kind, values in tables:
        if title == "source.options":
            yield from _options(kind, values)
        else:
            yield from _section(title, kind, values)


def _options(field: Any, given: Mapping[str, Any]) -> Iterator[str]:
    yield "\n[source.options]"
    yield from _comment(field.description)
    for key, value in given.items():
        yield f"{key} = {toml(value)}"
    if not given:
        for key, value in field.examples[0].items():
            yield f"# {key} = {toml(value)}"


def _summary(model: type[BaseModel]) -> str:
    first = (model.__doc__ or "").splitlines()[0].rstrip(".")
    return first[0].lower() + first[1:]


def _choices(field: Any) -> str:
    from edgefoundad_jetson.config.reading import words_of

    words = words_of(field.annotation)
    return f" ({' | '.join(dict.fromkeys(words))})" if words else ""


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ")


def toml(value: Any) -> str:
    """A value as TOML writes it: a string's escapes are those of JSON."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
