"""Whether parts lie at any angle: told from how close turned views of the others come."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from torch import Tensor  # noqa: E402

from edgefoundad.training import pose  # noqa: E402
from edgefoundad.training.features import Features  # noqa: E402
from edgefoundad.training.material import Camera, Normal  # noqa: E402
from edgefoundad.training.pose import kept_views, needed_views  # noqa: E402
from edgefoundad.training.views import TURNS  # noqa: E402

LEVEL = Features((0,))
PATCHES, CHANNELS = 80, 24
Make = Callable[..., list[Normal]]


@pytest.fixture
def posed(camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]) -> Make:
    """([(turned by, mirrored), …]) → normals that look otherwise at each eighth of a turn."""
    generator = torch.Generator().manual_seed(0)
    looks = torch.randn(2, 8, PATCHES, CHANNELS, generator=generator)

    def seen(turned: int, mirrored: bool) -> Tensor:
        # Not one patch lies where it lay: which of them is where says nothing.
        order = torch.randperm(PATCHES, generator=generator)
        noise = 0.1 * torch.randn(PATCHES, CHANNELS, generator=generator)
        return looks[int(mirrored), (turned // 45) % 8][order] + noise

    def make(poses: list[tuple[int, bool]]) -> list[Normal]:
        own = torch.stack([seen(*pose) for pose in poses])
        views = torch.stack(
            [
                torch.stack(
                    [
                        *(seen(angle + turn, mirrored) for turn in TURNS),
                        seen(-angle, not mirrored),
                        seen(180 - angle, not mirrored),
                    ]
                )
                for angle, mirrored in poses
            ]
        )
        return normals_of(camera_of((10, 8), (CHANNELS,)), own, turned=views)

    return make


def test_parts_at_any_angle_need_turned_views(posed: Make) -> None:
    lying = [(angle, False) for angle in (0, 90, 225, 315)]
    assert needed_views(posed(lying), LEVEL) == "turns"


def test_those_that_lie_alike_do_not_outvote_one_that_lies_otherwise(posed: Make) -> None:
    # Few parts fall into a few poses by chance: most of them gain nothing by turned views.
    lying = [(angle, False) for angle in (135, *[0] * 9)]
    assert needed_views(posed(lying), LEVEL) == "turns"


def test_a_frame_of_many_tiles_is_told_from_a_part_of_its_patches(
    monkeypatch: pytest.MonkeyPatch, posed: Make
) -> None:
    monkeypatch.setattr(pose, "SAMPLE", PATCHES // 2)
    lying = [(angle, False) for angle in (0, 90, 225, 315)]
    assert needed_views(posed(lying), LEVEL) == "turns"
    assert needed_views(posed([(0, False)] * 4), LEVEL) == "none"


def test_parts_that_keep_their_pose_need_none(posed: Make) -> None:
    assert needed_views(posed([(0, False)] * 4), LEVEL) == "none"
    assert needed_views(posed([(90, True)] * 2), LEVEL) == "none"


def test_parts_that_come_mirrored_need_mirrored_views(posed: Make) -> None:
    mirrored = [(0, False), (0, True), (180, False), (180, True)]
    # Each has one at its own angle among the others only if it is turned and mirrored.
    assert needed_views(posed(mirrored[1:3]), LEVEL) == "turns+flips"


def test_a_single_normal_shows_no_pose(posed: Make) -> None:
    assert needed_views(posed([(0, False)]), LEVEL) == "turns"


def test_the_views_used_are_those_that_are_named(posed: Make) -> None:
    (normal,) = posed([(0, False)])
    assert normal.turned is not None
    assert len(normal.turned[kept_views("none")]) == 0
    assert len(normal.turned[kept_views("turns")]) == len(TURNS)
    assert len(normal.turned[kept_views("turns+flips")]) == len(TURNS) + 2
    assert normal.views(LEVEL).shape == ((len(TURNS) + 2) * PATCHES, CHANNELS)
    normal.turned = None
    assert normal.views(LEVEL).shape == (0, CHANNELS)
