"""A root that boots, what is brought to it, and where its figures go."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgefoundad.archive import pack
from edgefoundad.bundle import Bundle
from edgefoundad.signing import PrivateKey
from tests import forged_archives
from tests.system.booted_root import BootedRoot

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = "EDGEFOUNDAD_SYSTEM_RESULTS"


@pytest.fixture(scope="module")
def figures() -> Iterator[dict[str, Any]]:
    """What was measured; written to the folder that $EDGEFOUNDAD_SYSTEM_RESULTS names, if any."""
    found: dict[str, Any] = {}
    yield found
    folder = os.environ.get(RESULTS)
    if folder:
        Path(folder, "booted_station.json").write_text(json.dumps(found, indent=1) + "\n")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedRoot]:
    """A fresh Debian, booted; it is gone afterwards."""
    made = BootedRoot.make(tmp_path_factory.mktemp("system") / "root")
    try:
        made.boot()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def kit(
    root: BootedRoot, tmp_path_factory: pytest.TempPathFactory, bundles: dict[str, Path]
) -> Path:
    """What a technician brings, in the root's /root: the repository, bundles and a key."""
    place = root.place("/root")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (REPOSITORY / name).is_file():
            (place / "edgefoundad" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, place / "edgefoundad" / name)
    for source in bundles.values():
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, place / source.name)
    return Path("/root")


@pytest.fixture(scope="module")
def bundles(
    exported: Path,
    parts: Path,
    tmp_path_factory: pytest.TempPathFactory,
    alter_weight: Callable[[Path, float], float],
) -> dict[str, Path]:
    """Packed bundles and what belongs to them, by what is the matter with them."""
    place = tmp_path_factory.mktemp("bundles-of-a-station")
    maker, stranger = PrivateKey.new(), PrivateKey.new()

    def packed(folder: Path, name: str, key: PrivateKey | None = maker) -> Path:
        file = place / f"{name}.efad"
        pack(Bundle.open(folder), file, key=key)
        return file

    altered = Path(shutil.copytree(exported, place / "altered" / "flange"))
    alter_weight(altered, 0.05)
    (place / "team.pub").write_bytes(maker.public.to_pem())
    good = place / "good-parts"
    draw(good, seed=11, count=24)
    another = draw(place / "new-parts", seed=12, count=4)
    small = draw(place / "small-parts", seed=13, count=4, size=(512, 384))
    made = {
        "first": packed(exported, "first"),
        "second": packed(fitted(another, place / "second" / "flange"), "second"),
        "size": packed(fitted(small, place / "size" / "flange"), "size"),
        "altered": packed(altered, "altered"),
        "unsigned": packed(exported, "unsigned", None),
        "stranger": packed(exported, "stranger", stranger),
    }
    content = bytearray(made["second"].read_bytes())
    content[len(content) // 2] ^= 1
    (place / "tampered.efad").write_bytes(content)
    tampered = place / "tampered.efad"
    forged = forged_archives.forge(Bundle.open(exported), place / "forged", maker)
    return {**made, **forged, "tampered": tampered, "key": place / "team.pub", "good": good}


def draw(folder: Path, *, seed: int, count: int, size: tuple[int, int] | None = None) -> Path:
    """Good parts, rendered; in another size than they are drawn in, where one is given."""
    from edgefoundad.demo.dataset import write_dataset

    whole = folder.with_name(folder.name + ".whole")
    write_dataset(whole, shots=count, n_good=1, n_per_defect=1, seed=seed)
    shutil.move(whole / "train" / "good", folder)
    shutil.rmtree(whole)
    for file in folder.iterdir() if size else ():
        assert cv2.imwrite(str(file), cv2.resize(cv2.imread(str(file)), size))
    return folder


def fitted(parts: Path, folder: Path) -> Path:
    """A bundle of the same make as `exported`."""
    from edgefoundad.training.fit import FitSettings, fit
    from edgefoundad_export.export import export

    folder.parent.mkdir()
    fit(parts, folder, FitSettings(encoder="efficientnet-lite0", projector="memory", size=224))
    export(folder)
    return folder
