"""A Jetson's power mode and clocks."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgefoundad_jetson.doctor.case import Case
from edgefoundad_jetson.doctor.finding import Finding


def examine(case: Case) -> Iterator[Finding]:
    """The power mode, and whether the GPU's clock is left to sink."""
    if case.l4t is None:
        return
    yield from _mode(case)
    yield from _clocks(case)


def _mode(case: Case) -> Iterator[Finding]:
    found = re.search(r"NV Power Mode: *(\S+)", case.ask("nvpmodel", "-q") or "")
    if not found:
        yield Finding(
            "power",
            "note",
            "the power mode is not known",
            "a lower mode makes every frame slower",
            "sudo nvpmodel -q",
        )
    elif found[1].startswith("MAXN"):
        yield Finding("power", "ok", f"power mode {found[1]}")
    else:
        best = _best(case.text("/etc/nvpmodel.conf") or "")
        yield Finding(
            "power",
            "warning",
            f"power mode {found[1]}" + (f"; {best[1]} would be faster" if best else ""),
            "cores are switched off and clocks held down: every frame takes longer",
            f"sudo nvpmodel -m {best[0] if best else 0}",
        )


def _best(text: str) -> tuple[str, str] | None:
    """Number and name of the highest mode."""
    modes = re.findall(r"POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)", text)
    return next((one for one in reversed(modes) if one[1].startswith("MAXN")), None)


def _clocks(case: Case) -> Iterator[Finding]:
    folder = case.path("/sys/class/devfreq")
    for gpu in sorted({*folder.glob("*gpu*"), *folder.glob("*.ga10b")}):
        name = f"/sys/class/devfreq/{gpu.name}"
        low, high = case.text(f"{name}/min_freq"), case.text(f"{name}/max_freq")
        if not (low and high and low.isdecimal() and high.isdecimal()):
            continue
        if low == high:
            yield Finding("clocks", "ok", f"the GPU is held at {int(high) / 1e6:.0f} MHz")
        else:
            yield Finding(
                "clocks",
                "note",
                f"the GPU runs between {int(low) / 1e6:.0f} and {int(high) / 1e6:.0f} MHz",
                "after a pause the first frames take longer, until its clock is up",
                "sudo systemctl enable --now edgefoundad-clocks",
            )
