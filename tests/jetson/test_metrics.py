"""A station's metrics, asked for over HTTP as Prometheus does."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgefoundad.errors import InputError
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.outcome import Standing
from edgefoundad_jetson.sinks.journal import Journal
from edgefoundad_jetson.sinks.metrics import Metrics, StationCollector
from edgefoundad_jetson.statistics import Statistics
from edgefoundad_jetson.vitals import Heat

HEAT = Heat({"cpu-thermal": 51.5}, throttled=("gpu",))


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """(name, labels but the station's…) → value."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        assert answer.status == 200
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert sample.labels.pop("station") == "press-4"
            key = (sample.name.removeprefix("edgefoundad_"), *sample.labels.values())
            assert key not in found
            found[key] = sample.value
    return found


@contextmanager
def serving(counts: Statistics, **more: Any) -> Iterator[Metrics]:
    collector = StationCollector("press-4", lambda: counts, heat=lambda: HEAT, **more)
    metrics = Metrics(collector, port=0)
    try:
        yield metrics
    finally:
        metrics.close()


def test_what_the_loop_counted_is_what_is_scraped(tmp_path: Path) -> None:
    counts = Statistics(
        arrived=20, frames=15, judged=14, anomalous=3, errors=1, reopened=2, backend_errors=4
    )
    counts.dropped.update(superseded=4, stale=1)
    counts.losses.update(unplugged=2)
    counts.copies = Copies(host_maps=14, host_copies=28)
    for ms in [4.0] * 12 + [44.0, 2000.0]:
        counts.judging.add(ms)
    journal = Journal(tmp_path, "press-4")
    journal.note("source", "gone")
    standing = Standing("ab" * 16, "onnxruntime fp32")
    with serving(counts, journal=journal, standing=lambda: standing) as metrics:
        found = scrape(metrics.port)
        journal.close()
        counts.frames += 1
        assert scrape(metrics.port)["frames_total",] == 16
    assert found["frames_arrived_total",] == 20
    assert found["frames_total",] == 15
    assert found["frames_unjudged_total",] == 1
    assert found["verdicts_total", "good"] == 11
    assert found["verdicts_total", "anomalous"] == 3
    assert found["dropped_total", "superseded"] == 4
    assert found["dropped_total", "stale"] == 1
    assert found["losses_total", "unplugged"] == 2
    assert found["copies_total", "host_copies"] == 28
    assert found["reopened_total",] == 2
    assert found["backend_errors_total",] == 4
    assert found["detector_info", "ab" * 16, "onnxruntime fp32"] == 1
    assert found["journal_records_total",] == 2
    assert found["journal_lost_total",] == 0
    assert found["journal_bytes",] > 100
    assert found["temperature_celsius", "cpu-thermal"] == 51.5
    assert found["throttled",] == 1
    assert found["judging_seconds_bucket", "0.003"] == 0
    assert found["judging_seconds_bucket", "0.005"] == 12
    assert found["judging_seconds_bucket", "0.05"] == 13
    assert found["judging_seconds_bucket", "+Inf"] == found["judging_seconds_count",] == 14
    assert found["judging_seconds_sum",] == pytest.approx(2.092, rel=0.01)


def test_scrapes_beside_a_loop_that_counts_never_fail_and_never_count_down() -> None:
    counts, done = Statistics(), threading.Event()

    def count() -> None:
        ms = 0.01
        while not done.is_set():
            counts.judged += 1
            counts.dropped[f"cause {counts.judged % 500}"] += 1
            # Ever longer ones, so that the histogram grows while it is read.
            counts.latency.add(ms := min(ms * 1.001, 1e6))

    loop = threading.Thread(target=count)
    loop.start()
    before = 0.0
    with serving(counts) as metrics:
        for _ in range(20):
            found = scrape(metrics.port)
            buckets = [value for key, value in found.items() if key[0] == "latency_seconds_bucket"]
            assert buckets == sorted(buckets)
            assert buckets[-1] == found["latency_seconds_count",] >= before
            before = found["latency_seconds_count",]
    done.set()
    loop.join()
    assert before > 0


def test_nobody_outside_this_machine_can_ask() -> None:
    with (
        serving(Statistics()) as metrics,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe,
    ):
        try:
            probe.connect(("198.51.100.1", 9))  # Sends nothing; says by which address it would.
        except OSError:
            pytest.skip("this machine has no other address")
        own = probe.getsockname()[0]
        if own.startswith("127."):
            pytest.skip("this machine has no other address")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own, metrics.port), timeout=5)


def test_a_port_that_cannot_be_had_is_said_in_one_line() -> None:
    collector = StationCollector("press-4", Statistics)
    with serving(Statistics()) as metrics:
        for port in (metrics.port, 70_000):
            with pytest.raises(InputError, match="choose another port"):
                Metrics(collector, port=port)


def test_it_closes_at_once_with_somebody_connected_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with serving(Statistics()) as metrics:
        hanging = socket.create_connection(("127.0.0.1", metrics.port), timeout=5)
        scrape(metrics.port)
        began = time.monotonic()
    assert time.monotonic() - began < 2
    hanging.close()
    end = time.monotonic() + 5
    while set(threading.enumerate()) - before:
        assert time.monotonic() < end, "threads are left"
        time.sleep(0.01)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", metrics.port), timeout=5)
