"""Image files as cameras, phones and broken copies write them."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from edgefoundad.errors import InputError
from edgefoundad.images import (
    CHANNELS,
    is_grey,
    list_images,
    read_image,
    to_channels,
)

Rgb = NDArray[np.uint8]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def scene(height: int = 40, width: int = 56) -> Rgb:
    """Coloured blocks with a little noise: every row differs, so that a lost one shows."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 250, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = np.kron(blocks, np.ones((8, 8, 1), np.uint8))
    return (picture + rng.integers(0, 6, picture.shape)).astype(np.uint8)


def encode(rgb: Rgb, suffix: str, *options: int) -> bytes:
    ok, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), list(options))
    assert ok
    return data.tobytes()


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def with_exif(jpeg: bytes, *, orientation: int, thumbnail: bytes = b"") -> bytes:
    """Put an APP1 segment behind the start marker: IFD0 with the rotation, IFD1 the thumbnail."""
    ifd0 = struct.pack(">HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 26 if thumbnail else 0)
    tiff = b"MM\x00*\x00\x00\x00\x08" + ifd0
    if thumbnail:
        after = 26 + 2 + 2 * 12 + 4
        tiff += struct.pack(">H", 2)
        tiff += struct.pack(">HHII", 0x0201, 4, 1, after)
        tiff += struct.pack(">HHII", 0x0202, 4, 1, len(thumbnail))
        tiff += struct.pack(">I", 0) + thumbnail
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png_chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def test_8_bit_colour_comes_back_as_rgb(tmp_path: Path) -> None:
    picture = scene()
    assert np.array_equal(read_image(write(tmp_path / "a.png", encode(picture, ".png"))), picture)
    for name in ("b.bmp", "c.tif", "d.png"):
        write(tmp_path / name, encode(picture, Path(name).suffix))
        assert np.array_equal(read_image(tmp_path / name), picture)


def test_16_bit_values_are_scaled_to_8(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 128 * 257, 65535, 128, 129, 40000]], np.uint16)
    wanted = np.array([[0, 1, 128, 255, 0, 1, 156]], np.uint8)
    cv2.imwrite(str(tmp_path / "grey.png"), deep)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.stack([wanted] * 3, axis=2))
    zero = np.zeros_like(deep)
    cv2.imwrite(str(tmp_path / "colour.png"), np.stack([zero, deep, 65535 - zero], axis=2))
    colour = read_image(tmp_path / "colour.png")
    assert np.array_equal(colour, np.stack([zero + 255, wanted, zero], axis=2))


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = scene()[..., 0]
    cv2.imwrite(str(tmp_path / "g.png"), grey)
    read = read_image(tmp_path / "g.png")
    assert is_grey(read)
    assert np.array_equal(read[..., 1], grey)
    assert not is_grey(scene())


def test_alpha_is_dropped_and_never_blends(tmp_path: Path) -> None:
    picture = scene()
    alpha = np.full((*picture.shape[:2], 1), 3, np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), np.concatenate([picture[..., ::-1], alpha], axis=2))
    assert np.array_equal(read_image(tmp_path / "a.png"), picture)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 3), (8, 1)])
def test_an_exif_rotation_is_applied(tmp_path: Path, orientation: int, turns: int) -> None:
    jpeg = encode(scene(), ".jpg")
    upright = read_image(write(tmp_path / "plain.jpg", jpeg))
    turned = read_image(write(tmp_path / "t.jpg", with_exif(jpeg, orientation=orientation)))
    assert np.array_equal(turned, np.rot90(upright, turns))


JPEGS = {
    "baseline": encode(scene(), ".jpg"),
    "progressive": encode(scene(), ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts": encode(scene(), ".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    "thumbnail": with_exif(
        encode(scene(), ".jpg"), orientation=1, thumbnail=encode(scene(16, 24), ".jpg")
    ),
}


@pytest.mark.parametrize("kind", list(JPEGS))
def test_a_truncated_jpeg_is_refused_wherever_it_was_cut(tmp_path: Path, kind: str) -> None:
    data = JPEGS[kind]
    path = tmp_path / "cut.jpg"
    read_image(write(path, data))
    rng = np.random.default_rng(len(data))
    # The last bytes one by one: there a decoder is content with what it has.
    for cut in {*rng.integers(3, len(data), 60).tolist(), *range(len(data) - 12, len(data))}:
        with pytest.raises(InputError, match="truncated"):
            read_image(write(path, data[:cut]))


def test_a_truncated_png_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    data = encode(scene(), ".png")
    # A comment that holds the name of the last chunk.
    data = data[:33] + png_chunk(b"tEXt", b"Comment\x00IEND") + data[33:]
    path = tmp_path / "cut.png"
    read_image(write(path, data))
    rng = np.random.default_rng(1)
    for cut in {*rng.integers(9, len(data), 60).tolist(), *range(len(data) - 20, len(data)), 60}:
        with pytest.raises(InputError, match="truncated"):
            read_image(write(path, data[:cut]))


@pytest.mark.parametrize("suffix", [".bmp", ".tif", ".webp"])
def test_other_formats_cut_short_decode_whole_or_are_refused(tmp_path: Path, suffix: str) -> None:
    data = encode(scene(), suffix)
    path = tmp_path / f"cut{suffix}"
    whole = read_image(write(path, data))
    for cut in range(1, len(data), len(data) // 40):
        try:
            read = read_image(write(path, data[:cut]))
        except InputError:
            continue
        assert np.array_equal(read, whole)


def test_what_a_phone_appends_to_a_photo_does_no_harm(tmp_path: Path) -> None:
    jpeg = encode(scene(), ".jpg")
    # A motion photo's film: bytes that look like a start of scan, and no end marker behind them.
    film = b"\x00\x00\x00\x18ftypmp42" + b"\xff\xda\x12" * 50
    whole = read_image(write(tmp_path / "still.jpg", jpeg))
    assert np.array_equal(read_image(write(tmp_path / "motion.jpg", jpeg + film)), whole)
    png = encode(scene(), ".png")
    assert np.array_equal(read_image(write(tmp_path / "long.png", png + bytes(500))), scene())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xd9",
        PNG_SIGNATURE,
        PNG_SIGNATURE + png_chunk(b"IEND", b""),
        PNG_SIGNATURE
        + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0))
        + png_chunk(b"IEND", b""),
        b"these are notes about the parts\n" * 20,
        bytes(4096),
    ],
    ids=[
        "empty",
        "1 byte",
        "start",
        "start+end",
        "signature",
        "no pixels",
        "huge",
        "text",
        "zeros",
    ],
)
def test_a_file_that_is_no_image_is_one_clear_error(tmp_path: Path, data: bytes) -> None:
    for name in ("a.png", "a.jpg"):
        with pytest.raises(InputError, match=name):
            read_image(write(tmp_path / name, data))


def test_a_float_tiff_is_refused_with_its_type(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "f.tif"), np.linspace(0, 1, 48, dtype=np.float32).reshape(6, 8))
    with pytest.raises(InputError, match="float32"):
        read_image(tmp_path / "f.tif")


def test_a_file_that_cannot_be_read_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for path in (tmp_path / "folder.png", tmp_path / "none.png", tmp_path / ("n" * 300 + ".png")):
        with pytest.raises(InputError, match="cannot read"):
            read_image(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_without_permission_are_one_clear_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.png", encode(scene(), ".png"))
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        read_image(path)
    tmp_path.chmod(0)
    try:
        with pytest.raises(InputError, match="Permission denied"):
            list_images(tmp_path)
    finally:
        tmp_path.chmod(0o755)


def test_images_are_listed_in_natural_order(tmp_path: Path) -> None:
    ordered = ["1.png", "01.png", "2.JPG", "10.jpeg", "10²5.webp", "a2.png", "A10.bmp", "a10.bmp"]
    for name in reversed(ordered):
        write(tmp_path / name, b"")
    listed = [path.name for path in list_images(tmp_path)]
    # Equal as numbers or but for their case: the order must still be the same every time.
    assert listed == ["01.png", *ordered[:1], *ordered[2:]]


def test_hidden_files_folders_and_other_files_are_skipped(tmp_path: Path) -> None:
    for name in ("b.png", ".hidden.png", "._b.png", "notes.txt", "png"):
        write(tmp_path / name, b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").symlink_to(tmp_path / "gone.png")
    assert [path.name for path in list_images(tmp_path)] == ["b.png"]


def test_folders_without_images_are_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        list_images(tmp_path / "missing")
    with pytest.raises(InputError, match="no image"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="expected a folder"):
        list_images(write(tmp_path / "a.png", b""))
    with pytest.raises(InputError, match="too long"):
        list_images(tmp_path / ("n" * 300))


PLACES = {"bgr": (2, 1, 0), "bgrx": (2, 1, 0), "rgb": (0, 1, 2), "rgba": (0, 1, 2)}


def test_channel_orders_put_each_colour_where_they_say() -> None:
    for colour in range(3):
        rgb = np.zeros((3, 5, 3), np.uint8)
        rgb[..., colour] = 255
        for channels, place in PLACES.items():
            frame = to_channels(rgb, channels)
            wanted = np.zeros((3, 5, CHANNELS[channels]), np.uint8)
            wanted[..., place[colour]] = 255
            wanted[..., 3:] = 255
            assert np.array_equal(frame, wanted)
        grey = to_channels(rgb, "gray")
        assert grey.shape == (3, 5, 1)
        # Rec. 601 luma of pure red, green and blue.
        assert (grey == (76, 150, 29)[colour]).all()


images = hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3)))


@given(images, st.sampled_from(sorted(CHANNELS)))
def test_channel_orders_lose_nothing(rgb: Rgb, channels: str) -> None:
    if channels == "gray":
        rgb = np.repeat(rgb[..., :1], 3, axis=2)
    frame = to_channels(rgb, channels)
    assert frame.shape == (*rgb.shape[:2], CHANNELS[channels])
    assert frame.flags.c_contiguous
    assert np.array_equal(frame[..., list(PLACES.get(channels, (0, 0, 0)))], rgb)
