"""What one station is told: where frames come from, what judges them, and where verdicts go.

Every field has a description with its unit: the commented file and the JSON schema are made of
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from edgefoundad.errors import InputError
from edgefoundad.manifest import Precision
from edgefoundad_jetson.backoff import Backoff
from edgefoundad_jetson.ladder import BackendName

CURRENT = "current"
"""In the place of a bundle's path: the release that was deployed to this station."""


class Section(BaseModel):
    """A table of the file. Strict: "5" is no number, and "yes" neither true nor false."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class SourceConfig(Section):
    """Where frames come from."""

    uri: str = Field(
        min_length=1,
        description="a path, or a camera's address: `edgefoundad sources` lists the kinds",
        examples=["csi://0"],
    )
    fit: bool = Field(
        default=False, description="letterbox frames of another size, instead of refusing them"
    )
    max_age_ms: float | None = Field(
        default=None,
        ge=1,
        description="milliseconds after which a camera's frame is dropped, if its turn has not "
        "come; not set: none is too old",
        examples=[500.0],
    )
    attempts: int = Field(
        default=0,
        ge=0,
        description="attempts in a row to open a lost source, before the station ends and is "
        "started again; 0: no end",
    )
    wait: bool = Field(
        default=True,
        description="start even if the camera cannot be opened yet, and wait for it",
    )
    options: dict[str, str | bool | int | float] = Field(
        default_factory=dict,
        description="what this kind of source can be told, as `edgefoundad sources` lists it",
        examples=[{"fps": 30}],
    )

    @property
    def words(self) -> dict[str, str]:
        """The options as the kinds of sources take them."""
        return {
            key: str(value).lower() if isinstance(value, bool) else str(value)
            for key, value in self.options.items()
        }

    @property
    def backoff(self) -> Backoff:
        """How a lost source is opened again."""
        return Backoff(attempts=self.attempts or None)


class BackendConfig(Section):
    """What runs the graph."""

    name: Literal["auto"] | BackendName = Field(
        default="auto",
        description="the backend to try first; auto: whatever is best on this machine",
    )
    precision: Literal["auto"] | Precision = Field(
        default="auto",
        description="the graph to try first; auto: the fastest that passes its golden frames",
    )
    strict: bool = Field(
        default=False,
        description="do not start rather than fall back to another backend or precision",
    )

    @property
    def named_precision(self) -> Precision | None:
        """The one that is asked for; None where any will do."""
        return None if self.precision == "auto" else self.precision


class DecisionConfig(Section):
    """What decides over a score."""

    threshold: Literal["calibrated", "bundle"] = Field(
        default="calibrated",
        description="calibrated: set on this machine by `edgefoundad calibrate`, and where there "
        "is none the bundle's; bundle: always the bundle's own",
    )


class JournalConfig(Section):
    """The journal of verdicts."""

    keep: bool = Field(default=True, description="keep a journal at all")
    max_bytes: int = Field(
        default=256 << 20,
        ge=1 << 20,
        description="bytes that the whole journal may take; the oldest verdicts go first",
    )
    fsync_seconds: float = Field(
        default=1.0, gt=0, le=60, description="seconds of verdicts that a power cut may cost"
    )


class RejectsConfig(Section):
    """Pictures of the parts that were rejected."""

    keep: bool = Field(default=True, description="keep pictures at all")
    max_age_days: float = Field(default=30.0, gt=0, description="days after which a picture goes")
    max_count: int = Field(
        default=10_000, ge=1, description="pictures at most; the oldest go first"
    )
    max_bytes: int = Field(
        default=2 << 30, ge=1 << 20, description="bytes that all pictures together may take"
    )


class OutputsConfig(Section):
    """Where verdicts go."""

    metrics_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port for Prometheus, on loopback only; not set: none",
        examples=[9477],
    )
    preview_port: int | None = Field(
        default=None,
        ge=1,
        le=65535,
        description="port for the live picture in a browser, on loopback only; not set: none",
        examples=[8477],
    )
    journal: JournalConfig = Field(default_factory=JournalConfig)
    rejects: RejectsConfig = Field(default_factory=RejectsConfig)


class ServiceConfig(Section):
    """How the service runs."""

    bundle: str = Field(
        default=CURRENT,
        min_length=1,
        description="a bundle's folder; current: the release that `edgefoundad deploy` put there",
    )
    state: str | None = Field(
        default=None,
        description="the folder of engines, calibrations and the journal; not set: the service "
        "manager's, else the user's own",
        examples=["/var/lib/edgefoundad"],
    )
    watchdog_seconds: float | None = Field(
        default=None,
        ge=1,
        description="seconds without a judged frame after which the service manager starts the "
        "station again; not set: what the unit says (10)",
        examples=[10.0],
    )
    idle_seconds: float = Field(
        default=3.0,
        gt=0,
        description="seconds with nothing to judge after which a golden frame is judged, to see "
        "that the backend is alive",
    )
    warm_up: int = Field(
        default=10,
        ge=0,
        le=1000,
        description="golden frames that are judged before the first part, so that clocks are up",
    )
    confirm_frames: int = Field(
        default=50,
        ge=1,
        description="frames without a fault after which a new release stays; before, the station "
        "goes back to the last one by itself",
    )

    @model_validator(mode="after")
    def _in_time(self) -> ServiceConfig:
        if self.watchdog_seconds and self.idle_seconds > self.watchdog_seconds / 2:
            raise ValueError(
                f"idle_seconds ({self.idle_seconds:g}) is more than half of watchdog_seconds "
                f"({self.watchdog_seconds:g}): an idle line would be taken for a hang"
            )
        return self


class StationConfig(Section):
    """One station, as in /etc/edgefoundad/<station>.toml."""

    source: SourceConfig
    backend: BackendConfig = Field(default_factory=BackendConfig)
    decision: DecisionConfig = Field(default_factory=DecisionConfig)
    outputs: OutputsConfig = Field(default_factory=OutputsConfig)
    service: ServiceConfig = Field(default_factory=ServiceConfig)

    @property
    def bundle_path(self) -> Path:
        """The bundle's folder, where the file names one.

        Raises:
            InputError: it asks for the current release, which is a station's.
        """
        if self.service.bundle == CURRENT:
            raise InputError(
                'found bundle = "current", which only a station has: deploy one to it with '
                "`edgefoundad deploy`, or name a bundle's folder in [service]"
            )
        return Path(self.service.bundle)
