"""The same bits whatever caches a CPU tells; and that without `forget` they would differ."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from repligan.core import caches, runtime
from repligan.core.errors import InputError

pytestmark = pytest.mark.skipif(not (runtime.X86_64 and sys.platform == "linux"), reason="promised there only")
CPUS = {"Haswell": (32, 256), "Ice Lake": (48, 512), "Zen 4": (32, 1024), "Sapphire Rapids": (48, 2048)}
"""KB of L1 and L2 a core."""


def compute() -> list[str]:
    """sha256 of what wide layers and their gradients are."""
    import torch
    from torch.nn.functional import conv2d, conv_transpose2d

    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(1)
    hashes = []
    for channels, kernel, size in ((256, 4, 2), (512, 5, 4)):  # narrow G of 64 x 64, published G of digits
        x = torch.randn(8, channels, size, size, generator=rng, requires_grad=True)
        weight = torch.randn(channels, channels // 2, kernel, kernel, generator=rng, requires_grad=True)
        larger = conv_transpose2d(x, weight, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2)
        smaller = conv2d(larger, weight, stride=2, padding=(kernel - 1) // 2)
        for one in (larger, smaller, *torch.autograd.grad(smaller.square().sum(), (x, weight, larger))):
            hashes.append(hashlib.sha256(one.detach().numpy().tobytes()).hexdigest())
    return hashes


def tell(cpu: str) -> None:
    """Let oneDNN see the caches of a CPU, whose cores are alike and share none, and 16 MB of L3."""
    _, record = caches.view()
    record[3] &= ~2  # in the second word of its type: cores of two kinds, whose sizes are read elsewhere
    record[caches.LEVELS] = 3
    record[caches.SIZES : caches.SIZES + 3] = [1024 * size for size in (*CPUS[cpu], 16384)]
    record[caches.SIZES + 10 : caches.SIZES + 13] = [1, 1, 1]


def everywhere() -> dict[str, list[list[str]]]:
    """CPU -> what is computed where it tells its caches, and where they are forgotten."""
    found = {}
    for cpu in CPUS:
        tell(cpu)
        seen = compute()
        caches.forget.__wrapped__()
        found[cpu] = [seen, compute()]
    return found


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def test_caches_decide_bits_unless_they_are_forgotten() -> None:
    found = json.loads(
        _python(
            "import json, os, sys\n"
            "from repligan.core.runtime import PORTABLE\n"
            "os.environ |= PORTABLE | {'ONEDNN_PRIMITIVE_CACHE_CAPACITY': '0'}\n"  # else the first blocks are kept
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from test_caches import everywhere\n"
            "print(json.dumps(everywhere()))\n"
        )
    )
    told, forgotten = zip(*found.values(), strict=True)
    assert len(set(map(tuple, told))) >= 3
    assert set(map(tuple, forgotten)) == {tuple(found["Ice Lake"][0])}  # whose L2 is what oneDNN guesses


def test_portable_training_forgets_the_caches() -> None:
    _python(
        "import sys\n"
        "from repligan.core import caches, runtime\n"
        "one = runtime.Runtime(device='cpu', precision='portable', deterministic=True)\n"
        "runtime.apply(one)\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_caches import tell\n"
        "tell('Haswell')\n"
        "size_of, _ = caches.view()\n"
        "told = (32 * 2**10, 256 * 2**10, 16 * 2**20)\n"
        "assert caches.sizes(size_of) == told, caches.sizes(size_of)\n"
        "runtime.device(one.model_copy(update={'precision': 'fast'}), 1)\n"
        "assert caches.sizes(size_of) == told\n"
        "runtime.device(one, 1)\n"
        "assert caches.sizes(size_of) == caches.GUESSES\n"
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SIZE_OF", "_ZN4none", "libtorch_cpu.so has no _ZN4none"),
        ("SYMBOLS", 99, "libtorch_cpu.so has no .symtab"),
        ("LEVELS", 36, "a record of 144 bytes"),
        ("LEVELS", 25, "bytes remain"),
        ("SIZES", 7, "no sizes of caches"),
    ],
)
def test_a_torch_that_is_built_otherwise_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, said: str
) -> None:
    tell("Haswell")
    before = list(caches.view()[1])
    monkeypatch.setattr(caches, name, value)
    with pytest.raises(InputError, match=re.escape(said)) as refused:
        caches.forget.__wrapped__()
    assert "runtime.precision: found 'portable', and a torch whose oneDNN cannot" in str(refused.value)
    monkeypatch.undo()
    assert list(caches.view()[1]) == before
    caches.forget.__wrapped__()
