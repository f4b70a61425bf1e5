"""A station in a process of its own, with a backend that a test can slow down, hang or break.

    python station_process.py CONFIG FOLDER

Files in FOLDER steer it: `hang` makes the backend block, `break` makes it fail until it is armed
again, `drift` has it say something else, `slow` holds seconds that each frame takes, and
`refuse` has the next arming refused. Verdicts are appended to verdicts.jsonl there.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from edgefoundad.errors import GateError
from edgefoundad_jetson import arming
from edgefoundad_jetson.config.reading import read
from edgefoundad_jetson.service.notify import Notifier
from edgefoundad_jetson.service.origin import origin_of
from edgefoundad_jetson.service.outputs import OPENERS, Opener, Output
from edgefoundad_jetson.service.station import Station
from edgefoundad_jetson.sinks.jsonlines import JsonLines

file, folder = Path(sys.argv[1]), Path(sys.argv[2])


class Steered:
    """A real backend behind what the files say."""

    def __init__(self, backend: Any) -> None:
        self._backend, self._broken, self._closed = backend, False, False
        self.name, self.device = backend.name, backend.device
        self.graph, self.copies = backend.graph, backend.copies

    def infer(self, frame: Any) -> Any:
        assert not self._closed, "a frame after close"
        while (folder / "hang").exists():
            time.sleep(0.05)
        if (folder / "break").exists():
            (folder / "break").unlink()
            self._broken = True
        if self._broken:
            raise RuntimeError("the driver is gone")
        slow = folder / "slow"
        if slow.exists():
            time.sleep(float(slow.read_text()))
        difference, score = self._backend.infer(frame)
        return difference, score * (1.5 if (folder / "drift").exists() else 1.0)

    def close(self) -> None:
        self._closed = True
        with (folder / "closed").open("a") as stream:
            stream.write("closed\n")
        self._backend.close()


def arm(*arguments: Any, **named: Any) -> arming.Armed:
    if (folder / "refuse").exists():
        raise GateError("refused by the test")
    armed = arming.arm(*arguments, **named)
    with (folder / "armed").open("a") as stream:
        stream.write(f"{armed.bundle.sha256}\n")
    return dataclasses.replace(armed, backend=Steered(armed.backend))


def keep(value: Any, place: Any, others: Any) -> Output | None:
    stream = (folder / "verdicts.jsonl").open("ab", buffering=0)
    with (folder / "outputs").open("a") as opened:
        opened.write(f"{value.max_bytes}\n")
    return Output(sink=JsonLines(stream), close=stream.close)


def reread() -> Any:
    config = read(file)
    return config, origin_of(config, "line-3")


OPENERS["journal"] = Opener(keep)
station = Station(
    "line-3",
    *reread(),
    notifier=Notifier(),
    say=lambda line: print(line, file=sys.stderr, flush=True),
    arm=arm,
)
station.run(reread)
