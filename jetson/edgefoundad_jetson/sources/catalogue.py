"""The kinds of sources: which address is whose, and with which options."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, ValidationError

from edgefoundad.errors import InputError
from edgefoundad.manifest import GraphRecord
from edgefoundad_jetson.nvmm.fallback import Nvmm
from edgefoundad_jetson.sources.source import Source


class Options(BaseModel):
    """The options of a kind of source: none. Kinds with some derive from this.

    Every field has a default and a description that says its unit.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Kind:
    """A kind of source.

    Attributes:
        scheme: what its addresses start with, as "rtsp://"; "" where they are paths.
        example: an address.
        summary: what it is, in a few words.
        live: as `Source.live`.
        open: opens an address for a graph.
        options: what it can be told.
        elements: GStreamer's elements that it cannot do without.
        open_surfaces: opens an address whose frames stay in a Jetson's video memory; None where it
            has no such frames.
        stand_in: what serves where there is no GStreamer at all; "" for nothing.
    """

    scheme: str
    example: str
    summary: str
    live: bool
    open: Callable[[str, GraphRecord, Options], Source]
    options: type[Options] = Options
    elements: tuple[str, ...] = field(default=())
    open_surfaces: Callable[[str, GraphRecord, Options, Nvmm], Source] | None = None
    stand_in: str = ""

    def check(self, given: dict[str, str]) -> None:
        """See that what is asked of it can work on this machine, without opening anything.

        Raises:
            InputError: there is no such option, or an element is missing.
        """
        self.parse(given)
        if self.missing():
            from edgefoundad_jetson.gstreamer.library import require

            require(self.elements)

    def missing(self) -> dict[str, str]:
        """What it lacks on this machine: element → how to get it. Empty where it can run."""
        if not self.elements:
            return {}
        from edgefoundad_jetson.gstreamer import library, packages

        if not library.available():
            return {} if self.stand_in else {"GStreamer 1.20": f"install {packages.LIBRARY}"}
        absent = (name for name in self.elements if not library.element_exists(name))
        return {name: packages.how_to_get(name) for name in absent}

    def parse(self, given: dict[str, str]) -> Options:
        """Options as words to options.

        Raises:
            InputError: there is no such option, or the value is not one of its.
        """
        try:
            return self.options.model_validate(given)
        except ValidationError as error:
            name = ".".join(map(str, error.errors()[0]["loc"]))
            reason = error.errors()[0]["msg"]
        known = list(self.options.model_fields)
        if name in known:
            raise InputError(
                f"found the source option {name}={given[name]}: {reason}: see `edgefoundad sources`"
            )
        close = difflib.get_close_matches(name, known, n=1)
        raise InputError(
            f"{self.example} has no option {name}; "
            + (f"did you mean {close[0]}? " if close else "")
            + f"It takes {', '.join(known) or 'none'}: see `edgefoundad sources`"
        )
