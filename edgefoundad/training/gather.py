"""Reading the normals of one or several categories, and embedding them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from edgefoundad.errors import InputError
from edgefoundad.geometry import Geometry, Size
from edgefoundad.images import list_images
from edgefoundad.training.catalogue import EncoderEntry
from edgefoundad.training.detector import Embedder
from edgefoundad.training.differences import MILD_FEW
from edgefoundad.training.encoder import build_encoder
from edgefoundad.training.features import Features
from edgefoundad.training.material import Camera, Frame, Normal
from edgefoundad.training.normals import draw, read_alike, refuse_twins
from edgefoundad.training.progress import Progress
from edgefoundad.training.recipe import read_levels
from edgefoundad.training.region import views_within
from edgefoundad.training.settings import FitSettings
from edgefoundad.training.views import flipped, turned, views
from edgefoundad.training.weights import Weights

MOST_VIEWED = 12
"""With more shots than this the parts themselves show how they vary, and no views are made."""


@dataclass(frozen=True)
class Category:
    """One folder of good parts.

    Attributes:
        name: the end of the folder's path, as long as it takes to tell it from the others.
        found: images in the folder.
        chosen: to fit on.
        rest: left out of the fit.
        frames: of the chosen, uint8 [H, W, 3].
    """

    folder: Path
    name: str
    found: int
    chosen: list[Path]
    rest: list[Path]
    frames: list[Frame]
    geometry: Geometry


def read_categories(
    folders: Sequence[Path], settings: FitSettings, *, patch: int
) -> list[Category]:
    """List, draw and read the normals of each folder.

    Raises:
        InputError: a folder or an image cannot be used, a folder or a picture comes twice, or
            frames differ in size although a region of interest or the foundad projector is asked
            for.
    """
    categories = []
    for folder, name in zip(folders, _names(folders), strict=True):
        paths = list_images(folder)
        chosen, rest = draw(
            paths, shots=settings.shots, false_alarms=settings.false_alarms, seed=settings.seed
        )
        frames = read_alike(chosen, folder)
        height, width = frames[0].shape[:2]
        geometry = Geometry.plan(
            Size(width, height),
            short_side=settings.size,
            patch=patch,
            roi=settings.roi,
            tiles=settings.tiles,
        )
        categories.append(Category(folder, name, len(paths), chosen, rest, frames, geometry))
    refuse_twins(
        pair
        for category in categories
        for pair in zip(category.chosen, category.frames, strict=True)
    )
    _refuse_unlike(categories, settings)
    return categories


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of the folders' paths that tell them apart."""
    first: dict[Path, Path] = {}
    for folder in folders:
        # Resolved, as two spellings or a link can lead to one folder.
        twin = first.setdefault(folder.resolve(), folder)
        if twin is not folder:
            raise InputError(
                f"found the same folder twice, {twin} and {folder}; expected a folder of its own "
                "for each category: name each once"
            )
    parts = [folder.parts for folder in first]
    lengths = range(1, max(map(len, parts)) + 1)
    ends = (["/".join(own[-length:]) for own in parts] for length in lengths)
    return next(names for names in ends if len(set(names)) == len(names))


def one_shape(geometries: Sequence[Geometry]) -> bool:
    """Whether frames give the encoder inputs of one shape, as the foundad projector needs them."""
    return len({geometry.tile_grid for geometry in geometries}) == 1


def _refuse_unlike(categories: Sequence[Category], settings: FitSettings) -> None:
    """Refuse early what several sizes of frames cannot have."""
    geometries = [category.geometry for category in categories]
    sizes = {geometry.frame for geometry in geometries}
    listed = ", ".join(map(str, sorted(sizes)))
    if settings.roi and len(sizes) > 1:
        raise InputError(
            f"found frames of {listed}; expected one size for --roi, which is in frame pixels: "
            "leave --roi out, or fit one detector for each"
        )
    if settings.projector == "foundad" and not one_shape(geometries):
        raise InputError(
            f"found frames of {listed}; expected one aspect ratio for --projector foundad: choose "
            "--projector auto, or fit one detector for each"
        )


def build_cameras(
    categories: Sequence[Category],
    entry: EncoderEntry,
    block: int | None,
    weights: Weights,
    device: torch.device,
    *,
    compares: bool,
    features: Features,
) -> list[Camera]:
    """One camera for each category; those of one geometry share theirs.

    Args:
        categories: see `read_categories`.
        entry: the encoder.
        block: the block asked for.
        weights: its checkpoint.
        device: where to compute.
        compares: read every level that candidates read, instead of `features` alone.
        features: read where nothing is compared.
    """
    levels = read_levels(entry, block) if compares else features.levels
    wide = Features(levels)
    built: dict[Geometry, Camera] = {}
    for category in categories:
        geometry = category.geometry
        if geometry not in built:
            encoder = build_encoder(entry, features=wide, size=geometry.tile, weights=weights)
            embedder = Embedder(encoder, geometry).to(device)
            built[geometry] = Camera(geometry, embedder, wide, encoder.channels)
    return [built[category.geometry] for category in categories]


def embed_normals(
    categories: Sequence[Category],
    cameras: Sequence[Camera],
    settings: FitSettings,
    progress: Progress,
) -> list[Normal]:
    """Embed the normals with the views that the settings may need."""
    count = sum(len(category.chosen) for category in categories)
    few = count <= MOST_VIEWED
    # Unasked, a subspace takes them of a single normal only, and the trained projector never.
    takes_turned = settings.projector in ("auto", "memory", "blend") or count == 1
    wants_turned = settings.views not in ("auto", "none") or (
        settings.views == "auto" and few and takes_turned
    )
    wants_mild = count == 1 or (settings.projector == "auto" and few)
    normals: list[Normal] = []
    pairs = [
        (index, path, frame)
        for index, category in enumerate(categories)
        for path, frame in zip(category.chosen, category.frames, strict=True)
    ]
    for done, (index, path, frame) in enumerate(pairs):
        progress("embedding normals", done, count)
        camera = cameras[index]
        seen = camera.geometry.seen
        normal = Normal(path, frame, index, camera, camera.embed(frame))
        if wants_mild:
            made = views_within(views, frame, seen)
            # Of a single normal its mirror images too: more like another part than any mild view.
            made = made + views_within(flipped, frame, seen) if count == 1 else made[:MILD_FEW]
            normal.mild = torch.stack([camera.embed(view) for view in made])
        if wants_turned:
            made = views_within(turned, frame, seen) + views_within(flipped, frame, seen)
            normal.turned = torch.stack([camera.embed(view) for view in made])
        normals.append(normal)
    progress("embedding normals", count, count)
    return normals
