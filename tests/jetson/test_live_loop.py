"""A camera in the loop: never waits, never kills it, and every frame is accounted for."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.errors import InputError, LostError
from edgefoundad.geometry import Size
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson import capture
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.copies import Copies
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.loop import Judge, Loop, LoopSettings
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sources.source import SourceLostError
from edgefoundad_jetson.statistics import Statistics

QUICK = Backoff(attempts=5, first_s=0.01, short_s=0.02)
FOR_EVER = Backoff(attempts=None, first_s=0.01, short_s=0.02, longest_s=0.02)
PIXELS = np.zeros((48, 64, 3), np.uint8)


class Camera:
    """Gives a frame every so often, and then does what `ends` says: raises it, or ends."""

    live = True
    endless = True
    count = None
    size: Size | None = None

    def __init__(
        self, frames: int = 10**9, *, every_s: float = 0.002, ends: Exception | None = None
    ) -> None:
        self._frames, self._every_s, self._ends = frames, every_s, ends
        self._stopped = threading.Event()
        self.arrived = 0
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self._frames):
            if self._stopped.wait(self._every_s):
                return
            self.arrived += 1
            yield Frame(index, "camera", PIXELS, copies=Copies(host_maps=1))
        if self._ends:
            raise self._ends

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.closed = True


class Worker:
    """A backend that takes its time, and fails on the frames it is told to fail on."""

    name = "onnxruntime"
    device = "a test"
    copies = Copies(host_copies=2)

    def __init__(
        self, graph: GraphRecord, *, takes_s: float = 0.0, fails: Callable[[int], Any] | None = None
    ) -> None:
        self.graph, self._takes_s, self._fails = graph, takes_s, fails
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)
        self.calls = 0
        self.closed = False

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        self.calls += 1
        error = self._fails(self.calls) if self._fails else None
        if error:
            raise error
        time.sleep(self._takes_s)
        return self._map, 0.1

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def graph(graph_for: Callable[..., GraphRecord]) -> GraphRecord:
    return graph_for()


@pytest.fixture
def threshold(threshold_of: Callable[..., Threshold]) -> Threshold:
    return threshold_of()


def run_for(loop: Loop, seconds: float) -> Statistics:
    timer = threading.Timer(seconds, loop.stop)
    timer.start()
    try:
        return loop.run()
    finally:
        timer.cancel()


def accounted_for(counts: Statistics) -> bool:
    return counts.arrived == counts.frames + sum(counts.dropped.values())


@pytest.mark.alone
def test_the_frame_that_is_judged_is_never_old_and_every_drop_is_counted(
    graph: GraphRecord, threshold: Threshold
) -> None:
    period_s = 1 / 15
    camera = Camera(every_s=1 / 60)
    seen: list[Outcome] = []
    judge = Judge(Worker(graph, takes_s=period_s), threshold)
    loop = Loop(lambda: camera, judge, sinks=[seen.append])
    counts = run_for(loop, 4)
    assert counts.judged > 45
    assert counts.dropped["superseded"] > 100
    assert accounted_for(counts)
    # At the verdict a frame has waited for one of the camera's periods at most, and been judged.
    assert max(one.age_ms for one in seen) <= 1.5 * 1e3 * period_s
    indices = [one.frame.index for one in seen]
    assert indices == sorted(set(indices))
    assert camera.closed


def test_stale_frames_are_dropped_where_that_is_asked_for(
    graph: GraphRecord, threshold: Threshold
) -> None:
    class Late(Camera):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                taken = frame.captured_ns - (10**9 if frame.index % 2 else 0)
                yield Frame(frame.index, "camera", PIXELS, captured_ns=taken)

    seen: list[int] = []
    loop = Loop(
        Late,
        Judge(Worker(graph), threshold),
        sinks=[lambda one: seen.append(one.frame.index)],
        settings=LoopSettings(max_age_ms=500),
    )
    counts = run_for(loop, 0.5)
    assert counts.dropped["stale"] > 10
    assert all(index % 2 == 0 for index in seen)
    assert accounted_for(counts)


def test_a_lost_camera_is_opened_again_and_said_and_frames_are_counted_on(
    graph: GraphRecord, threshold: Threshold
) -> None:
    causes = itertools.cycle(["unplugged", "stalled", "decoder"])
    cameras: list[Camera] = []
    losses: list[str] = []
    indices: list[int] = []

    def reopen() -> Camera:
        if len(cameras) % 3 == 2:
            cameras.append(Camera(0))
            raise SourceLostError("refused", "nothing there")
        cameras.append(Camera(5, ends=SourceLostError(next(causes), "it is gone")))
        return cameras[-1]

    loop = Loop(
        reopen,
        Judge(Worker(graph), threshold),
        sinks=[lambda one: indices.append(one.frame.index)],
        settings=LoopSettings(source_backoff=FOR_EVER),
        tell=lambda loss: losses.append(loss.cause),
    )
    counts = run_for(loop, 1.0)
    assert set(counts.losses) == {"unplugged", "stalled", "decoder", "refused"}
    assert sum(counts.losses.values()) >= len(losses) > 8
    assert counts.reopened >= 5
    assert indices == sorted(set(indices))
    assert indices[-1] > 20
    assert accounted_for(counts)
    opened = [camera for camera in cameras if camera._frames]
    assert all(camera.closed for camera in opened)


def test_a_camera_that_stays_away_is_given_up_after_the_attempts(
    graph: GraphRecord, threshold: Threshold
) -> None:
    seen: list[Outcome] = []
    waits: list[float | None] = []

    def reopen() -> Camera:
        if not seen:
            return Camera(5, ends=SourceLostError("unplugged", "camera is gone"))
        raise SourceLostError("refused", "camera refuses")

    loop = Loop(
        reopen,
        Judge(Worker(graph), threshold),
        sinks=[seen.append],
        settings=LoopSettings(source_backoff=QUICK),
        tell=lambda loss: waits.append(loss.wait_s),
    )
    with pytest.raises(LostError, match="camera refuses"):
        loop.run()
    # The first loss, and five attempts to come back from it.
    assert loop.statistics.losses["refused"] == 5
    assert waits[-1] is None
    assert None not in waits[:-1]
    assert len(seen) == loop.statistics.frames > 0


def test_what_can_never_work_is_told_at_once(graph: GraphRecord, threshold: Threshold) -> None:
    def reopen() -> Camera:
        raise InputError("found no element nosuch")

    with pytest.raises(InputError, match="nosuch"):
        Loop(reopen, Judge(Worker(graph), threshold)).run()


def test_a_driver_s_own_exception_is_a_loss_and_not_the_end(
    graph: GraphRecord, threshold: Threshold
) -> None:
    errors = iter([RuntimeError("driver"), MemoryError("no memory"), ValueError("format")])

    def reopen() -> Camera:
        return Camera(3, ends=next(errors, None) or SourceLostError("ended", "the end"))

    loop = Loop(
        reopen, Judge(Worker(graph), threshold), settings=LoopSettings(source_backoff=FOR_EVER)
    )
    counts = run_for(loop, 0.5)
    assert counts.losses["decoder"] == 2
    assert counts.losses["memory"] == 1
    assert counts.reopened >= 3
    assert accounted_for(counts)


@pytest.mark.parametrize("live", [True, False])
def test_it_stops_within_a_second_whatever_it_is_doing(
    graph: GraphRecord, threshold: Threshold, live: bool
) -> None:
    class Silent(Camera):
        def __iter__(self) -> Iterator[Frame]:
            yield from super().__iter__()
            self._stopped.wait()

    camera = Silent(30)
    camera.live = live
    delivered: list[int] = []
    loop = Loop(
        lambda: camera,
        Judge(Worker(graph, takes_s=0.05), threshold),
        sinks=[lambda one: delivered.append(one.frame.index)],
    )
    threading.Thread(target=lambda: (time.sleep(0.6), loop.stop()), daemon=True).start()
    began = time.monotonic()
    counts = loop.run()
    assert time.monotonic() - began < 1.6
    assert len(delivered) == counts.frames >= 2
    assert counts.undelivered == 0
    assert accounted_for(counts)


def test_a_camera_whose_driver_hangs_does_not_keep_it_from_ending(
    graph: GraphRecord, threshold: Threshold
) -> None:
    class Hanging(Camera):
        def __iter__(self) -> Iterator[Frame]:
            yield Frame(0, "camera", PIXELS)
            time.sleep(30)

    loop = Loop(Hanging, Judge(Worker(graph), threshold))
    began = time.monotonic()
    counts = run_for(loop, 0.3)
    assert time.monotonic() - began < 1.3
    assert counts.judged == 1


def test_while_it_is_paused_a_camera_s_frames_are_dropped_and_counted(
    graph: GraphRecord, threshold: Threshold
) -> None:
    seen: list[int] = []
    loop = Loop(
        Camera, Judge(Worker(graph), threshold), sinks=[lambda one: seen.append(one.frame.index)]
    )
    running = threading.Thread(target=loop.run)
    running.start()
    time.sleep(0.2)
    loop.pause()
    time.sleep(0.1)
    before = len(seen)
    time.sleep(0.3)
    assert loop.paused
    assert len(seen) <= before + 1
    loop.resume()
    time.sleep(0.3)
    loop.stop()
    running.join(5)
    counts = loop.statistics
    assert len(seen) > before + 10
    assert counts.dropped["paused"] > 30
    assert accounted_for(counts)


def test_a_backend_that_fails_is_armed_again_and_the_frame_is_judged_all_the_same(
    graph: GraphRecord, threshold: Threshold
) -> None:
    failing = Worker(
        graph, fails=lambda call: RuntimeError("CUDA error 700") if call == 3 else None
    )
    spare = Worker(graph)
    seen: list[Outcome] = []
    camera = Camera(10, ends=None)
    camera.live = camera.endless = False

    def rearm() -> Judge:
        failing.close()
        return Judge(spare, threshold)

    loop = Loop(lambda: camera, Judge(failing, threshold), sinks=[seen.append], rearm=rearm)
    counts = loop.run()
    assert [one.frame.index for one in seen if one.verdict] == list(range(10))
    assert (counts.backend_errors, counts.rearmed, counts.errors) == (1, 1, 0)
    assert failing.closed
    assert spare.calls == 8


def test_one_frame_that_breaks_any_backend_is_a_fault_and_the_others_are_judged(
    graph: GraphRecord, threshold: Threshold
) -> None:
    def rearm() -> Judge:
        return Judge(Worker(graph, fails=lambda call: call == 1 and MemoryError("8 GB")), threshold)

    seen: list[Outcome] = []
    camera = Camera(4)
    camera.live = camera.endless = False
    first = Worker(graph, fails=lambda call: call == 2 and MemoryError("8 GB"))
    counts = Loop(lambda: camera, Judge(first, threshold), sinks=[seen.append], rearm=rearm).run()
    assert [one.fault is None for one in seen] == [True, False, True, True]
    assert "MemoryError: 8 GB" in str(seen[1].fault)
    assert (counts.judged, counts.errors, counts.backend_errors) == (3, 1, 2)


@pytest.mark.parametrize("armed_again", [True, False])
def test_a_backend_that_is_gone_for_good_is_the_end_and_is_said(
    graph: GraphRecord, threshold: Threshold, armed_again: bool
) -> None:
    def rearm() -> Judge:
        raise InputError("no GPU is there any more")

    seen: list[Outcome] = []
    loop = Loop(
        Camera,
        Judge(Worker(graph, fails=lambda call: call > 5 and RuntimeError("lost")), threshold),
        sinks=[seen.append],
        rearm=rearm if armed_again else None,
        settings=LoopSettings(backend_backoff=QUICK, failing_frames=4),
    )
    said = "no GPU is there" if armed_again else "4 frames in a row"
    with pytest.raises(LostError, match=said):
        loop.run()
    # The verdicts before it have been delivered, and the frame that it ended on is no gap.
    assert sum(one.verdict is not None for one in seen) == 5
    assert seen[-1].fault
    assert accounted_for(loop.statistics)


def test_a_watcher_sees_pixels_and_map_and_cannot_stop_the_line(
    graph: GraphRecord, threshold: Threshold
) -> None:
    watched: list[tuple[bool, bool]] = []
    delivered: list[Outcome] = []

    def watch(one: Outcome) -> None:
        watched.append((one.frame.pixels is PIXELS, one.difference is not None))

    def breaks(one: Outcome) -> None:
        raise RuntimeError("no display")

    camera = Camera(5)
    camera.live = camera.endless = False
    judge = Judge(Worker(graph), threshold)
    loop = Loop(lambda: camera, judge, sinks=[delivered.append], watchers=[breaks, watch])
    counts = loop.run()
    assert watched == [(True, True)] * 5
    assert all(one.frame.pixels is None and one.difference is None for one in delivered)
    assert counts.copies == Copies(host_maps=5, host_copies=10)
    assert counts.to_json()["copies_per_frame"]["host_copies"] == 2


def test_a_sink_s_reader_that_is_gone_ends_the_run(
    graph: GraphRecord, threshold: Threshold
) -> None:
    def gone(one: Outcome) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        Loop(Camera, Judge(Worker(graph), threshold), sinks=[gone]).run()


def test_a_signal_in_the_middle_of_a_frame_ends_it_after_that_frame(
    graph: GraphRecord, threshold: Threshold
) -> None:
    loop = Loop(Camera, Judge(Worker(graph, takes_s=0.1), threshold))
    before = signal.signal(signal.SIGALRM, lambda *_: loop.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.25)
        began = time.monotonic()
        counts = loop.run()
        assert time.monotonic() - began < 1
        assert counts.judged >= 1
        assert accounted_for(counts)
    finally:
        # One that is still to come would end whoever runs this.
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_judge_is_swapped_between_two_frames_and_the_former_one_is_given_back(
    graph: GraphRecord, threshold: Threshold
) -> None:
    first, second = Worker(graph, takes_s=0.005), Worker(graph, takes_s=0.005)
    camera, seen = Camera(every_s=0.001), []
    loop = Loop(
        lambda: camera,
        Judge(first, threshold),
        source=camera,
        watchers=[lambda outcome: seen.append(loop.judge.backend)],
    )
    thread = threading.Thread(target=loop.run)
    thread.start()
    while not seen:
        time.sleep(0.005)
    former = loop.swap(Judge(second, threshold))
    assert former is not None
    assert former.backend is first
    calls, judged = first.calls, len(seen)
    while len(seen) < judged + 5:
        time.sleep(0.005)
    loop.stop()
    thread.join(5)
    # Not one frame went to the first one after it was given back.
    assert first.calls == calls
    assert second.calls >= 5
    # A loop that is over takes nobody any more, and nobody waits for it.
    assert loop.swap(Judge(first, threshold)) is None


def test_it_is_idle_while_it_is_paused_and_while_the_camera_is_away(
    graph: GraphRecord, threshold: Threshold
) -> None:
    backend, idle = Worker(graph), []
    away = threading.Event()

    def reopen() -> Camera:
        if not away.is_set():
            raise SourceLostError("unplugged", "not there")
        return Camera()

    def look() -> None:
        # On the judging thread, where a frame that is nobody's may be judged.
        assert not isinstance(loop.infer(PIXELS), str)
        idle.append(threading.current_thread())

    settings = LoopSettings(source_backoff=Backoff(attempts=None, first_s=0.01, short_s=0.02))
    loop = Loop(reopen, Judge(backend, threshold), idle=look, settings=settings)
    thread = threading.Thread(target=loop.run)
    thread.start()
    for step in ("away", "paused"):
        before = len(idle)
        ends = time.monotonic() + 10
        while len(idle) < before + 3:
            assert time.monotonic() < ends, step
            time.sleep(0.01)
        away.set()
        while not loop.statistics.judged:
            time.sleep(0.01)
        loop.pause()
    loop.stop()
    thread.join(5)
    assert set(idle) == {thread}
    assert loop.statistics.frames == loop.statistics.judged


def test_a_camera_that_comes_back_for_a_frame_only_is_given_up_all_the_same(
    graph: GraphRecord, threshold: Threshold
) -> None:
    cameras: list[Camera] = []

    def reopen() -> Camera:
        cameras.append(Camera(1, ends=SourceLostError("decoder", "it flaps")))
        return cameras[-1]

    loop = Loop(
        reopen, Judge(Worker(graph), threshold), settings=LoopSettings(source_backoff=QUICK)
    )
    with pytest.raises(LostError, match="it flaps"):
        loop.run()
    assert len(cameras) == 6
    assert accounted_for(loop.statistics)


def test_a_driver_that_never_opens_is_noticed_and_said(
    graph: GraphRecord, threshold: Threshold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "OPEN_SECONDS", 0.3)
    said: list[str] = []
    hang = threading.Event()
    late = Camera(10)

    def reopen() -> Camera:
        hang.wait(20)
        return late

    loop = Loop(
        reopen,
        Judge(Worker(graph), threshold),
        settings=LoopSettings(source_backoff=QUICK),
        tell=lambda loss: said.append(loss.message),
    )
    with pytest.raises(LostError, match="driver hangs"):
        loop.run()
    assert "did not open within" in said[0]
    # And what it gives at last is not left open.
    hang.set()
    until = time.monotonic() + 5
    while not late.closed and time.monotonic() < until:
        time.sleep(0.01)
    assert late.closed


@pytest.mark.parametrize("fails", ["reopen", "tell"])
def test_a_fault_of_the_machine_is_never_taken_for_the_end_of_the_stream(
    graph: GraphRecord, threshold: Threshold, fails: str
) -> None:
    cameras: list[Camera] = []

    def reopen() -> Camera:
        if cameras and fails == "reopen":
            raise RuntimeError("can't start new thread")
        cameras.append(Camera(3, ends=SourceLostError("unplugged", "it is gone")))
        return cameras[-1]

    def tell(loss: object) -> None:
        if fails == "tell":
            raise OSError(28, "No space left on device")

    loop = Loop(
        reopen,
        Judge(Worker(graph), threshold),
        settings=LoopSettings(source_backoff=QUICK),
        tell=tell,
    )
    with pytest.raises(LostError):
        loop.run()
    assert accounted_for(loop.statistics)


def test_a_dead_sink_does_not_keep_it_from_ending(graph: GraphRecord, threshold: Threshold) -> None:
    def dead(one: Outcome) -> None:
        raise OSError(28, "No space left on device")

    camera = Camera(every_s=0.0)
    camera.live = False
    loop = Loop(lambda: camera, Judge(Worker(graph), threshold), sinks=[dead])
    began = time.monotonic()
    counts = run_for(loop, 1.0)
    assert time.monotonic() - began < 3
    assert counts.undelivered >= 256
    assert counts.sink_faults > 0
    assert accounted_for(counts)


def test_a_backend_that_is_armed_again_and_again_is_given_up(
    graph: GraphRecord, threshold: Threshold
) -> None:
    def rearm() -> Judge:
        return Judge(
            Worker(graph, fails=lambda call: call > 1 and RuntimeError("wears off")), threshold
        )

    loop = Loop(
        lambda: Camera(every_s=0.0),
        rearm(),
        rearm=rearm,
        settings=LoopSettings(backend_backoff=QUICK),
    )
    with pytest.raises(LostError, match="to no avail"):
        loop.run()
    assert loop.statistics.rearmed == 6
    assert accounted_for(loop.statistics)


def test_it_ends_while_a_backend_takes_its_time_to_be_armed_again(
    graph: GraphRecord, threshold: Threshold
) -> None:
    def rearm() -> Judge:
        time.sleep(20)
        raise AssertionError

    failing = Worker(graph, fails=lambda call: RuntimeError("lost"))
    loop = Loop(Camera, Judge(failing, threshold), rearm=rearm)
    began = time.monotonic()
    counts = run_for(loop, 0.3)
    assert time.monotonic() - began < 2
    assert accounted_for(counts)
