"""The program that units are to run: where it lies decides whether the service can run it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from edgefoundad.errors import InputError

_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""Homes are closed to other users, and go with theirs; the service has a /tmp of its own."""

_ADVICE = (
    "make a venv for all users, `sudo python3 -m venv /opt/edgefoundad`, install edgefoundad into "
    "it and call /opt/edgefoundad/bin/edgefoundad"
)


def this_program() -> Path:
    """The installed command that runs now.

    Raises:
        InputError: it is none that a unit could call.
    """
    beside = Path(sys.executable).parent / "edgefoundad"
    called = Path(sys.argv[0])
    for program in (beside, called.absolute()):
        if program.name == "edgefoundad" and program.is_file():
            return program
    raise InputError(
        f"found no command `edgefoundad` beside {sys.executable}: install the package with pip"
    )


def check_place(program: Path, interpreter: Path) -> None:
    """See that the service could get at a program.

    Args:
        program: the command.
        interpreter: what runs it, without links.

    Raises:
        InputError: it could not.
    """
    for path in (program, interpreter):
        hidden = next((one for one in _HIDDEN if path.is_relative_to(one)), None)
        if hidden:
            raise InputError(
                f"{path} lies in {hidden}, which the service has no part in: {_ADVICE}"
            )
    # Else it would have to be quoted for systemd, for the shell and in what is printed.
    if not re.fullmatch(r"[\w./+@-]+", str(program), re.A):
        raise InputError(
            f"found the program {str(program)!r}; expected a path of letters, digits and ./+@-_ : "
            f"{_ADVICE}"
        )
