"""Verdicts reach every sink, in order, each once, through full disks and slow readers."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgefoundad_jetson.delivery import DEPTH, Delivery
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sinks.jsonlines import JsonLines

GOING_ON = threading.Event()


def outcome(index: int, fault: str = "no picture") -> Outcome:
    return Outcome(Frame(index, "camera", None, fault), None, None, 0.0, 0.0, fault)


def deliver(outcomes: list[Outcome], *sinks: Any) -> Delivery:
    delivery = Delivery(sinks)
    delivery.start()
    for one in outcomes:
        delivery.put(one, GOING_ON)
    assert delivery.wait_until_idle(20)
    return delivery


def test_a_disk_that_fills_up_for_a_while_loses_no_verdict_and_repeats_none() -> None:
    first: list[int] = []
    second: list[int] = []
    left = {3: 4, 7: 1}

    def on_a_full_disk(one: Outcome) -> None:
        if left.get(one.frame.index, 0):
            left[one.frame.index] -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        second.append(one.frame.index)

    delivery = deliver(
        [outcome(index) for index in range(10)],
        lambda one: first.append(one.frame.index),
        on_a_full_disk,
    )
    assert first == second == list(range(10))
    assert delivery.faults == 5
    assert "No space left" in str(delivery.fault)
    assert delivery.close(1) == 0
    assert delivery.delivered == 10


def test_lines_that_were_cut_off_by_a_full_pipe_are_whole_in_the_end() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    faults = [f"{index} " + "x" * 3000 for index in range(60)]  # Together far more than a pipe.
    text = bytearray()

    def read() -> None:
        time.sleep(0.3)
        while chunk := os.read(reading, 4096):
            text.extend(chunk)

    reader = threading.Thread(target=read)
    reader.start()
    with open(writing, "wb", buffering=0) as stream:
        outcomes = [outcome(index, fault) for index, fault in enumerate(faults)]
        delivery = deliver(outcomes, JsonLines(stream))
        assert delivery.close(1) == 0
    reader.join(10)
    os.close(reading)
    assert delivery.faults > 0
    assert [json.loads(line)["error"] for line in text.decode().splitlines()] == faults


def test_a_slow_sink_holds_up_whoever_judges_and_not_the_memory() -> None:
    free = threading.Event()
    delivery = Delivery([lambda one: free.wait(20)])
    delivery.start()
    put: list[int] = []

    def judge() -> None:
        for index in range(2 * DEPTH):
            delivery.put(outcome(index), GOING_ON)
            put.append(index)

    judging = threading.Thread(target=judge)
    judging.start()
    time.sleep(0.3)
    assert len(put) == DEPTH
    free.set()
    judging.join(20)
    assert delivery.wait_until_idle(20)
    assert delivery.close(1) == 0
    assert delivery.delivered == 2 * DEPTH


def test_what_a_dead_sink_never_took_is_counted_and_closing_does_not_wait_for_it() -> None:
    def dead(one: Outcome) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    delivery = Delivery([dead])
    delivery.start()
    for index in range(5):
        delivery.put(outcome(index), GOING_ON)
    began = time.monotonic()
    assert delivery.close(0.2) == 5
    assert time.monotonic() - began < 1


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("a fault of its own")])
def test_a_reader_that_is_gone_or_a_broken_sink_is_an_end_that_can_be_seen(
    error: Exception,
) -> None:
    def broken(one: Outcome) -> None:
        raise error

    delivery = Delivery([broken])
    delivery.start()
    delivery.put(outcome(0), GOING_ON)
    assert delivery.wait_until_idle(5)
    assert delivery.error is error
    delivery.put(outcome(1), GOING_ON)  # Nobody waits for it.
    assert delivery.close(1) == 2


def test_a_file_on_a_full_device_is_written_once_there_is_room(tmp_path: Path) -> None:
    class Device:
        """A file that is full until it is not: /dev/full, then a real one."""

        def __init__(self) -> None:
            self.full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115
            self.real = (tmp_path / "verdicts").open("wb", buffering=0)
            self.writes = 0

        def write(self, data: bytes, /) -> int:
            self.writes += 1
            return int((self.full if self.writes % 3 else self.real).write(data))

    device = Device()
    delivery = deliver([outcome(index) for index in range(5)], JsonLines(device))
    assert delivery.close(1) == 0
    device.full.close()
    device.real.close()
    lines = (tmp_path / "verdicts").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1, 2, 3, 4]


def test_whoever_is_to_stop_does_not_wait_for_a_sink_that_takes_nothing() -> None:
    delivery = Delivery([lambda one: time.sleep(30)])
    delivery.start()
    stopping = threading.Event()
    threading.Timer(0.3, stopping.set).start()
    began = time.monotonic()
    for index in range(DEPTH + 10):
        delivery.put(outcome(index), stopping)
    assert time.monotonic() - began < 3
    assert delivery.close(0.1) == DEPTH + 10
