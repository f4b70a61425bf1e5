"""What all projectors share: patch embeddings in, one difference per patch out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgefoundad.errors import InputError
from edgefoundad.manifest import ProjectorRecord


class Projector(nn.Module, ABC):
    """Maps patch embeddings onto the manifold of normal ones.

    `forward` takes embeddings, float32 [B, N, C], and returns how far each lies from its
    projection, float32 [B, N]. No projector knows the grid, so that it serves any.

    Attributes:
        kind: its name in the manifest.
    """

    kind: str

    @abstractmethod
    def forward(self, embeddings: Tensor) -> Tensor:
        """The difference of every patch."""

    @abstractmethod
    def settings(self) -> dict[str, int | float]:
        """What `build_projector` needs to make an empty one of the same shape."""

    def record(self, why: str) -> ProjectorRecord:
        """What the manifest keeps; `why` says why this projector was chosen."""
        numbers = sum(t.numel() for t in self.state_dict().values())
        return ProjectorRecord.model_validate(
            {"kind": self.kind, "settings": self.settings(), "parameters": numbers, "why": why}
        )

    def save(self, path: Path) -> None:
        """Write the tensors as safetensors."""
        save_file({name: t.contiguous() for name, t in self.state_dict().items()}, path)


def build_projector(record: ProjectorRecord, path: Path) -> Projector:
    """Build a projector from a bundle.

    Raises:
        InputError: the file does not hold the tensors that the manifest announces.
    """
    from edgefoundad.training.blend import BlendProjector
    from edgefoundad.training.foundad import FoundadProjector
    from edgefoundad.training.memory import MemoryProjector
    from edgefoundad.training.subspace import SubspaceProjector

    kinds: dict[str, Any] = {
        "subspace": SubspaceProjector,
        "memory": MemoryProjector,
        "blend": BlendProjector,
        "foundad": FoundadProjector,
    }
    try:
        projector: Projector = kinds[record.kind](**record.settings)
        projector.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch each have their own.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} does not fit its manifest ({reason}): fit again") from None
    return projector.eval().requires_grad_(False)
