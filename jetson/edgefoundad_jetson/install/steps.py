"""What is done to a machine, step by step: each command is run, or only printed."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgefoundad.errors import GateError, InputError, LostError
from edgefoundad_jetson.address import redacted

_ERRORS: dict[int, type[Exception]] = {3: GateError, 4: LostError}
"""What an exit code of `edgefoundad` means; with any other the input was wrong."""


class Steps:
    """Runs commands and says which step they are of.

    Attributes:
        dry: they are printed, and nothing is changed.
    """

    def __init__(self, *, dry: bool) -> None:
        self.dry = dry
        self._now = self._advice = ""

    def begin(self, now: str, advice: str) -> None:
        """Begin a step.

        Args:
            now: what it does.
            advice: what to do where it fails.
        """
        self._now, self._advice = now, advice
        print(f"==> {now}", flush=True)

    def note(self, line: str) -> None:
        """Say something about the step."""
        print(f"    {line}", flush=True)

    def run(self, *words: str | Path, silent: bool = False, own: bool = False) -> None:
        """Run a command; its errors are shown.

        Args:
            words: of the command.
            silent: what else it says is not.
            own: it is `edgefoundad`, whose exit codes keep their meaning.

        Raises:
            InputError: it failed, or there is none.
            GateError: an own one, and this machine does not say what the PC said.
            LostError: an own one, and something is gone.
        """
        shown = redacted(shlex.join(map(str, words)))
        if self.dry:
            self.note(shown)
            return
        output = subprocess.DEVNULL if silent else None
        try:
            code = subprocess.run(words, stdout=output, check=False).returncode
        except OSError as refused:
            raise InputError(
                f"{self._now}: {words[0]}: {refused.strerror}: {self._advice}"
            ) from None
        if code:
            error = _ERRORS.get(code, InputError) if own else InputError
            raise error(f"{self._now}: `{shown}` ended with code {code}: {self._advice}")

    def write(self, path: Path, text: str) -> None:
        """Write a file that everybody may read, whole or not at all.

        Raises:
            InputError: it cannot be written.
        """
        if self.dry:
            self.note(f"write {path}")
            return
        with self._failing(path):
            path.parent.mkdir(mode=0o755, exist_ok=True)
            descriptor, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(text)
                    os.fchmod(descriptor, 0o644)
                    stream.flush()
                    os.fsync(descriptor)
                os.replace(part, path)
            finally:
                Path(part).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _failing(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self._now}: {path}: {error.strerror}: {self._advice}") from None
