"""The caches that oneDNN sees: the same on every CPU.

oneDNN cuts a convolution into blocks that fit the caches, and the blocks decide in which order sums are taken. So the
gradient of a wide layer has other last bits with 256 KB of L2 a core (a Haswell) or 2 MB (a Sapphire Rapids) than with
512 KB (an EPYC of Zen 3). No variable of the environment says which sizes to take. But where a CPU tells no caches,
oneDNN takes `GUESSES`. Its record of the CPU is an object of class `Xbyak::util::Cpu`; `forget` writes into it that
there are no levels of caches.
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
"""Bytes of L1, L2 and L3 a core where a CPU tells none (`get_per_core_cache_size` in oneDNN's cpu/platform.cpp)."""
SIZE_OF = "_ZN4dnnl4impl3cpu8platform23get_per_core_cache_sizeEi"
RECORD = "_ZZN4dnnl4impl3cpu3x643cpuEvE4cpu_"
SIZES, LEVELS = 6, 26
"""Indices in the record, in words of 32 bits: of the bytes of each level's cache, and of how many levels there are."""
SYMBOLS = 2  # sh_type of .symtab


@cache
def forget() -> None:
    """Let this process's oneDNN guess the sizes of the caches, before its first convolution: blocks are kept.

    Raises InputError where torch's oneDNN is built otherwise than the one known here.
    """
    try:
        size_of, record = view()
        levels = record[LEVELS]
        if levels > 4 or any(not size or size % 1024 for size in record[SIZES : SIZES + levels]):
            raise LookupError("no sizes of caches where they were looked for")
        record[LEVELS] = 0
        if sizes(size_of) != GUESSES:
            record[LEVELS] = levels
            raise LookupError(f"caches of {sizes(size_of)} bytes remain")
    except (LookupError, FileNotFoundError, struct.error) as failed:
        raise InputError(
            "params.yaml: runtime.precision: found 'portable', and a torch whose oneDNN cannot be told to forget this "
            f"CPU's caches ({failed}), which decide bits; allowed: torch of requirements.lock, or fast, which promises "
            "no bits (in conf/config.yaml, then `repligan compose`)"
        ) from None


def view() -> tuple[Callable[[int], int], ctypes.Array[ctypes.c_uint32]]:
    """oneDNN's function level -> bytes of a core's cache, and its record of the CPU in words of 32 bits.

    Raises LookupError, FileNotFoundError or struct.error where the library is built otherwise.
    """
    import torch

    library = Path(torch.__file__).with_name("lib") / "libtorch_cpu.so"
    found = _symbols(library, SIZE_OF, RECORD)
    # glibc's handle of a library points to a struct link_map, which begins with where the library lies (link.h).
    base = ctypes.c_size_t.from_address(ctypes.CDLL(str(library))._handle).value
    size_of = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int)(base + found[SIZE_OF][0])
    size_of(1)  # the record is made when it is first needed
    at, length = found[RECORD]
    if length <= 4 * LEVELS:
        raise LookupError(f"a record of {length} bytes")
    return size_of, (ctypes.c_uint32 * (length // 4)).from_address(base + at)


def sizes(size_of: Callable[[int], int]) -> tuple[int, ...]:
    """Bytes of L1, L2 and L3 a core."""
    return tuple(size_of(level) for level in (1, 2, 3))


def _symbols(library: Path, *names: str) -> dict[str, tuple[int, int]]:
    """name -> (address, bytes) in a 64-bit ELF file, also of what it does not export."""
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        headers = list(_sections(content))
        tables = {kind: rest for kind, *rest in headers}
        if SYMBOLS not in tables:
            raise LookupError(f"{library.name} has no .symtab")
        table, length, linked = tables[SYMBOLS]
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
