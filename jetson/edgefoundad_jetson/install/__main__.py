"""What install.sh asks where no program is installed: what would be done, or what is left to undo.

`edgefoundad service` does the same, and more; it needs libraries that are not there yet, or not any
more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgefoundad.errors import InputError
from edgefoundad_jetson.install.installing import install
from edgefoundad_jetson.install.removing import remove
from edgefoundad_jetson.install.steps import Steps
from edgefoundad_jetson.install.wish import Wish


def main() -> int:
    """Show an installation, or undo one; exit code 2 where that cannot be."""
    parser = argparse.ArgumentParser(prog="install.sh", allow_abbrev=False)
    parser.add_argument("--program", type=Path, required=True)
    ways = parser.add_subparsers(dest="way", required=True)
    adding = ways.add_parser("install", allow_abbrev=False)
    adding.add_argument("bundle", type=Path)
    adding.add_argument("--station", required=True)
    adding.add_argument("--source", required=True)
    adding.add_argument("--trust", type=Path)
    adding.add_argument("--unsigned", action="store_true")
    adding.add_argument("--no-start", action="store_true")
    adding.add_argument("--dry-run", action="store_true", required=True)
    removing = ways.add_parser("uninstall", allow_abbrev=False)
    removing.add_argument("--purge", action="store_true")
    removing.add_argument("--dry-run", action="store_true")
    told = parser.parse_args()
    steps = Steps(dry=told.dry_run)
    try:
        if told.way == "uninstall":
            remove(told.program, steps, purge=told.purge)
            return 0
        wish = Wish(
            bundle=told.bundle,
            station=told.station,
            source=told.source,
            key=told.trust,
            unsigned=told.unsigned,
            start=not told.no_start,
        )
        install(wish, told.program, steps)
    except InputError as error:
        print(f"install.sh: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"install.sh: error: cannot go on: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
