"""Writing whole files or nothing, in bytes that depend on the content only."""

from __future__ import annotations

import errno
import fcntl
import gzip
import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repligan.core.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import torch

SIGNIFICANT = 6  # significant digits of every written number: below what any metric can resolve


def root() -> Path:
    """The folder of what is kept beside the pipeline's files: the repository's, also for a copy of it.

    DVC runs an experiment of its queue, or with --temp, in a copy that is removed afterwards.
    """
    return Path(os.environ.get("DVC_ROOT", Path.cwd()))


@contextmanager
def whole_dir(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out`; it takes the place of `out` only if the block succeeds."""
    aside = out.with_name(f".{out.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
        if out.is_dir():
            shutil.rmtree(out)
        aside.rename(out)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, gzip.BadGzipFile):
            raise
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or str(error)
        raise OSError(error.errno or errno.EIO, reason, _outside(error, aside) or str(out)) from error
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _outside(error: OSError, aside: Path) -> str | None:
    """The file an error is about, unless it lies in a folder that nobody knows of."""
    names = [str(name) for name in (error.filename, error.filename2) if name]
    return names[0] if names and not any(Path(name).is_relative_to(aside) for name in names) else None


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """While inside, no other process is, of those that name the same file, which is made and stays."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            raise OSError(error.errno, "this file system has no locks (flock); use another one", str(lock)) from None
        yield


def move_dir(source: Path, out: Path) -> None:
    """Put the folder `source` in the place of `out`, whole or not at all, also across file systems."""
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if out.is_dir():
            shutil.rmtree(out)
        source.rename(out)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with whole_dir(out) as folder:
            shutil.copytree(source, folder, dirs_exist_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, which holds either all of it or what it held before, whatever happens."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        error.filename = error.filename or str(path)
        raise
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """JSON with sorted keys and numbers of 6 significant digits; raises ValueError on NaN or infinity."""
    write_bytes(path, (json.dumps(_rounded(value), indent=2, sort_keys=True) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of a JSON file that a stage wrote; raises InputError if it is missing or damaged."""
    try:
        return json.loads(existing(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON: {error}; run `dvc repro` to make it again") from None


def existing(path: Path) -> Path:
    """`path` itself; raises InputError if nothing is there."""
    if not path.exists():
        raise InputError(f"{path}: not found; allowed: an output of an earlier stage, made by `dvc repro`")
    return path


@contextmanager
def usable(path: Path) -> Iterator[None]:
    """While inside, whatever the content of `path` breaks is an InputError that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise InputError(f"{path}: damaged ({error}); run `dvc repro` to make it again") from None
        raise
    except Exception as error:  # the libraries that read it raise anything
        said = " ".join(str(error).split())[:120] or type(error).__name__
        raise InputError(f"{path}: damaged ({said}); run `dvc repro` to make it again") from None


def load_array(path: Path) -> np.ndarray:
    """A .npy array, mapped and never unpickled; raises InputError if it is missing or damaged."""
    import numpy as np

    try:
        return np.load(existing(path), mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path}: damaged ({error}); run `dvc repro` to make it again") from None


def to_bytes(tensors: Mapping[str, torch.Tensor], note: Any = None) -> bytes:
    """Named tensors as safetensors bytes, with `note` (JSON-able) in the header."""
    from safetensors.torch import save

    # One metadata key only: the library writes several in an order that changes from process to process.
    return save(
        {key: value.detach().contiguous().cpu() for key, value in tensors.items()},
        metadata={"note": json.dumps(note, sort_keys=True)},
    )


def array_bytes(values: Mapping[str, np.ndarray], note: Any = None) -> bytes:
    """`to_bytes` of arrays, for what does without torch."""
    import numpy as np
    from safetensors.numpy import save

    contiguous = {key: np.ascontiguousarray(value) for key, value in values.items()}
    return save(contiguous, metadata={"note": json.dumps(note, sort_keys=True)})


def from_file(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """(tensors, note) of a safetensors file; raises InputError if it is missing or damaged."""
    return _from_safetensors(path, "pt")


def arrays(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """`from_file` with arrays, for what does without torch."""
    return _from_safetensors(path, "numpy")


def _from_safetensors(path: Path, framework: str) -> tuple[dict[str, Any], Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(existing(path), framework=framework) as file:
            return {key: file.get_tensor(key) for key in sorted(file.keys())}, json.loads(file.metadata()["note"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); run `dvc repro` to make it again") from None


def sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tree_digest(folder: Path, pattern: str) -> str:
    """Hex digest of the names and contents of the files in `folder` that match `pattern`, without hidden ones."""
    found = sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))  # a file manager's, mostly
    listing = "".join(f"{path.relative_to(folder)} {sha256(path)}\n" for path in found)
    return hashlib.sha256(listing.encode()).hexdigest()


def rounded(value: float) -> float:
    """`value` to 6 significant digits; raises ValueError if it is not finite."""
    if not math.isfinite(value):
        raise ValueError(f"found {value}; allowed: finite numbers")
    return float(f"{value:.{SIGNIFICANT}g}")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(inner) for inner in value]
    return rounded(value) if isinstance(value, float) else value
