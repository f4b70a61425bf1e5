"""The ladder: ways to build an engine, tried in order until one is proved."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from edgefoundad.bundle import Bundle
from edgefoundad.engine import BuildOptions, EngineRecord, discard, mark_proved
from edgefoundad.engine_refusal import forget_refusal, note_refusal
from edgefoundad.errors import GateError, InputError
from edgefoundad.golden import Comparison
from edgefoundad.manifest import Precision
from edgefoundad_export.engine import as_exported, build_engine
from edgefoundad_export.tensorrt import Progress

LOWEST_LEVEL = 0
"""The builder's level that makes no kernels of its own for this graph: another set of kernels, and
the slowest."""

Rung = tuple[Precision, BuildOptions]


def build_ladder(bundle: Bundle, precision: Precision) -> list[Rung]:
    """What to try for a precision, in order: as exported, broken-up fusions, then fp32 likewise.

    Source: the reports of DINO-family encoders that TensorRT 10.3 and 10.4 compile wrongly, fp32
    too (NVIDIA/TensorRT#4723, #4742, #4837).
    """
    rungs = list(_rungs(bundle, precision))
    return rungs if precision == "fp32" else [*rungs, *_rungs(bundle, "fp32")]


def _rungs(bundle: Bundle, precision: Precision) -> Iterator[Rung]:
    yield precision, BuildOptions()
    # Every precision has the attention of the reference, which alone is exported without it too.
    reference = bundle.manifest.graph
    if reference is not None and reference.safe is not None:
        yield precision, BuildOptions(mark_attention=True)
    yield precision, BuildOptions(optimization_level=LOWEST_LEVEL)
    graph = bundle.manifest.graphs.get(precision)
    if graph is not None and graph.safe is not None:
        yield precision, BuildOptions(safe_graph=True)


def prove_engines(
    bundle: Bundle,
    *,
    precisions: Sequence[Precision],
    prove: Callable[[EngineRecord], Comparison],
    strict: bool = False,
    progress: Progress = lambda what, done, total: None,
    say: Callable[[str], None] = lambda line: None,
) -> EngineRecord | None:
    """Build engines until each precision has one that is proved, and keep only those.

    Of every precision the rungs of `build_ladder` are tried in order. Those in fp32 that were not
    asked for come last, and only where nothing else was proved. That the golden frames refused is
    noted, so that a station's start does not repeat it.

    Args:
        bundle: with graphs.
        precisions: what is wanted, the most wanted first.
        prove: holds an engine against the golden frames; whatever it raises but an `InputError`
            refuses the engine, and the climb goes on.
        strict: refuse the bundle where an engine as exported is refused, and try nothing else.
        progress: as for `build_engine`.
        say: called with a line for each engine: what was refused and why, what was proved.

    Returns:
        the proved engine of the most wanted precision that has one; None where none was proved.

    Raises:
        InputError: the same would fail on every rung: no such graph, no TensorRT, no room.
        GateError: `strict`, and an engine was refused.
    """
    proved: list[EngineRecord] = []
    judged: list[str] = []

    def climb(rungs: list[Rung]) -> None:
        for precision, options in rungs:
            try:
                record = build_engine(
                    bundle, precision, options=options, progress=progress, say=say
                )
            except InputError:
                raise
            except Exception as error:
                refusal = f"refused: {precision} engine ({options.words}): {_reason(error)}"
            else:
                fault, by_gate = _judge(bundle, record, prove)
                if fault is None:
                    say(f"proved: {record.words}, built in {record.seconds:.0f} s")
                    proved.append(mark_proved(bundle, record))
                    return
                refusal = f"refused: {record.words}: {fault}"
                judged.extend([refusal] if by_gate else [])
            if strict:
                raise GateError(f"{bundle.path} on this machine: {refusal}")
            say(refusal)

    for precision in precisions:
        climb([rung for rung in build_ladder(bundle, precision) if rung[0] == precision])
    if not proved and "fp32" not in precisions:
        climb(build_ladder(bundle, "fp32"))
    if not proved:
        # Where nothing came as far as the golden frames, memory may be what was missing.
        if judged:
            note_refusal(bundle, as_exported(bundle, precisions[0]), judged[-1])
        return None
    forget_refusal(bundle)
    return proved[0]


def _judge(
    bundle: Bundle, record: EngineRecord, prove: Callable[[EngineRecord], Comparison]
) -> tuple[str | None, bool]:
    """Why an engine is refused, and removed, or None; whether golden frames were what said so."""
    by_gate = False
    try:
        fault = prove(record).fault
        by_gate = fault is not None
    except (InputError, KeyboardInterrupt):
        # Nothing was learned of the engine: one that was proved before is as good as it was.
        if record.proved is None:
            discard(bundle, record)
        raise
    except Exception as error:
        fault = _reason(error)
    if fault is not None:
        # What was proved before stays: only this engine goes.
        discard(bundle, record)
    return fault, by_gate


def _reason(error: Exception) -> str:
    """An error of a library, which speaks of one rung, is as good a reason as the gate's."""
    if isinstance(error, GateError):
        return str(error)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
