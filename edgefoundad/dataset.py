"""Labelled images in the three layouts that data sets of defects come in."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.images import SUFFIXES, decode, list_images

GOOD = "good"
BAD = "bad"

LAYOUTS = (
    "MVTec's (test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png), "
    "VisA's (Data/Images/Normal, Data/Images/Anomaly, Data/Masks/Anomaly/<name>.png) or "
    "a flat one (good/, bad/ or bad/<defect>/, masks/<name>.png)"
)

Layout = Literal["mvtec", "visa", "flat"]


@dataclass(frozen=True)
class Sample:
    """One labelled image.

    Attributes:
        path: the image.
        defect: the kind of defect, None for a good part.
        mask: the file with its defective pixels, None for a good part or where there is none.
    """

    path: Path
    defect: str | None
    mask: Path | None

    def read_mask(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """The defective pixels: bool [H, W]; all False for a good part.

        Any value but zero marks a defect: VisA's masks hold the small numbers of its classes.

        Args:
            shape: height and width of the image.

        Raises:
            InputError: the mask cannot be decoded, has another size than its image, or marks
                nothing.
        """
        if self.mask is None:
            return np.zeros(shape, bool)
        # At its own depth and in its own colours: made 8-bit grey, small numbers of 16 bits and
        # dark colours of a palette would be 0.
        pixels = decode(self.mask, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR)
        mask = pixels > 0 if pixels.ndim == 2 else (pixels[..., :3] > 0).any(axis=2)
        if mask.shape != shape:
            raise InputError(
                f"mask {self.mask} is {mask.shape[1]}x{mask.shape[0]}, its image "
                f"{shape[1]}x{shape[0]}: masks must have their image's size"
            )
        if not mask.any():
            raise InputError(
                f"mask {self.mask} marks no pixel, and its image is listed as {self.defect}: "
                "draw the defect, or remove the mask"
            )
        return np.asarray(mask)


def read_test_set(folder: Path) -> list[Sample]:
    """List the labelled images of a data set (one category of it), good ones first.

    - MVTec: everything under `test/`.
    - VisA: the images that `split_csv/1cls.csv`, beside the category's folder, lists as test; all
      images where that file is absent or does not name the category.
    - flat: everything under `good/` and `bad/`; a folder inside of `bad/` is a kind of defect.
      Masks are `masks/<name>.png` or `masks/<defect>/<name>.png`, where there are any.

    Raises:
        InputError: the folder has none of the three layouts, holds no labelled image, or a folder
            of a kind holds no image.
    """
    layout = _layout_of(folder)
    if layout == "mvtec":
        return _mvtec_test_set(folder)
    samples = _visa_test_set(folder) if layout == "visa" else _flat_test_set(folder)
    if not samples:
        raise InputError(f"found no labelled image in {folder}; expected {LAYOUTS}")
    return samples


def normals_of(folder: Path) -> list[Path]:
    """List the good images of a data set (one category of it) that a detector may be fitted on.

    - MVTec: `train/good/`.
    - VisA: the normal images that `split_csv/1cls.csv` lists as train; all of them where that file
      is absent or does not name the category.
    - flat: `train/good/`, or `train/`; without either, `good/`.

    Where a data set keeps no normals apart (see `keeps_normals_apart`) these are the good images of
    the test set too, and whoever fits on some of them takes them out of it with `left_out`.

    Raises:
        InputError: the folder has none of the three layouts, or no good image to fit on.
    """
    layout = _layout_of(folder)
    if layout == "mvtec":
        return list_images(folder / "train" / GOOD)
    if layout == "flat":
        return list_images(_flat_train(folder) or folder / GOOD)
    split = _visa_split(folder)
    images = list_images(_visa_images(folder, "Normal"))
    found = [p for p in images if split is None or split.get(("Normal", p.name)) == "train"]
    if not found:
        raise InputError(
            f"{_visa_csv(folder)} lists no training image that is in {folder}: "
            "copy the data set again, or remove that file"
        )
    return found


def keeps_normals_apart(folder: Path) -> bool:
    """Whether the images of `normals_of` are others than those of `read_test_set`.

    Raises:
        InputError: the folder has none of the three layouts.
    """
    layout = _layout_of(folder)
    if layout == "flat":
        return _flat_train(folder) is not None
    return layout == "mvtec" or _visa_split(folder) is not None


def left_out(samples: Iterable[Sample], fitted: Iterable[Path]) -> list[Sample]:
    """The labelled images that took no part in a fit on the given files."""
    used = {path.resolve() for path in fitted}
    return [sample for sample in samples if sample.path.resolve() not in used]


def _layout_of(folder: Path) -> Layout:
    if (folder / "test").is_dir():
        return "mvtec"
    if (folder / "Data" / "Images").is_dir():
        return "visa"
    if (folder / GOOD).is_dir() or (folder / BAD).is_dir():
        return "flat"
    if (folder / "train" / GOOD).is_dir():
        return "mvtec"
    if not folder.is_dir():
        found = f"a file at {folder}" if folder.exists() else f"no folder {folder}"
    else:
        inside = _folders(folder)
        few = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "")
        found = f"{few or 'no folder'} in {folder}"
    raise InputError(f"found {found}; expected one category of a data set in one layout: {LAYOUTS}")


def _folders(folder: Path) -> list[str]:
    try:
        return sorted(p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error.strerror}: check its permissions") from None


def _mask_of(image: Path, *folders: Path) -> Path | None:
    for folder in folders:
        for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
            if (folder / name).is_file():
                return folder / name
    return None


def _mvtec_test_set(folder: Path) -> list[Sample]:
    test = folder / "test"
    kinds = _folders(test) if test.is_dir() else []
    if not kinds:
        raise InputError(f"found no folder of labelled images in {test}; expected {LAYOUTS}")
    good = list_images(test / GOOD) if GOOD in kinds else []
    samples = [Sample(path, None, None) for path in good]
    for kind in kinds:
        if kind != GOOD:
            masks = folder / "ground_truth" / kind
            samples += [Sample(p, kind, _mask_of(p, masks)) for p in list_images(test / kind)]
    return samples


def _visa_images(folder: Path, label: Literal["Normal", "Anomaly"]) -> Path:
    return folder / "Data" / "Images" / label


def _visa_csv(folder: Path) -> Path:
    return folder.resolve().parent / "split_csv" / "1cls.csv"


def _visa_split(folder: Path) -> dict[tuple[str, str], str] | None:
    """Folder and name of each image → "train" or "test"; None where nothing splits the category."""
    file, category = _visa_csv(folder), folder.resolve().name
    if not file.is_file():
        return None
    split = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for row in csv.DictReader(stream):
                if row["object"] == category:
                    image = PurePosixPath(row["image"])
                    split[image.parent.name, image.name] = row["split"]
    except (KeyError, TypeError, ValueError, csv.Error, OSError) as error:
        raise InputError(
            f"cannot read {file} ({error}); expected the columns object, split, label, image and "
            "mask: copy it again, or remove it to use every image"
        ) from None
    return split or None


def _visa_test_set(folder: Path) -> list[Sample]:
    split = _visa_split(folder)
    masks = folder / "Data" / "Masks" / "Anomaly"
    samples = []
    labels: tuple[tuple[Literal["Normal", "Anomaly"], str | None], ...]
    labels = (("Normal", None), ("Anomaly", "anomaly"))
    for label, defect in labels:
        images = _visa_images(folder, label)
        for path in list_images(images) if images.is_dir() else []:
            if split is None or split.get((label, path.name)) == "test":
                mask = _mask_of(path, masks) if defect else None
                samples.append(Sample(path, defect, mask))
    return samples


def _flat_train(folder: Path) -> Path | None:
    candidates = (folder / "train" / GOOD, folder / "train")
    return next((path for path in candidates if path.is_dir()), None)


def _flat_test_set(folder: Path) -> list[Sample]:
    good, bad, masks = folder / GOOD, folder / BAD, folder / "masks"
    samples = [Sample(p, None, None) for p in list_images(good)] if good.is_dir() else []
    if not bad.is_dir():
        return samples
    kinds = _folders(bad)
    defective = [(path, kind) for kind in kinds for path in list_images(bad / kind)]
    if not kinds or any(path.suffix.lower() in SUFFIXES for path in bad.iterdir()):
        defective = [*((path, BAD) for path in list_images(bad)), *defective]
    # Two kinds may use one name; a mask beside the kinds' folders is then nobody's.
    once = {stem for stem, n in Counter(path.stem for path, _ in defective).items() if n == 1}
    for path, kind in defective:
        places = (masks / kind, masks) if path.stem in once else (masks / kind,)
        samples.append(Sample(path, kind, _mask_of(path, *places)))
    return samples
