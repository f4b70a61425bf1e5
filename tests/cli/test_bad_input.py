"""Bad input: one line, exit code 2, and nothing half-written."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgefoundad import cli

Refuse = Callable[..., str]


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def refuse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Refuse:
    """(*words) → the one line said, after checking that nothing else was said, written or removed.

    In this process, from `main` on, to start torch once and not thirty times; test_commands.py
    starts processes.
    """
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> str:
        before = snapshot(tmp_path)
        monkeypatch.setattr(sys, "argv", ["edgefoundad", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capfd.readouterr()
        assert ended.value.code == 2
        (line,) = said.err.splitlines()
        assert line.startswith("edgefoundad: error: ")
        assert "Traceback" not in line
        assert snapshot(tmp_path) == before
        return line

    return call


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """Three small images that a fit would take."""
    folder = tmp_path / "good"
    folder.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (100, 120, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), noise)
        cv2.imwrite(str(folder / f"{i}.jpg"), noise)
    return folder


def fit_words(folder: Path, *more: object, out: object = "out") -> list[object]:
    return [
        *("fit", folder, "-o", out, "--encoder", "efficientnet-lite0", "--size", 64, "--json"),
        *more,
    ]


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def text_as_image(folder: Path) -> None:
    (folder / "3.png").write_text("this is no image")


def empty_image(folder: Path) -> None:
    (folder / "3.png").touch()


def truncated(folder: Path) -> None:
    whole = (folder / "0.jpg").read_bytes()
    (folder / "0.jpg").write_bytes(whole[: len(whole) * 2 // 3])


def mixed_sizes(folder: Path) -> None:
    cv2.imwrite(str(folder / "3.png"), np.zeros((90, 120, 3), np.uint8))


def only_one_pixel(folder: Path) -> None:
    empty(folder)
    cv2.imwrite(str(folder / "0.png"), np.zeros((1, 1, 3), np.uint8))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (shutil.rmtree, "found no folder"),
        (empty, "found no image in"),
        (text_as_image, "3.png is not an image that can be decoded"),
        (empty_image, "3.png is not an image that can be decoded"),
        (truncated, "0.jpg ends before its image does (truncated)"),
        (mixed_sizes, "mixed sizes in"),
        (only_one_pixel, "found frames of 1x1 pixels; expected at least 32x32"),
    ],
)
def test_images_that_cannot_be_fitted(
    good: Path, refuse: Refuse, spoil: Callable[[Path], None], said: str
) -> None:
    pytest.importorskip("torch")
    spoil(good)
    assert said in refuse(*fit_words(good))


def test_mixed_sizes_are_counted_for_the_person(good: Path, refuse: Refuse) -> None:
    pytest.importorskip("torch")
    mixed_sizes(good)
    line = refuse(*fit_words(good))
    assert "6 of 120x100" in line
    assert "1 of 120x90" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--encoder", "resnet99"), "found encoder 'resnet99'; expected one of dinov2-small"),
        (("--encoder", "dinov2-small@40"), "expected dinov2-small@0 to dinov2-small@11"),
        (("--weights", "nothing.pth"), "found no weights file nothing.pth"),
        (("--weights", "good/0.png"), "ends in '.png'"),
        (("--projector", "magic"), "'magic' is not one of"),
        (("--false-alarms", "0"), "found '0'; expected a rate between 0 and 1"),
        (("--false-alarms", "100%"), "expected a rate between 0 and 1"),
        (("--false-alarms", "-1%"), "expected a rate between 0 and 1"),
        (("--false-alarms", "few"), "expected a rate between 0 and 1"),
        (("--shots", "7"), "found 6 images; expected at least 7"),
        (("--shots", "0"), "--shots"),
        (("--size", "40"), "expected at least 64 px"),
        (("--size", "5"), "--size"),
        (("--seed", "99999999999999999999999"), "--seed"),
        (("--device", "tpu"), "'tpu' is not one of"),
        (("--tiles", "6"), "found the tiles '6'; expected ROWSxCOLUMNS"),
        (("--tiles", "2x-3"), "expected ROWSxCOLUMNS"),
        (("--tiles", "0x3"), "found 0x3 tiles; expected at least 1x1"),
        (("--tiles", "9x8"), "found 9x8 tiles; expected at least 1x1 and at most 64"),
        (("--tiles", "30x1"), "expected tiles that are nearer to a square"),
        (("--roi", ""), "found the region of interest ''; expected left,top,width,height"),
        (("--roi", "0,0,64"), "expected left,top,width,height"),
        (("--roi", "0,0,64,a"), "expected left,top,width,height"),
        (("--roi", "60,0,64,64"), "64x64 at (60, 0), which leaves the frame; the frames are 120x"),
        (("--roi=-1,0,64,64",), "leaves the frame"),
        (("--roi", "0,0,64,31"), "of 64x31 pixels; expected at least 32x32"),
        (("--budget", "0"), "found '0'; expected 1s to 168h, as 90s or 15m"),
        (("--budget", "-5m"), "expected 1s to 168h"),
        (("--budget", "5min"), "expected 1s to 168h"),
        (("--budget", "nan"), "expected 1s to 168h"),
        (("--budget", "169h"), "expected 1s to 168h"),
        (("--views", "flips"), "'flips' is not one of"),
        (("--recipe", "slow"), "'slow' is not one of"),
        (("--recipe", "paper", "--projector", "memory"), "it says how foundad is trained"),
        (("--drop-outliers=3",), "does not take a value"),
        (("--colour",), "No such option"),
    ],
)
def test_options_of_fit(good: Path, refuse: Refuse, words: tuple[str, ...], said: str) -> None:
    pytest.importorskip("torch")
    assert said in refuse(*fit_words(good, *words))


def test_cuda_where_there_is_none(good: Path, refuse: Refuse) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert "use --device cpu" in refuse(*fit_words(good, "--device", "cuda"))


@pytest.fixture
def second(good: Path) -> Path:
    """Three images more, in a folder and a size of their own."""
    folder = good.parent / "second" / "good"
    folder.mkdir(parents=True)
    for i in range(3):
        noise = np.random.default_rng(9 + i).integers(0, 256, (120, 100, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), noise)
    return folder


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ("nothing", "found no folder nothing"),
        ("empty", "found no image in empty"),
        ("good", "found the same folder twice, "),
        ("second/../good", "and second/../good; expected a folder of its own"),
        ("link", "and link; expected a folder of its own"),
        ("good/0.png", "found a file at good/0.png; expected a folder"),
    ],
)
def test_several_folders_of_which_one_cannot_be_used(
    good: Path, second: Path, refuse: Refuse, other: str, said: str
) -> None:
    pytest.importorskip("torch")
    (good.parent / "empty").mkdir()
    (good.parent / "link").symlink_to(good)
    assert said in refuse(*fit_words(good), second, other)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shots", "4"), "found 3 images; expected at least 4 for --shots 4: add images to "),
        (("--roi", "0,0,64,64"), "found frames of 100x120, 120x100; expected one size for --roi"),
        (
            ("--projector", "foundad"),
            "found frames of 100x120, 120x100; expected one aspect ratio for --projector foundad",
        ),
    ],
)
def test_options_that_several_folders_do_not_go_with(
    good: Path, second: Path, refuse: Refuse, words: tuple[str, ...], said: str
) -> None:
    pytest.importorskip("torch")
    line = refuse(*fit_words(good, *words), second)
    assert said in line
    if "--shots" in words:
        assert str(second) in line


def test_one_picture_in_two_folders(good: Path, tmp_path: Path, refuse: Refuse) -> None:
    pytest.importorskip("torch")
    other = tmp_path / "other"
    other.mkdir()
    shutil.copy(good / "1.png", other / "copied.png")
    line = refuse(*fit_words(good), other)
    assert f"{other / 'copied.png'} and {good / '1.png'} are the same picture" in line
    assert "remove one" in line


# Root writes wherever the permissions say no, so places are used that refuse even root.
@pytest.mark.parametrize("place", ["/proc/edgefoundad", "good/0.png/bundle", "/dev/null/bundle"])
def test_an_output_that_cannot_be_written(good: Path, refuse: Refuse, place: str) -> None:
    pytest.importorskip("torch")
    assert "choose another output" in refuse(*fit_words(good, out=place))


def test_an_output_that_exists(good: Path, tmp_path: Path, refuse: Refuse) -> None:
    pytest.importorskip("torch")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years of work")
    assert "add --force" in refuse(*fit_words(good))
    assert "is not a bundle" in refuse(*fit_words(good, "--force"))
    (tmp_path / "file").touch()
    assert "add --force" in refuse(*fit_words(good, out="file"))
    assert "is not a folder" in refuse(*fit_words(good, "--force", out="file"))


# Bundles


def missing(bundle: Path) -> None:
    (bundle / "model.onnx").unlink()


def altered(bundle: Path) -> None:
    data = bytearray((bundle / "model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / "model.onnx").write_bytes(data)


def foreign_version(bundle: Path) -> None:
    change_manifest(bundle, schema_version=99)


def foreign_key(bundle: Path) -> None:
    change_manifest(bundle, wisdom=1)


def no_json(bundle: Path) -> None:
    (bundle / "manifest.json").write_text("{")


def no_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").unlink()


def change_manifest(bundle: Path, **changes: Any) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, **changes}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (missing, "model.onnx is missing"),
        (altered, "model.onnx was altered"),
        (foreign_version, "has manifest schema 99"),
        (foreign_key, "was altered: wisdom"),
        (no_json, "is not JSON"),
        (no_manifest, "is not a bundle"),
        (shutil.rmtree, "found nothing at"),
    ],
)
@pytest.mark.parametrize("command", ["run", "verify", "eval", "report", "export"])
def test_a_bundle_that_is_not_whole(
    bundle: Path,
    parts: Path,
    refuse: Refuse,
    command: str,
    spoil: Callable[[Path], None],
    said: str,
) -> None:
    if command == "export":
        pytest.importorskip("torch")
    spoil(bundle)
    words = {
        "run": [parts / "test/good", "--json"],
        "verify": ["--json"],
        "eval": [parts, "--json", "-"],
        "report": [bundle, "--json"],
        "export": ["--force", "--json"],
    }
    assert said in refuse(command, bundle, *words[command])


def test_golden_frames_of_another_graph(bundle: Path, refuse: Refuse) -> None:
    from edgefoundad import bundle as contract
    from edgefoundad.golden import GoldenFrames
    from edgefoundad.manifest import Manifest

    golden = GoldenFrames.load(bundle / contract.GOLDEN)
    small = GoldenFrames(
        np.ascontiguousarray(golden.frames[:, ::2]), golden.kinds, golden.maps, golden.scores
    )
    small.save(bundle / contract.GOLDEN)
    text = (bundle / contract.MANIFEST).read_text()
    contract.seal(bundle, Manifest.model_validate_json(text))
    assert "takes contiguous uint8" in refuse("verify", bundle, "--json")


# Sources and data sets


def test_frames_that_the_bundle_was_not_exported_for(
    bundle: Path, write_images: Callable[..., Path], refuse: Refuse
) -> None:
    folder = write_images((320, 240))
    line = refuse("run", bundle, folder / "0.png", "--json")
    assert "frames of 320x240; this graph was exported for 640x480" in line
    assert "--frame 320x240" in line


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    def write(*sizes: tuple[int, int]) -> Path:
        folder = tmp_path / "images"
        folder.mkdir()
        for i, (width, height) in enumerate(sizes):
            cv2.imwrite(str(folder / f"{i}.png"), np.full((height, width, 3), 90, np.uint8))
        return folder

    return write


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nothing", None, "found nothing at"),
        ("text.png", b"no image", "is not an image that can be decoded"),
        ("cut.jpg", b"\xff\xd8\xff\xe0\x00\x10JFIF", "truncated"),
    ],
)
def test_a_source_that_cannot_be_judged(
    bundle: Path, tmp_path: Path, refuse: Refuse, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert said in refuse("run", bundle, tmp_path / name, "--json")


def test_a_text_named_as_a_video(
    bundle: Path, tmp_path: Path, edgefoundad: Callable[..., Any]
) -> None:
    # In a process of its own: FFmpeg's log goes past Python to stderr, and its level is set once.
    (tmp_path / "text.mp4").write_text("no video")
    done = edgefoundad("run", bundle, tmp_path / "text.mp4")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("edgefoundad: error: ")
    assert "neither an image nor a video" in line


def test_an_empty_folder_and_a_single_pixel_as_source(
    bundle: Path, tmp_path: Path, write_images: Callable[..., Path], refuse: Refuse
) -> None:
    (tmp_path / "empty").mkdir()
    assert "found no image in" in refuse("run", bundle, tmp_path / "empty", "--json")
    assert "frames of 1x1" in refuse("run", bundle, write_images((1, 1)) / "0.png", "--json")


def test_a_data_set_in_another_layout(bundle: Path, tmp_path: Path, refuse: Refuse) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no folder")
    for name in ("nothing", "empty", "text"):
        for words in (("eval", bundle), ("report", bundle, bundle, "--data")):
            as_json = ["--json", "-"] if words[0] == "eval" else ["--json"]
            line = refuse(*words, tmp_path / name, *as_json)
            assert all(said in line for said in ("test/good", "Data/Images/Normal", "bad/"))


def test_a_mask_of_another_size(bundle: Path, parts: Path, tmp_path: Path, refuse: Refuse) -> None:
    folder = tmp_path / "data"
    (folder / "good").mkdir(parents=True)
    (folder / "bad").mkdir()
    (folder / "masks").mkdir()
    shutil.copy(parts / "test/good/000.png", folder / "good")
    shutil.copy(parts / "test/dent/000.png", folder / "bad" / "7.png")
    cv2.imwrite(str(folder / "masks" / "7.png"), np.full((240, 320), 255, np.uint8))
    line = refuse("eval", bundle, folder, "--json", "-")
    assert "masks/7.png is 320x240, its image 640x480: masks must have" in line


def test_two_bundles_for_frames_of_different_sizes(
    bundle: Path, parts: Path, tmp_path: Path, refuse: Refuse
) -> None:
    from edgefoundad.bundle import Bundle, seal
    from edgefoundad.geometry import Size

    other = Path(shutil.copytree(bundle, tmp_path / "other"))
    manifest = Bundle.open(other).manifest
    assert manifest.graph is not None
    frame = manifest.graph.frame.for_frame(Size(320, 240))
    seal(
        other,
        manifest.model_copy(
            update={"graphs": {"fp32": manifest.graph.model_copy(update={"frame": frame})}}
        ),
    )
    line = refuse("report", bundle, other, "--data", parts, "--json")
    assert "takes frames of 640x480" in line
    assert "of 320x240; expected one size" in line


def test_figures_that_cannot_be_written(
    bundle: Path, parts: Path, tmp_path: Path, refuse: Refuse
) -> None:
    (tmp_path / "file").touch()
    line = refuse("eval", bundle, parts, "--json", tmp_path / "file" / "figures.json")
    assert "cannot write" in line
    line = refuse("eval", bundle, parts, "--json", "-", "--report", tmp_path / "file" / "x.html")
    assert "cannot write" in line
    line = refuse("report", bundle, bundle, "-o", tmp_path / "file" / "x.html", "--json")
    assert "cannot write" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--frame", "640"), "expected WIDTHxHEIGHT"),
        (("--frame", "640x"), "expected WIDTHxHEIGHT"),
        (("--frame", "99999x75000"), "expected at most"),
        (("--frame", "0x0"), "expected at least 32x32"),
        (("--frame", "480x640"), "another aspect ratio distorts"),
        (("--channels", "yuv"), "'yuv' is not one of"),
        ((), "add --force"),
    ],
)
def test_options_of_export(bundle: Path, refuse: Refuse, words: tuple[str, ...], said: str) -> None:
    pytest.importorskip("torch")
    force = ["--force"] if words else []
    assert said in refuse("export", bundle, *words, *force, "--json")


def test_words_that_mean_nothing(refuse: Refuse) -> None:
    assert "No such command 'fitt'" in refuse("fitt")
    assert refuse("run").endswith("see `edgefoundad run --help`")


def test_a_demo_never_replaces_what_is_not_a_demo(tmp_path: Path, refuse: Refuse) -> None:
    pytest.importorskip("torch")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "parts").mkdir()
    (tmp_path / "mine" / "parts" / "photo.txt").write_text("keep")
    assert "add --force" in refuse("demo", "-o", "mine")
    assert "is not an earlier demo" in refuse("demo", "-o", "mine", "--force")
    assert "choose another" in refuse("demo", "-o", "/proc/edgefoundad")
