"""What was moved to bring a frame to a verdict, counted: "zero-copy" is a number here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Copies:
    """Passes over a whole frame, or over what came of it.

    Attributes:
        host_maps: buffers of somebody else that were mapped into this process; nothing moves.
        host_copies: passes of the CPU over the frame after it was captured: conversions of colours,
            rows set together, letterboxing, copies proper.
        host_to_device: transfers to a GPU with memory of its own.
        device_to_host: transfers from there.
        device_copies: copies of the frame by the GPU, from its memory to its memory.
    """

    host_maps: int = 0
    host_copies: int = 0
    host_to_device: int = 0
    device_to_host: int = 0
    device_copies: int = 0

    def __add__(self, other: Copies) -> Copies:
        # Field by field: this runs for every frame, and `astuple` copies deeply.
        return Copies(
            self.host_maps + other.host_maps,
            self.host_copies + other.host_copies,
            self.host_to_device + other.host_to_device,
            self.device_to_host + other.device_to_host,
            self.device_copies + other.device_copies,
        )

    def to_json(self) -> dict[str, int]:
        """Plain JSON values."""
        return {
            "host_maps": self.host_maps,
            "host_copies": self.host_copies,
            "host_to_device": self.host_to_device,
            "device_to_host": self.device_to_host,
            "device_copies": self.device_copies,
        }


NO_COPIES = Copies()
