"""How a source is told what it cannot know by itself: the words that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Option = Annotated[
    list[str] | None,
    typer.Option(
        "--source-option",
        "-o",
        metavar="KEY=VALUE",
        help="Of the source, as `edgefoundad sources` lists them; may be repeated.",
    ),
]
Fit = Annotated[bool, typer.Option("--fit", help="Letterbox frames of another size than exported.")]


def parse(words: list[str] | None) -> dict[str, str]:
    """Options as words to options by name.

    Raises:
        InputError: one has no name or no value.
    """
    from edgefoundad.errors import InputError

    options: dict[str, str] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key and equals):
            raise InputError(f"found --source-option {word}; expected KEY=VALUE")
        options[key] = value
    return options
