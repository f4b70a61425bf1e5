"""Whether this machine lets itself be changed."""

from __future__ import annotations

import os
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad_jetson.install.steps import Steps


def booted() -> bool:
    """Whether systemd runs here."""
    return Path("/run/systemd/system").is_dir()


def managed(steps: Steps) -> bool:
    """The same; in a dry run what would be run on a machine with systemd is shown anywhere."""
    return steps.dry or booted()


def check_root(steps: Steps) -> None:
    """See that commands can be run, where they are.

    Raises:
        InputError: not by this user.
    """
    if not steps.dry and os.geteuid() != 0:
        raise InputError("not run as root: put sudo before it, or add --dry-run")
