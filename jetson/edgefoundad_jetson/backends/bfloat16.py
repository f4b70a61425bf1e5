"""What of a graph is computed in bfloat16: the encoder, and not what compares its embeddings."""

from __future__ import annotations

from typing import Any

HEAD = "head"
"""What the names of the nodes behind the embeddings begin with."""


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

    behind: set[str] = set()
    crossing: dict[tuple[str, int], list[Any]] = {}
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Constant":
            continue
        name = node.get_friendly_name()
        sources = [end.get_source_output() for end in node.inputs()]
        makers = [source.get_node().get_friendly_name() for source in sources]
        # What the reader puts in has a name of its own: it belongs to what it reads.
        if not name.startswith(HEAD) and behind.isdisjoint(makers):
            continue
        behind.add(name)
        for end, source, maker in zip(node.inputs(), sources, makers, strict=True):
            if maker not in behind and source.get_node().get_type_name() != "Constant":
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
