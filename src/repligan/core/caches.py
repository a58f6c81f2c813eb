"""The caches that oneDNN sees: the same on every CPU.

oneDNN cuts a convolution into blocks that fit the caches, and the blocks decide in which order sums are taken. So the
gradient of a wide layer has other last bits on a CPU with 256 KB of L2 (Haswell to Skylake) or 2 MB (Sapphire Rapids)
than on one with 512 KB (EPYC). No variable of the environment says which sizes to take. But where a CPU does not tell
its caches, oneDNN guesses `GUESSES`; `forget` makes it guess, in what it has noted about this CPU.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from repligan.core.errors import InputError

GUESSES = (32 * 2**10, 512 * 2**10, 2**20)
"""Bytes of L1, L2 and L3 a core, where a CPU tells none (`get_per_core_cache_size` in oneDNN's cpu/platform.cpp)."""
SIZE_OF = "_ZN4dnnl4impl3cpu8platform23get_per_core_cache_sizeEi"
NOTED = "_ZZN4dnnl4impl3cpu3x643cpuEvE4cpu_"
LEVELS = 26  # where in what is noted stands how many levels of caches there are
SYMBOLS = 2  # sh_type of .symtab


@cache
def forget() -> None:
    """Let this process's oneDNN guess the sizes of the caches.

    Raises InputError where torch's oneDNN is built otherwise than the one known here.
    """
    try:
        size_of, noted = view()
        known = noted[LEVELS]
        if known > 4:
            raise LookupError(f"{known} levels of caches")
        noted[LEVELS] = 0
        if sizes(size_of) != GUESSES:
            noted[LEVELS] = known
            raise LookupError(f"caches of {sizes(size_of)} bytes remain")
    except (LookupError, OSError, ValueError, struct.error) as failed:
        raise InputError(
            "params.yaml: runtime.precision: found 'portable', and a torch whose oneDNN cannot be told to forget this "
            f"CPU's caches ({failed}), which decide bits; allowed: torch of requirements.lock, or fast, which promises "
            "no bits (in conf/config.yaml, then `repligan compose`)"
        ) from None


def view() -> tuple[Callable[[int], int], ctypes.Array[ctypes.c_uint32]]:
    """oneDNN's function level -> bytes of a core's cache, and the numbers that it has noted about this CPU.

    Raises LookupError, OSError, ValueError or struct.error where the library is built otherwise.
    """
    import torch

    library = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    found = _symbols(library, SIZE_OF, NOTED)
    # glibc's handle of a library points to a struct link_map, which begins with where the library lies (link.h).
    base = ctypes.c_size_t.from_address(ctypes.CDLL(str(library))._handle).value
    size_of = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int)(base + found[SIZE_OF][0])
    size_of(1)  # it notes all when it is first asked
    at, length = found[NOTED]
    return size_of, (ctypes.c_uint32 * (length // 4)).from_address(base + at)


def sizes(size_of: Callable[[int], int]) -> tuple[int, ...]:
    """Bytes of L1, L2 and L3 a core."""
    return tuple(size_of(level) for level in (1, 2, 3))


def _symbols(library: Path, *names: str) -> dict[str, tuple[int, int]]:
    """name -> (address, bytes) in a 64-bit ELF file, also of what it does not export."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        headers = list(_sections(content))
        table, length, linked = {kind: rest for kind, *rest in headers}[SYMBOLS]
        _, texts, texts_length, _ = headers[linked]
        found = {}
        for name in names:
            text = content.find(b"\0" + name.encode() + b"\0", texts, texts + texts_length)
            if text < 0:
                raise LookupError(f"{library.name} has no {name}")
            entry = _entry(content, struct.pack("<I", text + 1 - texts), table, table + length)
            found[name] = struct.unpack_from("<QQ", content, entry + 8)
        return found


def _sections(content: mmap.mmap) -> Iterator[tuple[int, int, int, int]]:
    """(type, offset, length, linked section) of each section (elf.h)."""
    start, size, num = *struct.unpack_from("<Q", content, 40), *struct.unpack_from("<HH", content, 58)
    for i in range(num):
        _, kind, _, _, offset, length, linked, *_ = struct.unpack_from("<IIQQQQIIQQ", content, start + i * size)
        yield kind, offset, length, linked


def _entry(content: mmap.mmap, named: bytes, start: int, end: int, size: int = 24) -> int:
    """Where in the table of symbols the one stands that begins with `named`."""
    at = content.find(named, start, end)
    while at >= 0 and (at - start) % size:
        at = content.find(named, at + 1, end)
    if at < 0:
        raise LookupError("a name of no symbol")
    return at
