"""The benchmark's data sets: real ones by folder, and what this project renders itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgefoundad.dataset import Sample, left_out, normals_of, read_test_set
from edgefoundad.demo.dataset import write_dataset
from edgefoundad.demo.kinds import KINDS, write_kind
from edgefoundad.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDGEFOUNDAD_SHARED", ROOT.parent / "shared"))

PARTS = "parts"
FIRST_PARTS_SEED = 100
"""The renderer's difficulty was set on the seeds 0 and 1, the provisional threshold's rule on 0 to
2; these took part in neither."""


@dataclass(frozen=True)
class Prepared:
    """One data set of one cell.

    Attributes:
        shots: a folder with the drawn normal images and nothing else.
        samples: the whole labelled test set.
    """

    name: str
    shots: Path
    samples: Sequence[Sample]


def locate(names: Sequence[str]) -> dict[str, str]:
    """Folders by data set: a name under the shared folder's `data/`, what is rendered, or a path.

    Returns:
        Folders by the names that rows carry; a path's last part is its name, `parts` and kinds of
        rendered parts have none.

    Raises:
        InputError: a folder is missing, or two data sets have one name.
    """
    found: dict[str, str] = {}
    for given in names:
        shared = SHARED / "data" / given
        path = shared if len(Path(given).parts) == 1 and shared.is_dir() else Path(given)
        if given in (PARTS, *KINDS) and not path.is_dir():
            name, folder = given, ""
        elif path.is_dir():
            name, folder = path.resolve().name, str(path.resolve())
        else:
            raise InputError(
                f"found no data set {given!r}; expected a folder, or a name in {SHARED / 'data'}: "
                "put it there, or set EDGEFOUNDAD_SHARED"
            )
        if name in found:
            raise InputError(f"found two data sets named {name}: rename the folder of one")
        found[name] = folder
    return found


def prepare(name: str, folder: str, scratch: Path, *, shots: int, seed: int) -> Prepared:
    """Draw the shots of one cell, the same ones for every method.

    Raises:
        InputError: the folder is no data set, or holds fewer normals than shots.
    """
    source = Path(folder)
    if not folder:
        source, own = scratch / "rendered", FIRST_PARTS_SEED + seed
        if name == PARTS:
            write_dataset(source, shots=shots, seed=own)
        else:
            write_kind(source, name, shots=shots, n_good=60, n_per_defect=12, seed=own)
    target = scratch / "shots" / name
    target.mkdir(parents=True)
    drawn = draw(normals_of(source), shots=shots, seed=seed)
    for path in drawn:
        shutil.copy(path, target)
    # A layout without a training set of its own draws from the good images that it tests on.
    return Prepared(name, target, left_out(read_test_set(source), drawn))


def draw(files: Sequence[Path], *, shots: int, seed: int) -> list[Path]:
    """Draw the normal images of one run.

    Args:
        files: in natural order.
        shots: how many.
        seed: of the draw.

    Raises:
        InputError: there are fewer files than shots.
    """
    if len(files) < shots:
        raise InputError(
            f"found {len(files)} normal images in {files[0].parent if files else 'the data set'}; "
            f"expected at least {shots}: ask for fewer shots"
        )
    return [files[i] for i in np.random.default_rng(seed).permutation(len(files))[:shots]]


def weights_of(models: Mapping[str, str]) -> dict[str, str]:
    """Weights that lie in the shared folder, by encoder; those of record elsewhere.

    Args:
        models: timm's names, by encoder.
    """
    found = {}
    for encoder, model in models.items():
        files = sorted((SHARED / "weights").glob(f"{model.partition('.')[0]}.*"))
        if files:
            found[encoder] = str(files[0].resolve())
    return found
