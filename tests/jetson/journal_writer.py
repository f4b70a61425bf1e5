"""Keeps verdicts as fast as it is told to in a process of its own, and says which were taken.

For every line "folder pause first window" on its input it forks, for which it need not import
everything again, and says the process's id. That one keeps verdicts from number `first` on with a
pause between two, in seconds, and for every one that was taken writes "index moment". Once it is
killed "end" is written.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from edgefoundad.decision import Verdict
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome, Standing
from edgefoundad_jetson.sinks.journal import Journal


def say(text: str) -> None:
    # Unbuffered, and whole however hard this process ends.
    os.write(1, f"{text}\n".encode())


def keep(folder: Path, pause_s: float, first: int, window_s: float) -> None:
    journal = Journal(folder, "press-4", max_bytes=1 << 20, fsync_seconds=window_s)
    standing, verdict = Standing("ab" * 16, "onnxruntime fp32"), Verdict(0.25, 0.5, False, ())
    index = first
    while True:
        frame = Frame(index, "camera", None)
        journal(Outcome(frame, verdict, None, 4.0, 5.0, standing=standing))
        say(f"{index} {time.monotonic():.6f}")
        index += 1
        time.sleep(pause_s)


if __name__ == "__main__":
    for line in sys.stdin:
        folder, pause, first, window = line.split()
        child = os.fork()
        if not child:
            keep(Path(folder), float(pause), int(first), float(window))
        say(str(child))
        os.waitpid(child, 0)
        say("end")
