"""The loop: every frame has an outcome, in order, and a bad one ends nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgefoundad.bundle import Bundle
from edgefoundad.manifest import GraphRecord, Threshold
from edgefoundad_jetson.backends.onnxruntime import OnnxRuntimeBackend
from edgefoundad_jetson.copies import NO_COPIES
from edgefoundad_jetson.frame import Frame
from edgefoundad_jetson.outcome import Outcome
from edgefoundad_jetson.sinks.jsonlines import JsonLines
from edgefoundad_jetson.sources import open_source
from edgefoundad_jetson.statistics import Statistics

JudgeAll = Callable[..., Statistics]


class ByBrightness:
    """A backend whose score is the frame's mean, with one hot cell where the frame has one."""

    name = "onnxruntime"
    device = "a test"
    copies = NO_COPIES

    def __init__(self, graph: GraphRecord) -> None:
        self.graph = graph
        cells = graph.frame.map
        self._map = np.zeros((cells.height, cells.width), np.float32)

    def infer(self, frame: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        score = float(frame.mean()) / 255
        self._map[:] = 0
        self._map[3, 5] = score
        return self._map, score if score < 0.99 else float("nan")

    def close(self) -> None: ...


@pytest.fixture
def graph(graph_for: Callable[..., GraphRecord]) -> GraphRecord:
    return graph_for()


def lit(level: int) -> NDArray[np.uint8]:
    return np.full((48, 64, 3), level, np.uint8)


def stream() -> Iterator[Frame]:
    yield Frame(0, "a.png", lit(20))
    yield Frame(1, "b.png", lit(200))
    yield Frame(2, "c.png", None, "c.png is not an image")
    yield Frame(3, "d.png", lit(255))
    yield Frame(4, "e.png", lit(30))


def test_every_frame_has_an_outcome_in_order_and_is_counted(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], judge_all: JudgeAll
) -> None:
    seen: list[Outcome] = []
    second: list[int] = []
    summary = judge_all(
        stream(),
        ByBrightness(graph),
        threshold_of(0.5, 0.5),
        [seen.append, lambda outcome: second.append(outcome.frame.index)],
    )
    assert second == [outcome.frame.index for outcome in seen] == [0, 1, 2, 3, 4]
    assert [None if o.verdict is None else o.verdict.anomalous for o in seen] == [
        # A score that is no number: a part that could not be judged does not pass.
        *(False, True, None, True, False)
    ]
    assert (summary.frames, summary.anomalous, summary.errors) == (5, 2, 1)
    assert summary.judged == summary.latency.count == 4
    counts = summary.to_json()
    assert counts["judged"] == 4
    assert 0 < counts["ms_median"] <= counts["ms_p99"]


def test_regions_are_in_frame_pixels(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], judge_all: JudgeAll
) -> None:
    seen: list[Outcome] = []
    judge_all([Frame(0, "b.png", lit(200))], ByBrightness(graph), threshold_of(), [seen.append])
    assert seen[0].verdict is not None
    (region,) = seen[0].verdict.regions
    # The cell of column 5, row 3, of a map of cells across a frame of 64 x 48.
    cells = graph.frame.map
    assert region.box.x <= 5 * 64 / cells.width < region.box.x + region.box.width
    assert region.box.y <= 3 * 48 / cells.height < region.box.y + region.box.height


def test_a_score_at_the_threshold_passes(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], judge_all: JudgeAll
) -> None:
    seen: list[Outcome] = []
    exactly = float(lit(100).mean()) / 255
    judge_all([Frame(0, "a", lit(100))], ByBrightness(graph), threshold_of(exactly), [seen.append])
    assert seen[0].verdict is not None
    assert seen[0].verdict.anomalous is False


def test_lines_are_strict_json_one_a_frame_and_written_at_once(
    graph: GraphRecord, threshold_of: Callable[..., Threshold], judge_all: JudgeAll
) -> None:
    text = io.BytesIO()
    lengths: list[int] = []
    judge_all(
        stream(),
        ByBrightness(graph),
        threshold_of(),
        [JsonLines(text), lambda _: lengths.append(text.getvalue().count(b"\n"))],
    )
    assert lengths == [1, 2, 3, 4, 5]

    def refuse(constant: str) -> Any:
        raise AssertionError(f"{constant} is no JSON")

    lines = [json.loads(line, parse_constant=refuse) for line in text.getvalue().splitlines()]
    assert lines[2] == {"index": 2, "source": "c.png", "error": "c.png is not an image"}
    assert lines[3]["score"] is None
    assert lines[3]["anomalous"] is True
    for line in (lines[0], lines[1], lines[4]):
        assert set(line) >= {
            *("index", "source", "score", "threshold", "anomalous", "regions", "ms")
        }
    assert lines[0]["regions"] == []
    assert set(lines[1]["regions"][0]) == {"box", "peak", "area"}


def test_a_source_without_frames_has_a_summary_without_times() -> None:
    counts = Statistics().to_json()
    assert (counts["frames"], counts["ms_median"], counts["ms_p99"]) == (0, None, None)


def test_the_real_graph_over_a_folder_boxes_what_does_not_belong_there(
    opened: Bundle, backend: OnnxRuntimeBackend, parts: Path, tmp_path: Path, judge_all: JudgeAll
) -> None:
    import cv2

    x, y, side = 260, 200, 70
    for number in range(2):
        picture = cv2.imread(str(parts / f"test/good/{number:03d}.png"))
        picture[y : y + side, x + 90 * number : x + 90 * number + side] = (30, 220, 240)
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
    seen: list[Outcome] = []
    source = open_source(str(tmp_path), backend.graph)
    judge_all(source, backend, opened.manifest.threshold, [seen.append])
    assert len(seen) == 2
    for number, outcome in enumerate(seen):
        assert outcome.verdict is not None
        assert outcome.verdict.anomalous
        box = outcome.verdict.regions[0].box
        # The strongest region covers the foreign body, and not much more than its context.
        assert box.x <= x + 90 * number + side / 2 <= box.x + box.width
        assert box.y <= y + side / 2 <= box.y + box.height
        assert box.width < 4 * side
        assert box.height < 4 * side
        for region in outcome.verdict.regions:
            assert min(region.box) >= 0
            assert region.box.x + region.box.width <= 640
            assert region.box.y + region.box.height <= 480
