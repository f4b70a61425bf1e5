"""What must stay in a higher precision: the fewest parts, the most harmful first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

pytest.importorskip("onnx")

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefoundad_export.sensitivity import Effect, Kept, keep_fewest, table

PARTS = ["a", "b", "c", "d", "e"]


class Detector:
    """Parts that harm a map, each by so much; what is lowered stands for the graph.

    `together` is lost as well where all of its parts are lowered.
    """

    def __init__(self, harm: dict[str, float], together: dict[str, float] | None = None) -> None:
        self.harm, self.together = harm, together or {}
        self.measured: list[frozenset[str]] = []
        self.ranked: list[frozenset[str]] = []
        self.told: list[tuple[int, int]] = []

    def correlation(self, lowered: Collection[str]) -> float:
        joint = sum(loss for parts, loss in self.together.items() if {*parts} <= {*lowered})
        return 1 - sum(self.harm[part] for part in lowered) - joint

    def keep(self, wanted: float) -> Kept:
        def measure(model: Any) -> float:
            self.measured.append(model)
            return self.correlation(model)

        def rank(model: Any) -> float:
            self.ranked.append(model)
            return self.correlation(model)

        return keep_fewest(
            list(self.harm),
            frozenset,  # type: ignore[arg-type]
            measure,
            rank,
            wanted=wanted,
            watch=lambda done, total: self.told.append((done, total)),
        )


def test_where_all_can_be_lowered_nothing_else_is_measured() -> None:
    detector = Detector(dict.fromkeys(PARTS, 0.01))
    found = detector.keep(0.9)
    assert (found.parts, found.effects) == ((), ())
    assert found.correlation == pytest.approx(0.95)
    assert len(detector.measured) == 1
    assert not detector.ranked


def test_the_most_harmful_stays_and_the_figure_is_that_of_what_is_left() -> None:
    detector = Detector({"a": 0.001, "b": 0.2, "c": 0.002, "d": 0.05, "e": 0.003})
    found = detector.keep(0.99)
    assert found.parts == ("b", "d")
    assert found.correlation == pytest.approx(detector.correlation(["a", "c", "e"]))
    assert [effect.part for effect in found.effects] == ["b", "d", "e", "c", "a"]
    assert found.effects[0].correlation == pytest.approx(0.8)
    assert detector.ranked == [{part} for part in "abcde"]
    assert detector.told == [(i, 5) for i in range(6)]


@settings(max_examples=200, deadline=None)
@given(
    harm=st.lists(st.floats(0, 0.1), min_size=1, max_size=30),
    wanted=st.floats(0.5, 1, exclude_max=True),
)
def test_where_harm_adds_up_no_fewer_would_do(harm: list[float], wanted: float) -> None:
    detector = Detector({f"part {i}": loss for i, loss in enumerate(harm)})
    found = detector.keep(wanted)
    left = [part for part in detector.harm if part not in found.parts]
    assert detector.correlation(left) >= wanted or not left
    if found.parts:
        # With one kept fewer, even the best choice of which, the bar is missed.
        lowered = sorted(harm)[: len(left) + 1]
        assert 1 - sum(lowered) < wanted + 1e-9
        assert found.correlation == pytest.approx(detector.correlation(left))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_harms_together_the_bar_is_reached_or_nothing_is_lowered(data: Any) -> None:
    """Correlations that do not rise with what is kept: one error may hide another."""
    losses = st.floats(-0.05, 0.1)
    harm = {part: data.draw(losses) for part in PARTS}
    pairs = data.draw(st.dictionaries(st.sampled_from(["ab", "bc", "cde", "ae"]), losses))
    detector = Detector(harm, pairs)
    wanted = data.draw(st.floats(0.8, 1.0))
    found = detector.keep(wanted)
    left = [part for part in PARTS if part not in found.parts]
    if left:
        assert detector.correlation(left) >= wanted
        assert found.correlation == pytest.approx(detector.correlation(left))
    # A few measurements beside one for each part, however many there are.
    assert len(detector.measured) <= 5


def test_where_none_can_be_lowered_all_stay() -> None:
    detector = Detector(dict.fromkeys(PARTS, 0.5))
    found = detector.keep(0.99)
    assert sorted(found.parts) == PARTS
    assert len(found.effects) == len(PARTS)


def test_one_part_alone_stays_or_goes() -> None:
    assert Detector({"a": 0.5}).keep(0.9).parts == ("a",)
    assert Detector({"a": 0.05}).keep(0.9).parts == ()


def test_what_is_no_number_is_worst() -> None:
    """A map that is not a number is measured as -1."""
    found = Detector({"a": 2.0, "b": 0.0}).keep(0.99)
    assert found.parts == ("a",)
    assert table(found.effects).splitlines()[0] == "  -1.000000  a"


def test_the_table_shows_the_most_harmful_and_counts_the_rest() -> None:
    effects = [Effect(f"blocks.{i}", 0.9 + i / 100) for i in range(5)]
    assert table(effects, most=2) == (
        "  0.900000  blocks.0\n  0.910000  blocks.1\n  and 3 more from 0.920000 on"
    )
    assert table(effects).splitlines() == [f"  {e.correlation:.6f}  {e.part}" for e in effects]
    assert len(table([Effect("x", 0.5)] * 40).splitlines()) == 13
