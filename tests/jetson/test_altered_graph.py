"""A graph with an altered weight, whose hashes were made right again: only the gate can notice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgefoundad.bundle import Bundle
from edgefoundad_jetson.arming import NotArmedError, arm


@pytest.mark.parametrize("share", [0.02, 0.05, 0.5])
def test_it_is_refused_by_every_backend(
    bundle: Path, alter_weight: Callable[[Path, float], float], share: float
) -> None:
    pytest.importorskip("openvino")
    assert alter_weight(bundle, share) == pytest.approx(share, rel=0.03)
    opened = Bundle.open(bundle)  # Its hashes are right.
    with pytest.raises(NotArmedError) as caught:
        arm(opened)
    assert {str(one.rung) for one in caught.value.refused} == {
        "OpenVINO fp32",
        "onnxruntime fp32",
    }
    for refusal in caught.value.refused:
        assert "of the threshold off, at most 1%" in refusal.reason
        assert refusal.comparison is not None
        assert refusal.comparison.score_error > 0.01
