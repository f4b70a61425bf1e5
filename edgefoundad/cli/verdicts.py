"""`edgefoundad verdicts`: what a station said, read from its journal."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgefoundad.cli import console, standing

if TYPE_CHECKING:
    from edgefoundad_jetson.sinks.journal_reader import JournalReader

COLUMNS = (
    "seq",
    "time",
    "kind",
    "station",
    "index",
    "source",
    "score",
    "threshold",
    "anomalous",
    "p_value",
    "regions",
    "ms",
    "age_ms",
    "bundle",
    "rung",
    "error",
)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def command(
    station: Annotated[
        str, typer.Argument(metavar="STATION_OR_FOLDER", help="A station, or a journal's folder.")
    ],
    since: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="From then on: 2025-01-31T06:00, or 2h for 2 hours ago."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(metavar="WHEN", help="Before then; written likewise.")
    ] = None,
    anomalous: Annotated[
        bool, typer.Option("--anomalous", help="Only anomalous verdicts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per record.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet.")] = False,
) -> None:
    """List what a station said of every frame, oldest first; also while it goes on.

    Records are numbered without a gap. Where some are missing, where a run was cut off (by a power
    cut, which may cost the verdicts of its last second) and where something was altered, that is
    said at the end. Times without a zone are this machine's.
    """
    from edgefoundad.errors import InputError
    from edgefoundad_jetson.sinks.journal_reader import JournalReader, select
    from edgefoundad_jetson.sinks.places import find_journal

    if as_json and as_csv:
        raise InputError("found --json and --csv; expected one of them: leave the other out")
    reader = JournalReader(find_journal(station))
    first, last = (_moment(text) if text else None for text in (since, until))
    show = _json if as_json else _csv() if as_csv else _line
    for record in select(reader, since=first, until=last, anomalous=anomalous):
        show(record)
    sys.stdout.flush()
    _tell(reader, machine_readable=as_json or as_csv)


def _moment(text: str) -> datetime:
    """A moment, or a time before now.

    Raises:
        InputError: it is neither.
    """
    from edgefoundad.errors import InputError

    ago = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    try:
        if ago:
            return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: float(ago[1])})
        # "Z" is understood from Python 3.11 on.
        return datetime.fromisoformat(re.sub("[zZ]$", "+00:00", text)).astimezone()
    except (ValueError, OverflowError):
        raise InputError(
            f"found the time {text!r}; expected one like 2025-01-31T06:00, or 90s, 30m, 2h or 7d "
            "for so long ago"
        ) from None


def _json(record: dict[str, Any]) -> None:
    print(json.dumps(record))


def _csv() -> Callable[[dict[str, Any]], None]:
    writer = csv.DictWriter(sys.stdout, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()

    def write(record: dict[str, Any]) -> None:
        regions = record.get("regions")
        boxes = None if regions is None else " ".join(_box(one["box"]) for one in regions)
        writer.writerow({**record, "regions": boxes})

    return write


def _box(box: list[int]) -> str:
    x, y, width, height = box
    return f"{width}x{height}+{x}+{y}"


def _line(record: dict[str, Any]) -> None:
    moment = datetime.fromisoformat(record["time"]).astimezone()
    when = f"{moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d}"
    # Plain: a terminal's colours cost a hundred times what reading a record does.
    print(f"{record['seq']:>8}  {when}  {_in_words(record)}")


def _in_words(record: dict[str, Any]) -> str:
    kind = record["kind"]
    if kind == "verdict":
        said = "anomalous" if record["anomalous"] else "good"
        score = "no number" if record["score"] is None else f"{record['score']:.4g}"
        words = f"{said:<9}  frame {record['index']}  {score} of {record['threshold']:.4g}"
        first = next(iter(record["regions"]), None)
        return f"{words}  {_box(first['box'])}" if first else words
    if kind == "fault":
        of = f"frame {record['index']}" if record["of"] == "frame" else record["of"]
        return f"fault      {of}: {record['error']}"
    if kind == "lost":
        return f"lost       {record['count']} records: {record['error']}"
    if kind == "start":
        return "start" if record["clean"] else "start      the run before was cut off"
    return str(kind)


def _tell(reader: JournalReader, *, machine_readable: bool) -> None:
    """Say what is not there."""
    missing = sum(last - first + 1 for first, last in reader.gaps)
    if missing:
        some = ", ".join(
            str(first) if first == last else f"{first} to {last}" for first, last in reader.gaps[:5]
        )
        more = ", …" if len(reader.gaps) > 5 else ""
        standing.warn(f"{missing} records are missing: {some}{more}", as_json=machine_readable)
    if reader.damaged:
        words = f"{reader.damaged} lines are damaged or were altered"
        standing.warn(words, as_json=machine_readable)
    if reader.cut_short:
        runs = console.counts({"runs": len(reader.cut_short)})
        words = f"{runs} did not come to their end: the last second of each may be missing"
        standing.warn(words, as_json=machine_readable)
