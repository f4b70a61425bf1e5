"""What of a graph is computed in bfloat16: all up to the embeddings, and not their differences."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

EMBEDDER, HEAD = "embedder", "head"
"""What the names of nodes begin with, before the embeddings and behind them: the modules that
`edgefoundad_export.graph` names them after."""


def parted(model: Any) -> list[Any]:
    """An OpenVINO model as two: up to the embeddings, and from them to the map and the score.

    A difference is small beside the embeddings that it is between. The eight bits of bfloat16 hold
    an embedding well enough and their difference not at all.

    Args:
        model: an `openvino.Model` read from one of our graphs; taken apart, not copied.

    Returns:
        both, the second's inputs in the order of the first's outputs; the model itself where none
        of its nodes is named as ours are.
    """
    from openvino import Model, opset13

    nodes = model.get_ordered_ops()
    # What hangs on constants alone may be in both.
    moving = _followers(nodes, {one.get_friendly_name() for one in model.get_parameters()})
    behind = _behind(nodes)
    crossing: dict[tuple[str, int], list[Any]] = {}
    for node in nodes:
        if node.get_friendly_name() not in behind:
            continue
        for end in node.inputs():
            source = end.get_source_output()
            maker = source.get_node().get_friendly_name()
            if maker in moving and maker not in behind:
                crossing.setdefault((maker, source.get_index()), []).append(end)
    if not crossing:
        return [model]
    embeddings, inputs = [], []
    for ends in crossing.values():
        source = ends[0].get_source_output()
        entry = opset13.parameter(source.get_partial_shape(), source.get_element_type())
        for end in ends:
            end.replace_source_output(entry.output(0))
        embeddings.append(opset13.result(source))
        inputs.append(entry)
    return [
        Model(embeddings, model.get_parameters(), "embedder"),
        Model(model.get_results(), inputs, "head"),
    ]


def _behind(nodes: Sequence[Any]) -> set[str]:
    """Names of the nodes that follow the embeddings.

    The reader makes several nodes of one, and names only the last as the graph does. Another
    follows the embeddings where it reads what does, or where nothing else reads it.
    """
    named = {node.get_friendly_name() for node in nodes}
    behind = _followers(nodes, {name for name in named if name.startswith(HEAD)})
    for node in reversed(nodes):
        name = node.get_friendly_name()
        readers = {
            end.get_node().get_friendly_name()
            for output in node.outputs()
            for end in output.get_target_inputs()
        }
        if readers and readers <= behind and not name.startswith(EMBEDDER):
            behind.add(name)
    return behind


def _followers(nodes: Sequence[Any], first: Collection[str]) -> set[str]:
    """Names of some nodes and of all that read them, directly or not."""
    found = set(first)
    for node in nodes:
        read = {end.get_source_output().get_node().get_friendly_name() for end in node.inputs()}
        if not found.isdisjoint(read):
            found.add(node.get_friendly_name())
    return found
