"""The part that a bundle was made for: what must not change under a running station unnoticed."""

from __future__ import annotations

from edgefoundad.manifest import Manifest


def differences(running: Manifest, incoming: Manifest) -> list[str]:
    """In what the part or its frames differ, in words; empty where a swap changes neither."""
    pairs = [
        ("part", running.name, incoming.name),
        ("frames", _frames(running), _frames(incoming)),
        ("channels", _channels(running), _channels(incoming)),
    ]
    return [f"{what} {new}, not {old}" for what, old, new in pairs if old != new]


def _frames(manifest: Manifest) -> str:
    # All graphs of a bundle take the same.
    return next((str(one.frame.frame) for one in manifest.graphs.values()), "none")


def _channels(manifest: Manifest) -> str:
    return next((one.channels for one in manifest.graphs.values()), "none")
