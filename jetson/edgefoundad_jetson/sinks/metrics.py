"""Prometheus metrics of a station, for whoever asks on this machine.

Nothing is counted here: what the loop and the sinks count anyway is read when somebody asks, so
that a frame costs nothing more.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import MetricsHandler
from prometheus_client.registry import Collector

from edgefoundad.errors import InputError
from edgefoundad_jetson.histogram import Histogram
from edgefoundad_jetson.outcome import Standing
from edgefoundad_jetson.sinks.journal import Journal
from edgefoundad_jetson.sinks.rejects import Rejects
from edgefoundad_jetson.statistics import Statistics
from edgefoundad_jetson.vitals import Heat, heat

LOOPBACK = "127.0.0.1"

BOUNDS_MS = (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 40, 50, 75, 100, 150, 200, 300, 500, 1000)

REQUEST_SECONDS = 5.0
"""How long somebody who asks may take to do so."""

_PREFIX = "edgefoundad_"


class StationCollector(Collector):
    """Reads a station's counts when it is asked."""

    def __init__(
        self,
        station: str,
        statistics: Callable[[], Statistics],
        *,
        standing: Callable[[], Standing | None] = lambda: None,
        journal: Journal | None = None,
        rejects: Rejects | None = None,
        heat: Callable[[], Heat] = heat,
    ) -> None:
        """Take what is to be read.

        Args:
            station: its name, on every metric.
            statistics: the loop's so far.
            standing: what judges now.
            journal: where there is one.
            rejects: likewise.
            heat: of the machine.
        """
        self._station, self._statistics, self._standing = station, statistics, standing
        self._journal, self._rejects, self._heat = journal, rejects, heat

    def collect(self) -> Iterator[Metric]:
        """Every metric as it is now."""
        yield from self._of_the_loop(self._statistics())
        standing = self._standing()
        if standing:
            info = InfoMetricFamily(f"{_PREFIX}detector", "What judges.", labels=["station"])
            info.add_metric([self._station], {"bundle": standing.bundle, "rung": standing.rung})
            yield info
        if self._journal:
            yield from self._of_the_journal(self._journal)
        if self._rejects:
            yield from self._of_the_rejects(self._rejects)
        yield from self._of_the_machine(self._heat())

    def _of_the_loop(self, counts: Statistics) -> Iterator[Metric]:
        yield self._counter("frames_arrived", "Frames that came in.", counts.arrived)
        yield self._counter("frames", "Frames with an outcome.", counts.frames)
        yield self._counter("frames_unjudged", "Frames without a verdict.", counts.errors)
        good = counts.judged - counts.anomalous
        verdicts = {"good": good, "anomalous": counts.anomalous}
        yield self._counters("verdicts", "Verdicts.", "verdict", verdicts)
        yield self._counters("dropped", "Frames never looked at.", "cause", counts.dropped.copy())
        yield self._counters("losses", "Losses of the source.", "cause", counts.losses.copy())
        yield self._counter("reopened", "Times that the source came back.", counts.reopened)
        yield self._counter("backend_errors", "Failures of the backend.", counts.backend_errors)
        yield self._counter("rearmed", "Times that it was armed again.", counts.rearmed)
        yield self._counter("sink_faults", "Failures of a sink.", counts.sink_faults)
        moved = counts.copies.to_json()
        yield self._counters("copies", "What was moved to judge them.", "kind", moved)
        yield self._histogram("latency", "From the capture to the verdict.", counts.latency)
        yield self._histogram("judging", "The backend and the decision.", counts.judging)

    def _of_the_journal(self, journal: Journal) -> Iterator[Metric]:
        yield self._counter("journal_records", "Records that were written.", journal.kept)
        yield self._counter("journal_lost", "Records that were not, or may be.", journal.lost)
        yield self._counter("journal_faults", "Refusals of its disk.", journal.faults)
        yield self._counter("journal_late_syncs", "Syncs that came too late.", journal.late_syncs)
        yield self._gauge("journal_bytes", "Of all its files.", journal.bytes)
        age = "Since when the oldest record waits that a power cut would cost."
        yield self._gauge("journal_unsynced_seconds", age, journal.sync_age_s)

    def _of_the_rejects(self, rejects: Rejects) -> Iterator[Metric]:
        yield self._counter("rejects_kept", "Pictures that were written.", rejects.kept)
        skipped = {
            "busy": rejects.skipped,
            "no room": rejects.no_room,
            "fault": rejects.faults,
        }
        yield self._counters("rejects_skipped", "Pictures that were not.", "cause", skipped)
        yield self._gauge("rejects_bytes", "Of all pictures that are there.", rejects.bytes)
        yield self._gauge("rejects", "Pictures that are there.", rejects.count)

    def _of_the_machine(self, heat: Heat) -> Iterator[Metric]:
        name, words = f"{_PREFIX}temperature_celsius", "Of the machine."
        family = GaugeMetricFamily(name, words, labels=["station", "zone"])
        for zone, celsius in heat.celsius.items():
            family.add_metric([self._station, zone], celsius)
        yield family
        yield self._gauge("throttled", "Devices that hold the machine back.", len(heat.throttled))

    def _counter(self, name: str, words: str, value: float) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, words, labels=["station"])
        family.add_metric([self._station], value)
        return family

    def _counters(self, name: str, words: str, label: str, values: dict[str, int]) -> Metric:
        family = CounterMetricFamily(_PREFIX + name, words, labels=["station", label])
        for key, value in sorted(values.items()):
            family.add_metric([self._station, key], value)
        return family

    def _gauge(self, name: str, words: str, value: float) -> Metric:
        family = GaugeMetricFamily(_PREFIX + name, words, labels=["station"])
        family.add_metric([self._station], value)
        return family

    def _histogram(self, name: str, words: str, times: Histogram) -> Metric:
        """Seconds, as Prometheus wants all times."""
        below, count, total = times.cumulative(BOUNDS_MS)
        buckets = [(str(ms / 1e3), float(n)) for ms, n in zip(BOUNDS_MS, below, strict=True)]
        family = HistogramMetricFamily(f"{_PREFIX}{name}_seconds", words, labels=["station"])
        family.add_metric([self._station], [*buckets, ("+Inf", float(count))], total / 1e3)
        return family


class _Server(ThreadingHTTPServer):
    # Whoever listens there already is told of, not joined.
    allow_reuse_port = False

    def server_bind(self) -> None:
        # Not HTTPServer's own, which asks the network for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    def handle_error(self, *of: Any) -> None:
        """Say nothing of somebody who asked and did not wait for the answer."""


class Metrics:
    """Answers on this machine, and to nobody outside of it.

    Attributes:
        port: where.
    """

    def __init__(self, collector: Collector, *, port: int) -> None:
        """Begin to answer.

        Args:
            collector: what is read.
            port: 0 for any that is free.

        Raises:
            InputError: the port is taken, or cannot be had.
        """
        registry = CollectorRegistry(auto_describe=False)
        registry.register(collector)

        class Handler(MetricsHandler):
            timeout = REQUEST_SECONDS

        Handler.registry = registry
        try:
            self._server = _Server((LOOPBACK, port), Handler)
        except (OSError, OverflowError) as error:
            said = getattr(error, "strerror", None) or error
            raise InputError(
                f"cannot give metrics on {LOOPBACK}:{port}: {said}: choose another port"
            ) from None
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
