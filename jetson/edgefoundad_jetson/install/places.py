"""Where the service has what it needs. The units name the same places."""

from __future__ import annotations

from pathlib import Path

CONFIG = Path("/etc/edgefoundad")
STATE = Path("/var/lib/edgefoundad")
CACHE = Path("/var/cache/edgefoundad")
LOGS = Path("/var/log/edgefoundad")
UNITS = Path("/etc/systemd/system")
LINK = Path("/usr/local/bin/edgefoundad")
"""What makes `sudo edgefoundad` work: sudo looks into no venv."""

OWNER = "edgefoundad"
"""The user that stations run as, and its group."""

DROP_IN = "edgefoundad@.service.d"

BESIDE = ("edgefoundad-engine", "edgefoundad-rebuild")
"""The units that serve a station's own: each is started with it."""
