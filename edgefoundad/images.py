"""Image files in and out: whatever a camera or a phone wrote becomes 8-bit RGB."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgefoundad.errors import InputError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

AS_IT_IS = cv2.IMREAD_ANYDEPTH | cv2.IMREAD_ANYCOLOR
"""Flags for `decode`: the depth and the channels that the file has."""

CHANNELS = {"gray": 1, "bgr": 3, "rgb": 3, "bgrx": 4, "rgba": 4}
"""Channel orders that a graph can be exported for, and how many bytes a pixel takes."""


def list_images(folder: Path) -> list[Path]:
    """The image files directly in a folder, in natural order (2 before 10).

    Raises:
        InputError: the folder is missing, is a file, or holds no image.
    """
    try:
        if not folder.exists():
            raise InputError(f"found no folder {folder}: check the path")
        if not folder.is_dir():
            raise InputError(f"found a file at {folder}; expected a folder of images")
        files = [p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file()]
    except OSError as error:
        raise InputError(f"cannot list {folder}: {error.strerror}: check its permissions") from None
    files = [p for p in files if not p.name.startswith(".")]
    if not files:
        raise InputError(
            f"found no image in {folder}; expected files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return sorted(files, key=natural_order)


def natural_order(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """A sorting key by which 2 comes before 10, the same on every file system."""
    parts = re.split(r"(\d+)", path.name)
    # Decimal digits only: "²" is a digit too, but no number. The name itself breaks ties ("1" and
    # "01", "a" and "A"), so that a seed draws the same images on every file system.
    order = [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts if p]
    return order, path.name


def read_image(path: Path) -> NDArray[np.uint8]:
    """Decode an image file.

    8- and 16-bit, grey, colour and with alpha are taken (16 bits are scaled by 1/257, alpha is
    dropped, an EXIF rotation is applied).

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: the file cannot be read, is cut short, or is no image.
    """
    return to_rgb8(path, decode(path, AS_IT_IS))


def decode(path: Path, flags: int) -> NDArray[Any]:
    """Decode a whole image file, or none of it.

    Args:
        path: the file.
        flags: OpenCV's `IMREAD_` flags.

    Returns:
        what the flags ask for, channels in OpenCV's order.

    Raises:
        InputError: the file cannot be read, is cut short, or is no image.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    _refuse_truncated(path, data)
    buffer = np.frombuffer(data, np.uint8)
    try:
        image = cv2.imdecode(buffer, flags) if data else None
    except cv2.error as error:
        raise InputError(f"cannot decode {path}: {error.err}: save it again or remove it") from None
    if image is None:
        raise InputError(f"{path} is not an image that can be decoded: save it again or remove it")
    return image


def _refuse_truncated(path: Path, data: bytes) -> None:
    """Refuse files that end early: some decoders fill the missing rows with grey, silently."""
    if data.startswith(b"\xff\xd8"):
        complete = _jpeg_is_whole(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        complete = _png_is_whole(data)
    else:
        return
    if not complete:
        raise InputError(f"{path} ends before its image does (truncated): copy it again")


_JPEG_SEGMENT = re.compile(rb"\xff[^\x00\x01\xd0-\xd7\xff]")
"""A marker that has a length, or ends the image: no stuffed byte of a scan, restart or fill."""

_JPEG_END = 0xD9


def _jpeg_is_whole(data: bytes) -> bool:
    # Segment by segment: bytes that look like an end marker also lie in an embedded thumbnail, and
    # in the film that some phones append to a photo.
    at = 2
    while marker := _JPEG_SEGMENT.search(data, at):
        at = marker.end()
        if data[at - 1] == _JPEG_END:
            return True
        at += int.from_bytes(data[at : at + 2], "big")
    return False


def _png_is_whole(data: bytes) -> bool:
    at = 8
    while at + 8 <= len(data):
        kind = data[at + 4 : at + 8]
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        if kind == b"IEND":
            return at <= len(data)
    return False


def to_rgb8(path: Path, image: NDArray[Any]) -> NDArray[np.uint8]:
    """What `decode` made of an image file as `read_image` gives it.

    Raises:
        InputError: it has neither 8 nor 16 bits per channel.
    """
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise InputError(f"{path} has {image.dtype} pixels; expected 8 or 16 bits per channel")
    if image.ndim == 2 or image.shape[2] == 1:
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), np.uint8)
    code = cv2.COLOR_BGRA2RGB if image.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(image, code), np.uint8)


def is_grey(rgb: NDArray[np.uint8]) -> bool:
    """Whether an RGB image holds no colour: its channels are equal."""
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def to_channels(rgb: NDArray[np.uint8], channels: str) -> NDArray[np.uint8]:
    """Lay an RGB image out as the frames of a graph.

    Args:
        rgb: uint8 [H, W, 3].
        channels: a key of `CHANNELS`.

    Returns:
        uint8 [H, W, C], contiguous; a fourth channel is 255.
    """
    if channels == "rgb":
        return np.ascontiguousarray(rgb)
    codes = {
        "gray": cv2.COLOR_RGB2GRAY,
        "bgr": cv2.COLOR_RGB2BGR,
        "bgrx": cv2.COLOR_RGB2BGRA,
        "rgba": cv2.COLOR_RGB2RGBA,
    }
    out = np.asarray(cv2.cvtColor(rgb, codes[channels]), np.uint8)
    return out.reshape(*rgb.shape[:2], CHANNELS[channels])
