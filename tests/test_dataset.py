"""Labelled images in the three layouts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgefoundad.dataset import Sample, keeps_normals_apart, left_out, normals_of, read_test_set
from edgefoundad.errors import InputError

PICTURE = np.full((6, 8), 90, np.uint8)
MASK = np.zeros((6, 8), np.uint8)
MASK[1:3, 4:7] = 255


def save(folder: Path, names: Iterable[str], picture: np.ndarray = PICTURE) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MVTec's layout: two good parts, three kinds of defect: its masks, bare names, and none."""
    save(tmp_path / "train" / "good", ["1.png", "0.png"])
    save(
        tmp_path / "test",
        ["good/10.png", "good/2.png", "dent/000.png", "hole/000.png", "scratch/001.png"],
    )
    save(tmp_path / "ground_truth", ["dent/000_mask.png", "scratch/001.png"], MASK)
    return tmp_path


@pytest.fixture
def candle(tmp_path: Path) -> Path:
    """VisA's layout, without its split: classes 1 to 4 in the masks, upper-case suffixes."""
    folder = tmp_path / "candle"
    save(folder / "Data/Images/Normal", [f"{i:04}.JPG" for i in range(4)])
    save(folder / "Data/Images/Anomaly", ["000.JPG", "001.JPG"])
    save(folder / "Data/Masks/Anomaly", ["000.png"], MASK // 255 * 4)
    return folder


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    folder = tmp_path / "flat"
    save(folder, ["good/0.png", "good/1.png", "bad/0.png", "bad/1.png"])
    return folder


def split_csv(candle: Path, *, category: str = "candle") -> Path:
    """The root's list: normals 0 and 2 and both anomalies are for testing."""
    file = candle.parent / "split_csv" / "1cls.csv"
    file.parent.mkdir()
    rows = [
        "object,split,label,image,mask",
        "cashew,test,normal,cashew/Data/Images/Normal/0001.JPG,",
    ]
    for i, split in enumerate(("test", "train", "test", "train")):
        rows.append(f"{category},{split},normal,{category}/Data/Images/Normal/{i:04}.JPG,")
    for i in range(2):
        image = f"{category}/Data/Images/Anomaly/{i:03}.JPG"
        rows.append(f"{category},test,anomaly,{image},{category}/Data/Masks/Anomaly/{i:03}.png")
    file.write_text("\n".join(rows) + "\n")
    return file


def found(folder: Path) -> list[tuple[str | None, str, str | None]]:
    return [
        (s.defect, s.path.name, s.mask and str(s.mask.relative_to(folder)))
        for s in read_test_set(folder)
    ]


def mask_path(folder: Path) -> Path:
    return folder / "ground_truth" / "dent" / "000_mask.png"


def dent(folder: Path) -> Sample:
    (sample,) = (s for s in read_test_set(folder) if s.defect == "dent")
    return sample


def test_mvtec_good_parts_come_first_then_the_defects_by_name(folder: Path) -> None:
    assert found(folder) == [
        (None, "2.png", None),
        (None, "10.png", None),
        ("dent", "000.png", "ground_truth/dent/000_mask.png"),
        ("hole", "000.png", None),
        ("scratch", "001.png", "ground_truth/scratch/001.png"),
    ]
    assert [p.name for p in normals_of(folder)] == ["0.png", "1.png"]
    assert keeps_normals_apart(folder)


def test_visa_without_its_split_is_judged_whole(candle: Path) -> None:
    assert found(candle) == [
        *((None, f"{i:04}.JPG", None) for i in range(4)),
        ("anomaly", "000.JPG", "Data/Masks/Anomaly/000.png"),
        ("anomaly", "001.JPG", None),
    ]
    assert not keeps_normals_apart(candle)
    assert [p.name for p in normals_of(candle)] == [f"{i:04}.JPG" for i in range(4)]


def test_visa_follows_the_split_of_its_root(candle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split_csv(candle)
    # From inside, as a person may type it: the category's name is then not in the path.
    monkeypatch.chdir(candle)
    for folder in (candle, Path()):
        good = [s.path.name for s in read_test_set(folder) if s.defect is None]
        assert good == ["0000.JPG", "0002.JPG"]
        assert sum(s.defect == "anomaly" for s in read_test_set(folder)) == 2
        assert [p.name for p in normals_of(folder)] == ["0001.JPG", "0003.JPG"]
        assert keeps_normals_apart(folder)


def test_a_split_of_other_categories_says_nothing_of_this_one(candle: Path) -> None:
    split_csv(candle, category="capsules")
    assert len(read_test_set(candle)) == 6
    assert not keeps_normals_apart(candle)


def test_a_split_that_cannot_be_read_is_refused(candle: Path) -> None:
    file = split_csv(candle)
    for text in ("name,where\ncandle,test\n", "object,split,label,image,mask\ncandle,test\n"):
        file.write_text(text)
        with pytest.raises(InputError, match=r"1cls\.csv .* expected the columns object, split"):
            read_test_set(candle)


def test_a_split_of_other_images_is_refused(candle: Path) -> None:
    file = split_csv(candle)
    file.write_text(file.read_text().replace(".JPG", ".png"))
    with pytest.raises(InputError, match="found no labelled image"):
        read_test_set(candle)
    with pytest.raises(InputError, match="lists no training image"):
        normals_of(candle)


def test_flat_folders_are_good_and_bad(flat: Path) -> None:
    save(flat / "masks", ["1.png"], MASK)
    assert found(flat) == [
        (None, "0.png", None),
        (None, "1.png", None),
        ("bad", "0.png", None),
        ("bad", "1.png", "masks/1.png"),
    ]


def test_folders_inside_bad_are_kinds_with_masks_of_their_own(flat: Path) -> None:
    save(flat / "bad", ["rust/0.png", "rust/7.png", "dent/8.png"])
    save(flat / "masks", ["0.png", "rust/7.png", "8.png"], MASK)
    (flat / "bad" / "notes.txt").touch()
    assert found(flat)[2:] == [
        # Two images are called 0, so that masks/0.png is of neither.
        ("bad", "0.png", None),
        ("bad", "1.png", None),
        ("dent", "8.png", "masks/8.png"),
        ("rust", "0.png", None),
        ("rust", "7.png", "masks/rust/7.png"),
    ]


@pytest.mark.parametrize(
    ("train", "names"),
    [
        ([], ["0.png", "1.png"]),
        (["train/5.png"], ["5.png"]),
        (["train/good/6.png"], ["6.png"]),
    ],
)
def test_flat_normals_are_the_training_folder_s_or_the_good_ones(
    flat: Path, train: list[str], names: list[str]
) -> None:
    save(flat, train)
    assert [p.name for p in normals_of(flat)] == names
    assert keeps_normals_apart(flat) is bool(train)
    assert len(read_test_set(flat)) == 4


def test_what_was_fitted_on_is_taken_out_of_the_test_set(
    flat: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(flat)
    rest = left_out(read_test_set(flat), [Path("good/1.png")])
    assert [str(s.path.relative_to(flat)) for s in rest] == ["good/0.png", "bad/0.png", "bad/1.png"]


def test_masks_mark_the_defect_and_good_parts_have_none(folder: Path) -> None:
    wanted = np.zeros((6, 8), bool)
    wanted[1:3, 4:7] = True
    good, *_ = read_test_set(folder)
    mask = dent(folder).read_mask((6, 8))
    assert mask.dtype == np.bool_
    assert np.array_equal(mask, wanted)
    assert not good.read_mask((6, 8)).any()


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 1), (np.uint16, 1), (np.uint16, 65535)])
def test_any_value_but_zero_marks_a_defect(folder: Path, dtype: type, value: int) -> None:
    mask = np.zeros((6, 8), dtype)
    mask[5, 0] = value
    cv2.imwrite(str(mask_path(folder)), mask)
    assert np.argwhere(dent(folder).read_mask((6, 8))).tolist() == [[5, 0]]


@pytest.mark.parametrize("value", [200, 1])
def test_a_coloured_mask_with_alpha_marks_where_it_has_colour(folder: Path, value: int) -> None:
    mask = np.zeros((6, 8, 4), np.uint8)
    mask[..., 3] = 255
    mask[2, 3, 0] = value  # Of blue, the darkest colour, grey would keep a tenth.
    cv2.imwrite(str(mask_path(folder)), mask)
    assert np.argwhere(dent(folder).read_mask((6, 8))).tolist() == [[2, 3]]


def test_a_mask_of_another_size_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"is 8x6, its image 9x6"):
        dent(folder).read_mask((6, 9))


def test_a_mask_that_marks_nothing_is_refused(folder: Path) -> None:
    cv2.imwrite(str(mask_path(folder)), np.zeros((6, 8), np.uint8))
    with pytest.raises(InputError, match="marks no pixel"):
        dent(folder).read_mask((6, 8))


def test_a_broken_mask_is_refused(folder: Path) -> None:
    data = mask_path(folder).read_bytes()
    for broken in (b"", b"no mask", data[:-20]):
        mask_path(folder).write_bytes(broken)
        with pytest.raises(InputError, match=r"000_mask\.png"):
            dent(folder).read_mask((6, 8))


@pytest.mark.parametrize("kinds", [["good"], ["dent", "rust"]])
def test_one_class_alone_is_a_test_set_too(tmp_path: Path, kinds: list[str]) -> None:
    save(tmp_path / "test", [f"{kind}/0.png" for kind in kinds])
    assert [s.defect or "good" for s in read_test_set(tmp_path)] == kinds


def test_a_folder_in_no_layout_is_told_all_three(tmp_path: Path) -> None:
    def nothing(folder: Path) -> None:
        del folder

    def folders(folder: Path) -> None:
        for name in ("bottle", "cable", ".cache"):
            (folder / name).mkdir(parents=True)

    def file(folder: Path) -> None:
        folder.touch()

    cases: list[tuple[Callable[[Path], None], str]] = [
        (nothing, "found no folder"),
        (folders, "found bottle, cable in"),
        (file, "found a file at"),
    ]
    for i, (make, said) in enumerate(cases):
        make(tmp_path / str(i))
        for ask in (read_test_set, normals_of, keeps_normals_apart):
            with pytest.raises(InputError) as refused:
                ask(tmp_path / str(i))
            message = str(refused.value)
            assert said in message
            assert all(word in message for word in ("test/good", "Data/Images/Normal", "bad/"))


@pytest.mark.parametrize("made", ["test/.cache", "train/good", "Data/Images"])
def test_a_layout_without_a_labelled_image_is_refused(tmp_path: Path, made: str) -> None:
    (tmp_path / made).mkdir(parents=True)
    with pytest.raises(InputError, match=r"found no .*labelled image.*; expected MVTec's"):
        read_test_set(tmp_path)


def test_an_empty_kind_is_refused_by_name(folder: Path, flat: Path) -> None:
    (folder / "test" / "rust").mkdir()
    (flat / "bad" / "rust").mkdir()
    for data in (folder, flat):
        with pytest.raises(InputError, match="rust"):
            read_test_set(data)
