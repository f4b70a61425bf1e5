"""What must stay in a higher precision: the fewest parts, the most harmful first."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

pytest.importorskip("onnx")

from hypothesis import given, settings
from hypothesis import strategies as st

from edgefoundad_export.sensitivity import Effect, Kept, Lack, keep_fewest, table

PARTS = ["a", "b", "c", "d", "e"]


class Detector:
    """Parts that harm a map, each by so much; what is lowered stands for the graph.

    `together` is lost as well where all of its parts are lowered.
    """

    def __init__(self, harm: dict[str, float], together: dict[str, float] | None = None) -> None:
        self.harm, self.together = harm, together or {}
        self.measured: list[frozenset[str]] = []
        self.ranked: list[str] = []
        self.told: list[tuple[int, int]] = []

    def correlation(self, lowered: Collection[str]) -> float:
        joint = sum(loss for parts, loss in self.together.items() if {*parts} <= {*lowered})
        return 1 - sum(self.harm[part] for part in lowered) - joint

    def keep(self, wanted: float, most: int | None = None) -> Kept:
        def lacking(model: Any) -> Lack | None:
            self.measured.append(model)
            found = self.correlation(model)
            return None if found >= wanted else Lack(f"{found:.3f}")

        def rank(part: str) -> Effect:
            self.ranked.append(part)
            found = self.correlation([part])
            return Effect(part, found, 0.0)

        return keep_fewest(
            list(self.harm),
            frozenset,  # type: ignore[arg-type]
            lacking,
            rank,
            most=len(self.harm) - 1 if most is None else most,
            watch=lambda done, total: self.told.append((done, total)),
        )


def test_where_all_can_be_lowered_nothing_else_is_measured() -> None:
    detector = Detector(dict.fromkeys(PARTS, 0.01))
    assert detector.keep(0.9) == Kept((), None, ())
    assert len(detector.measured) == 1
    assert not detector.ranked


def test_the_most_harmful_stays_and_what_fewer_lack_is_said() -> None:
    detector = Detector({"a": 0.001, "b": 0.2, "c": 0.002, "d": 0.05, "e": 0.003})
    found = detector.keep(0.99)
    assert found.parts == ("b", "d")
    assert str(found.lacking) == "0.944"  # With b alone kept.
    assert [effect.part for effect in found.effects] == ["b", "d", "e", "c", "a"]
    assert found.effects[0].correlation == pytest.approx(0.8)
    assert detector.ranked == PARTS
    assert detector.told == [(i, 5) for i in range(6)]


@pytest.mark.parametrize(("of_scores", "stays"), [(False, "map"), (True, "score")])
def test_what_is_lacking_says_which_part_harms_most(of_scores: bool, stays: str) -> None:
    """Of two, one that moves the map more and one that moves a score more."""
    effects = {"map": Effect("map", 0.998, 0.001), "score": Effect("score", 0.9999, 0.016)}
    lack = Lack("a score differs" if of_scores else "the map differs", of_scores=of_scores)
    found = keep_fewest(
        list(effects),
        frozenset,  # type: ignore[arg-type]
        lambda model: lack if stays in model else None,  # type: ignore[operator]
        effects.__getitem__,
        most=1,
        watch=lambda done, total: None,
    )
    assert (found.parts, found.lacking) == ((stays,), lack)


def test_where_errors_cancel_what_keeping_a_part_is_worth_finds_fewer() -> None:
    """Two cost most alone, and nothing together: the third alone has to stay."""
    detector = Detector({"a": 0.1, "b": 0.1, "c": 0.02, "d": 0.001}, {"ab": -0.2})

    def lacking(model: Any) -> Lack | None:
        found = detector.correlation(model)
        return None if found >= 0.99 else Lack(f"{found:.3f}")

    def by(others: bool) -> Kept:
        def rank(part: str) -> Effect:
            lowered = set(detector.harm) - {part} if others else {part}
            return Effect(part, detector.correlation(lowered), 0.0)

        return keep_fewest(
            list(detector.harm),
            frozenset,  # type: ignore[arg-type]
            lacking,
            rank,
            most=3,
            watch=lambda done, total: None,
            others=others,
        )

    assert by(others=False).parts == ("a", "b", "c")
    assert by(others=True).parts == ("c",)


@settings(max_examples=200, deadline=None)
@given(
    harm=st.lists(st.floats(0, 0.1), min_size=1, max_size=30),
    wanted=st.floats(0.5, 1, exclude_max=True),
)
def test_where_harm_adds_up_no_fewer_would_do(harm: list[float], wanted: float) -> None:
    detector = Detector({f"part {i}": loss for i, loss in enumerate(harm)})
    found = detector.keep(wanted)
    if found.parts is None:
        assert 1 - min(harm) < wanted + 1e-9
        return
    left = [part for part in detector.harm if part not in found.parts]
    assert detector.correlation(left) >= wanted
    if found.parts:
        # With one kept fewer, even the best choice of which, the bar is missed.
        lowered = sorted(harm)[: len(left) + 1]
        assert 1 - sum(lowered) < wanted + 1e-9


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
    if found.parts is not None:
        left = [part for part in PARTS if part not in found.parts]
        assert detector.correlation(left) >= wanted
    # A few measurements beside one for each part, however many there are.
    assert len(detector.measured) <= 5


def test_no_more_stay_than_are_worth_it() -> None:
    harm = dict.fromkeys(map(str, range(32)), 0.01)
    detector = Detector(harm)
    assert detector.keep(0.795, most=12).parts == tuple(map(str, range(12)))
    detector = Detector(harm)
    found = detector.keep(0.9, most=12)
    assert (found.parts, found.lacking) == (None, Lack("0.800"))
    assert len(found.effects) == 32
    # Nor is a graph looked at in which more stay.
    assert min(map(len, detector.measured)) == 20


def test_few_are_tried_first() -> None:
    """Measured close to its bound, less may pass where more does not: two here, not the nine."""
    harm = dict.fromkeys(map(str, range(12)), 0.01)
    detector = Detector(harm, {"34567": 0.5, "89": -0.6})
    assert detector.correlation(list(harm)[2:]) > 0.9
    found = detector.keep(0.9)
    assert found.parts is not None
    assert len(found.parts) <= 2


def test_where_none_can_be_lowered_there_is_nothing_to_keep() -> None:
    detector = Detector(dict.fromkeys(PARTS, 0.5))
    found = detector.keep(0.99)
    assert (found.parts, found.lacking) == (None, Lack("0.500"))
    assert len(found.effects) == len(PARTS)


def test_one_part_alone_goes_or_nothing_does() -> None:
    assert Detector({"a": 0.5}).keep(0.9).parts is None
    assert Detector({"a": 0.05}).keep(0.9).parts == ()


def test_what_is_no_number_is_worst() -> None:
    """A map that is not a number is measured as -1."""
    found = Detector({"a": 2.0, "b": 0.0}).keep(0.99)
    assert found.parts == ("a",)
    assert table(found.effects).splitlines()[0] == "  -1.000000   0.00%  a"


def test_the_table_shows_the_most_harmful_and_counts_the_rest() -> None:
    effects = [Effect(f"blocks.{i}", 0.9 + i / 100, 0.02) for i in range(5)]
    assert table(effects, most=2) == (
        "  0.900000   2.00%  blocks.0\n  0.910000   2.00%  blocks.1\n  and 3 more from 0.920000 on"
    )
    assert [line.split() for line in table(effects).splitlines()] == [
        [f"{e.correlation:.6f}", "2.00%", e.part] for e in effects
    ]
    assert len(table([Effect("x", 0.5, 0.0)] * 40).splitlines()) == 13
