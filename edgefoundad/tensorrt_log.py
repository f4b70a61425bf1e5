"""What TensorRT complains of: one log for each of its products in a process.

TensorRT keeps the first logger that it is given for good, whoever gave it: builder, parser and
runtime share one, or a fault of the second to come would have no reason.
"""

from __future__ import annotations

from functools import cache
from typing import Any

MOST_KEPT = 100
"""Complaints kept: a stream of them, one for every frame, must not fill a board's memory."""


@cache
def log_of(trt: Any) -> Any:
    """The log to hand to a product's builder, parser and runtime; it prints nothing.

    Args:
        trt: the module, `tensorrt` or `tensorrt_rtx`.

    Returns:
        a `trt.ILogger` whose list `said` holds the errors since it was last cleared.
    """
    worst = trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in worst:
                del self.said[MOST_KEPT:]
                self.said.append(message)

    return Log()
