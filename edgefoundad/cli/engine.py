"""`edgefoundad export --trt`: engines for this machine's GPU, each proved before it is kept."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from edgefoundad.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgefoundad.bundle import Bundle
    from edgefoundad.engine import EngineRecord
    from edgefoundad.golden import Comparison, GoldenFrames
    from edgefoundad.manifest import Precision

_RUNTIMES = ("cuda", "pycuda")


def build(
    path: Path, *, precision: str | None, strict: bool, triton: Path | None, as_json: bool
) -> None:
    """Build, prove and keep engines; say which one this machine stands on.

    Args:
        path: the bundle.
        precision: as `fp16,int8`; fp16 where the bundle has it, else fp32, where None.
        strict: accept nothing but all of those precisions, as they were exported.
        triton: a Triton model repository to write the proved engine into; None for none.
        as_json: print the result as JSON.

    Raises:
        InputError: the bundle, TensorRT or the GPU is missing, or the repository cannot be written.
        GateError: no engine was proved, or `strict`, and an engine was refused.
    """
    from edgefoundad.bundle import GOLDEN, Bundle
    from edgefoundad.cli import serving
    from edgefoundad.errors import GateError
    from edgefoundad.golden import GoldenFrames
    from edgefoundad_export.build_ladder import prove_engines

    serving.refuse_early(path, triton=triton, openvino=None)
    bundle = Bundle.open(path)
    wanted = precisions(bundle, precision)
    golden = GoldenFrames.load(bundle.file(GOLDEN, advice="export it again"))
    for one in {*wanted, *bundle.manifest.graphs}:
        golden.by_graph(one)
    _require_gpu(path)
    told: list[str] = []
    found: dict[str, Comparison] = {}

    def say(line: str) -> None:
        told.append(line)
        if not as_json:
            console.print_line(console.plain(line))

    with console.Progress(quiet=as_json) as progress:
        record = prove_engines(
            bundle,
            precisions=wanted,
            prove=prover(bundle, golden, found),
            strict=strict,
            progress=progress,
            say=say,
        )
    result = _result(bundle, record, found, told)
    if record is None:
        if as_json:
            console.print_json(result)
        raise GateError(
            f"no engine of {path} is proved: none said what the PC said. `edgefoundad run` takes "
            f"{_instead(bundle)}"
        )
    if not as_json:
        _show(bundle, record, found, wanted)
    try:
        if triton:
            result |= serving.write_engine(bundle, record, triton, quiet=as_json)
    finally:
        # The engine is there, whatever becomes of the repository.
        if as_json:
            console.print_json(result)


def _instead(bundle: Bundle) -> str:
    """What is left for `run` where no engine was proved, in the words of its own ladder."""
    from edgefoundad_jetson.ladder import ladder

    rungs = [rung for step in ladder(bundle, None, None) for rungs in step for rung in rungs]
    earlier = any(rung.built and rung.built.proved for rung in rungs)
    others = dict.fromkeys(str(rung) for rung in rungs if rung.built is None)
    first = ["an engine that was proved earlier"] if earlier else []
    return f"the first of these that holds: {'; '.join([*first, *others])}"


def precisions(bundle: Bundle, text: str | None) -> list[Precision]:
    """The precisions that are named, or the one that engines are built in by default.

    Raises:
        InputError: the bundle has no graph in one of them.
    """
    from edgefoundad.errors import InputError

    graphs = bundle.manifest.graphs
    if not graphs:
        raise InputError(
            f"bundle {bundle.path} has no graph yet: on the PC, run `edgefoundad export "
            f"{bundle.path}` first, and copy the bundle again"
        )
    if text is None:
        return ["fp16" if "fp16" in graphs else "fp32"]
    named = [word.strip() for word in text.split(",")]
    wanted = [precision for precision in graphs if precision in named]
    missing = [word for word in named if word not in wanted]
    if missing:
        raise InputError(
            f"bundle {bundle.path} has no graph in {missing[0]!r}; it has {', '.join(graphs)}: "
            "export the others on the PC"
        )
    return sorted(wanted, key=named.index)


def can_build() -> bool:
    """Whether this machine has what building and proving an engine takes."""
    from typing import get_args

    from edgefoundad.engine import Product
    from edgefoundad.machine import find_gpu

    return find_gpu() is not None and _has_one_of(*get_args(Product)) and _has_one_of(*_RUNTIMES)


def _has_one_of(*modules: str) -> bool:
    return any(importlib.util.find_spec(name) for name in modules)


def _require_gpu(path: Path) -> None:
    """Refuse early what would only show when the first engine was built and cannot be loaded."""
    from edgefoundad.errors import InputError
    from edgefoundad.machine import find_gpu

    if find_gpu() is None:
        raise InputError(
            "found no NVIDIA GPU, or no driver for it; an engine is built and proved on the device "
            f"that runs it: copy {path} there and run this again (in a container: --runtime nvidia)"
        )
    if not _has_one_of(*_RUNTIMES):
        raise InputError(
            "an engine is proved by running it, which needs cuda-python or pycuda: "
            "pip install 'edgefoundad[jetson]' or 'edgefoundad[pycuda]'"
        )


def prover(
    bundle: Bundle, golden: GoldenFrames, found: dict[str, Comparison]
) -> Callable[[EngineRecord], Comparison]:
    """What holds an engine against the golden frames, and notes in `found` what it found."""
    from edgefoundad.engine import plan_path
    from edgefoundad.errors import GateError, InputError

    def prove(record: EngineRecord) -> Comparison:
        from edgefoundad_jetson.arming import hold
        from edgefoundad_jetson.backends.tensorrt import TensorRtBackend

        backend = TensorRtBackend(bundle, record.precision, plan_path(bundle, record))
        try:
            comparison = hold(bundle, golden, backend)
        except InputError as error:
            # What loads and then cannot run: another engine may, so this one is at fault.
            raise GateError(str(error)) from None
        finally:
            backend.close()
        found[record.key] = comparison
        return comparison

    return prove


def _result(
    bundle: Bundle,
    record: EngineRecord | None,
    found: dict[str, Comparison],
    told: list[str],
) -> dict[str, object]:
    from edgefoundad.engine import plan_path

    if record is None:
        return {"bundle": str(bundle.path), "engine": None, "told": told}
    return {
        "bundle": str(bundle.path),
        "engine": str(plan_path(bundle, record)),
        **record.model_dump(mode="json"),
        "score_error": found[record.key].score_error,
        "map_correlation": found[record.key].map_correlation,
        "told": told,
    }


def _show(
    bundle: Bundle,
    record: EngineRecord,
    found: dict[str, Comparison],
    wanted: list[Precision],
) -> None:
    from edgefoundad.engine import BuildOptions, plan_path

    comparison = found[record.key]
    rows = [
        ("engine", console.plain(plan_path(bundle, record))),
        ("built by", f"{record.product} {record.version} for {record.gpu}"),
        ("is", f"{record.size / 1e6:.1f} MB, {record.words}"),
        (
            "proved",
            f"score within {comparison.score_error:.2%} of the threshold, map correlation "
            f"{comparison.map_correlation:.6f}",
        ),
    ]
    console.print_table(console.facts(rows))
    if (record.precision, record.options) != (wanted[0], BuildOptions()):
        console.print_line(
            f"[yellow]warning:[/yellow] this is a fallback: the {wanted[0]} engine as exported was "
            "refused; a newer JetPack may bring a TensorRT without the fault"
        )
