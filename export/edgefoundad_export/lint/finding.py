"""One thing in a graph that TensorRT will not take, or not as onnxruntime does."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

VERSIONS = ("10.3", "10.16", "11")
"""The versions of TensorRT that a graph is held against: what JetPack 6, 7.2 and 7.2.2 carry."""


@dataclass(frozen=True)
class Finding:
    """A node that does not suit TensorRT.

    Attributes:
        node: its name; its first output's where it has none; the tensor's or function's where the
            fault is not a node's; empty where it is the whole graph's.
        operator: the node's operator, or what else carries the fault.
        fault: what was found, why it is refused and what to do, in one line.
        versions: those of `VERSIONS` that it does not suit.
    """

    node: str
    operator: str
    fault: str
    versions: tuple[str, ...] = VERSIONS

    def __str__(self) -> str:
        """As a person reads it."""
        where = f"{self.operator} {self.node}".strip()
        return f"{where}: {self.fault} (TensorRT {', '.join(self.versions)})"

    @classmethod
    def at(cls, node: onnx.NodeProto, fault: str, versions: tuple[str, ...] = VERSIONS) -> Finding:
        """A finding about a node."""
        return cls(node_name(node), node.op_type, fault, versions)


def node_name(node: onnx.NodeProto) -> str:
    """What a node is called in findings and, alike, in TensorRT's own messages."""
    return node.name or next((name for name in node.output if name), "")
