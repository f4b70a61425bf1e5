"""A case's cells in turn, round after round: what slows the machine slows all of them."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edgefoundad import __version__
from edgefoundad.golden import correlate
from edgefoundad.manifest import Precision
from field.cells import Row
from field.data import locate
from field.latency.cells import Case, Cell, accuracy_identity
from field.latency.jobs import run_job
from field.worker import CellFailedError

REASON_LINES = 12
"""Of why a precision was refused: the first layers of its table."""


@dataclass
class Bench:
    """One run on one machine.

    Attributes:
        work: where files are kept between runs.
        data: the data sets, as `locate` takes them; looked up when one is needed.
        weights: checkpoints by encoder, without its block.
        failed: what went wrong, a line each.
        unready: cases that could not be fitted or exported; not tried twice.
    """

    machine: str
    work: Path
    data: Sequence[str]
    weights: Mapping[str, str]
    threads: int
    rounds: int
    runs: int
    failed: list[str] = field(default_factory=list)
    unready: set[Case] = field(default_factory=set)

    @property
    def datasets(self) -> list[str]:
        """The data sets' names."""
        return [Path(given).name for given in self.data]

    def prepare(self, case: Case, precisions: Sequence[Precision]) -> Row | None:
        """Fit and export what is not there yet; None where that failed."""
        if case in self.unready:
            return None
        path = case.folder(self.work) / "prepared.json"
        facts = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"tried": []}
        missing = set(precisions) - set(facts["tried"])
        if not missing:
            return dict(facts)
        say(f"{case}: fit and export")
        wanted = [p for p in ("fp32", "fp16", "int8") if p in {*facts["tried"], *precisions}]
        job = {**self._job(case), "data": self._data(case), "precisions": wanted}
        made = self._do("prepare", f"{case}: prepare", job)
        if made is None:
            self.unready.add(case)
        return made

    def time(self, cells: Sequence[Cell], facts: Row) -> list[Row]:
        """Time the cells of one case; the first is the reference.

        Returns:
            a row for each that ran or was refused; none where the reference failed.
        """
        rows, running = [], []
        for cell in cells:
            reason = facts["refused"].get(cell.precision) or self._unready(cell, facts)
            if reason is None:
                running.append(cell)
            elif reason:
                first = "\n".join(reason.splitlines()[:REASON_LINES])
                rows.append(cell.identity(self.machine) | {"not_run": first})
        found: dict[Cell, list[Row]] = {cell: [] for cell in running}
        for number in range(self.rounds):
            for cell in list(found):
                say(f"{cell}, round {number + 1} of {self.rounds}")
                answer = self._do(cell.what, str(cell), self._timing(cell, facts))
                if answer is None:
                    del found[cell]
                    if cell.is_reference:
                        return []
                    continue
                found[cell].append(answer)
        reference = found[cells[0]]
        return rows + [self._row(cell, own, reference, facts) for cell, own in found.items()]

    def judge(self, case: Case, precision: Precision, facts: Row) -> Row | None:
        """What a precision costs on the whole test set; None where it failed or has no graph."""
        if precision in facts["refused"]:
            return None
        say(f"{case}: {precision} on the whole test set")
        job = {**self._job(case), "data": self._data(case), "precision": precision}
        answer = self._do("accuracy", f"{case}: accuracy of {precision}", job)
        return answer and accuracy_identity(case, precision) | self._facts(facts) | answer

    def _unready(self, cell: Cell, facts: Row) -> str | None:
        """What is left to do before it can be timed: None where it can, why not where it cannot.

        An empty reason: it failed, and that was said.
        """
        job = self._timing(cell, facts)
        if cell.what == "peer" and not (cell.case.folder(self.work) / "peer").exists():
            return None if self._do("peer-fit", f"{cell}: fit", job) is not None else ""
        if cell.backend == "tensorrt":
            built = self._do("engine", f"{cell}: build", job)
            if built is None:
                return ""
            # Where the files lay on this machine is nobody's business.
            told = "\n".join(built["told"]).replace(f"{cell.case.folder(self.work)}/", "")
            return None if built["proved"] else f"no engine was proved:\n{told}"
        return None

    def _row(self, cell: Cell, own: list[Row], reference: list[Row], facts: Row) -> Row:
        times = np.concatenate([one["ms"] for one in own])
        medians = [statistics.median(one["ms"]) for one in own]
        theirs = [statistics.median(one["ms"]) for one in reference]
        row: Row = {
            **cell.identity(self.machine),
            **self._facts(facts),
            "version": f"edgefoundad {__version__}",
            **{key: own[0][key] for key in ("device", "rung", "graph", "file_mb") if key in own[0]},
            "rounds": len(own),
            "runs": len(own[0]["ms"]),
            "median_ms": round(float(np.median(times)), 3),
            "p99_ms": round(float(np.percentile(times, 99)), 3),
            "min_ms": round(float(times.min()), 3),
            "frames_per_second": round(1e3 / float(times.mean()), 2),
            "peak_mib": max(one["peak_mib"] for one in own),
            # Round by round, and the median of those: a slow round slows both sides.
            "speedup": round(
                statistics.median(t / m for t, m in zip(theirs, medians, strict=True)), 4
            ),
            "reference_ms": round(statistics.median(theirs), 3),
            "reference_min_ms": round(min(min(one["ms"]) for one in reference), 3),
        }
        if cell.what == "graph":
            row["map_correlation"] = self._correlation(cell)
            row["kept"] = facts["kept"][cell.precision]
        if cell.what == "bare":
            pairs = [np.divide(one["whole_ms"], one["ms"]) - 1 for one in own]
            whole = min(min(one["whole_ms"]) for one in own)
            row["extra_median"] = round(float(np.median(np.concatenate(pairs))), 5)
            row["extra_min"] = round(whole / float(times.min()) - 1, 5)
            stages = self._do("stages", f"{cell}: profile", self._timing(cell, facts)) or {}
            row |= stages
        return row

    def _correlation(self, cell: Cell) -> float | None:
        """The smallest of the frames' maps with the reference's."""
        reference = Cell(cell.case, "graph", "fp32", "onnxruntime", cell.threads)
        pairs = zip(np.load(self._maps(cell)), np.load(self._maps(reference)), strict=True)
        worst = float(np.min([correlate(a, b) for a, b in pairs]))
        # JSON has no NaN.
        return round(worst, 6) if np.isfinite(worst) else None

    def _timing(self, cell: Cell, facts: Row) -> Row:
        return {
            **self._job(cell.case),
            "model": facts["model"],
            "precision": cell.precision,
            "backend": cell.backend,
            "threads": cell.threads,
            "runs": self.runs,
            "maps": str(self._maps(cell)),
        }

    def _maps(self, cell: Cell) -> Path:
        return cell.case.folder(self.work) / f"maps-{cell.backend}-{cell.precision}.npy"

    def _job(self, case: Case) -> Row:
        return {
            **case.identity,
            "folder": str(case.folder(self.work)),
            "size": case.input.size,
            "frame": case.input.frame,
            "weights": self.weights.get(case.encoder.partition("@")[0]),
        }

    def _data(self, case: Case) -> str:
        return dict(zip(self.datasets, locate(self.data).values(), strict=True))[case.dataset]

    def _facts(self, facts: Row) -> Row:
        known = ("weights", "features", "chosen", "background", "frame", "model")
        return {name: facts[name] for name in known}

    def _do(self, task: str, what: str, job: Row) -> Row | None:
        try:
            return run_job(task, job, work=self.work, threads=self.threads)
        except CellFailedError as error:
            self.failed.append(what)
            say(f"failed, and left out: {what}: {error}")
            return None


def say(line: str) -> None:
    """Tell a person what is going on."""
    print(line, file=sys.stderr, flush=True)
