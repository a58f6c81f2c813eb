"""Checkpoints that survive `kill -9`: written aside, renamed, named by their own hash, the last two kept."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from repligan.core.errors import InputError
from repligan.core.files import from_file, sha256, to_bytes, write_bytes
from repligan.core.rows import differing

KEPT = 2


class Checkpoints:
    """All that is trained, per step, in `folder`; `config` says what it belongs to."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        self.folder, self.config = folder, config

    def save(self, step: int, tensors: dict[str, torch.Tensor]) -> None:
        """Keep `tensors` as the state after `step`."""
        content = to_bytes(tensors, self.config)
        name = f"{step:08d}-{hashlib.sha256(content).hexdigest()}.safetensors"
        write_bytes(self.folder / name, content)
        for old in self._files()[KEPT:]:
            old.unlink()

    def newest_first(self) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
        """(step, tensors) of each undamaged checkpoint; raises InputError at one of another config."""
        for path in self._files():
            step, digest = path.stem.split("-")
            if sha256(path) != digest:
                print(f"{path}: damaged, going back to the one before", file=sys.stderr)
                continue
            tensors, config = from_file(path)
            self._refuse_other(path, config)
            yield int(step), tensors

    def forget_after(self, step: int) -> None:
        """Remove what lies beyond `step`: it cannot be continued from, and would outlive newer checkpoints."""
        for path in self._files():
            if int(path.stem.split("-")[0]) > step:
                path.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*-*.safetensors"), reverse=True)

    def _refuse_other(self, path: Path, config: dict[str, Any]) -> None:
        if others := differing(config, self.config):
            said = ", ".join(f"{key} {found!r} (allowed: {wanted!r})" for key, (found, wanted) in others.items())
            raise InputError(
                f"{path}: a checkpoint of another config, found {said}; put that back, or delete its folder"
            )
