"""What a service manager, or a person, may ask of a running station."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

Answer = Callable[[], None]


@contextlib.contextmanager
def answering(answers: Mapping[signal.Signals, Answer]) -> Iterator[None]:
    """Answer signals for as long as the block lasts; an answer must be short, and must not raise.

    Only in the main thread.
    """

    def handler(answer: Answer) -> Callable[[int, FrameType | None], None]:
        return lambda number, frame: answer()

    before = {one: signal.signal(one, handler(answer)) for one, answer in answers.items()}
    try:
        yield
    finally:
        for one, former in before.items():
            signal.signal(one, former)
