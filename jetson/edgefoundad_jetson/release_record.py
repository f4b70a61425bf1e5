"""Which releases a station has: one small file, so that each change of it is one rename."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgefoundad import state
from edgefoundad.errors import InputError

LONGEST_HISTORY = 200

ReleaseHash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
"""The start of a bundle's hash, which names its folder."""


class Event(BaseModel):
    """Something that became of a release.

    Attributes:
        at: UTC, ISO 8601.
        signer: who vouched for it; None where nobody was asked to.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: str
    what: Literal["staged", "refused", "promoted", "confirmed", "rolled back"]
    release: ReleaseHash
    why: str | None = None
    signer: str | None = None


class ReleaseRecord(BaseModel):
    """Where a station stands.

    Attributes:
        current: what it runs, or takes up at its next start; None before the first deploy.
        previous: what it goes back to: the last one that was confirmed before.
        starts: how often the current one was taken up while on trial; None once confirmed.
        history: what happened, oldest first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    current: ReleaseHash | None = None
    previous: ReleaseHash | None = None
    starts: Annotated[int, Field(ge=0)] | None = None
    history: list[Event] = Field(default_factory=list)

    @property
    def on_trial(self) -> bool:
        """Whether the current release still has to prove itself."""
        return self.starts is not None

    @classmethod
    def read(cls, path: Path) -> ReleaseRecord:
        """The record; an empty one where there is none yet.

        Raises:
            InputError: it is damaged, or cannot be read.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from None
        except ValidationError as error:
            raise InputError(
                f"{path} is damaged ({error.errors()[0]['msg']}): remove it and deploy again"
            ) from None

    def write(self, path: Path) -> None:
        """Put it in place in one step.

        Raises:
            InputError: the place cannot be written to.
        """
        state.write_json(path, self.model_dump(mode="json"))

    def promoted(self, release: str) -> ReleaseRecord:
        """With another current release, which is on trial."""
        if release == self.current:
            return self
        # What was itself still on trial is nothing to go back to, unless there is nothing else.
        proven = (self.previous if self.on_trial else None) or self.current
        return self._with(
            Event(at=_now(), what="promoted", release=release),
            current=release,
            previous=None if proven == release else proven,
            starts=0,
        )

    def rolled_back(self, why: str) -> ReleaseRecord:
        """With the previous release as the current one; nothing lies behind that."""
        assert self.current
        return self._with(
            Event(at=_now(), what="rolled back", release=self.current, why=why),
            current=self.previous,
            previous=None,
            starts=None,
        )

    def confirmed(self) -> ReleaseRecord:
        """With the current release past its trial."""
        assert self.current
        event = Event(at=_now(), what="confirmed", release=self.current)
        return self._with(event, starts=None)

    def started(self) -> ReleaseRecord:
        """With one more start of the release on trial."""
        return self.model_copy(update={"starts": (self.starts or 0) + 1})

    def noted(
        self,
        what: Literal["staged", "refused"],
        release: str,
        *,
        why: str | None,
        signer: str | None,
    ) -> ReleaseRecord:
        """With something that changes nothing of what runs."""
        return self._with(Event(at=_now(), what=what, release=release, why=why, signer=signer))

    def _with(self, event: Event, **changes: str | int | None) -> ReleaseRecord:
        history = [*self.history, event][-LONGEST_HISTORY:]
        return self.model_copy(update={**changes, "history": history})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
