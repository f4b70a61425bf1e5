"""What candidates are compared on."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")

from edgefoundad.training.material import Camera, Normal  # noqa: E402
from edgefoundad.training.trials import MOST_COMPARED, first_of_each  # noqa: E402


def test_every_category_takes_part_in_the_comparison(
    camera_of: Callable[..., Camera], normals_of: Callable[..., list[Normal]]
) -> None:
    normals = normals_of(camera_of((4, 4)), torch.zeros(20, 16, 8))
    for i, normal in enumerate(normals):
        normal.category = 0 if i < 12 else 1 if i < 18 else 2
    compared = first_of_each(normals)
    assert [int(one.path.stem) for one in compared] == [0, 1, 2, 12, 13, 14, 18, 19]
    # Of one category those that come first.
    assert [n.path for n in first_of_each(normals[:12])] == [
        n.path for n in normals[:MOST_COMPARED]
    ]
    assert [n.path.stem for n in first_of_each(normals[:3])] == ["0", "1", "2"]
