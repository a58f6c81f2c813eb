"""params.yaml from conf/: one file an experiment, sizes by scale; the scale is selected in conf/config.yaml.

conf/seeds.yaml is the one file there that a program writes: `repligan decide` adds seeds to rows in it.
"""

from __future__ import annotations

import hashlib
import io
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from repligan.core.errors import InputError
from repligan.core.files import write_bytes
from repligan.core.rows import Name, Size, Strict, checked, differing, pick, read_yaml
from repligan.params import SCALES, load
from repligan.training.rows import PUBLISHED, RowId

CONF = Path("conf")
HEADER = "# Composed from conf/ by `repligan compose`: edit there. sha256 of the rest: {}\n"
SEEDS = "seeds.yaml"
SEEDS_HEADER = """\
# Written by `repligan decide`: how many seeds a row has at a scale, where the rest of conf/ gives it fewer.
"""
SCALE_LINE = re.compile(r"^(\s*- scale:\s*)([^\s#]+)", re.MULTILINE)


class Seeds(Strict):
    """All of conf/seeds.yaml: scale -> row -> number of seeds."""

    seeds: dict[Name, dict[str, Size]]


def compose(scale: str | None, out: Path, conf: Path = CONF) -> None:
    """Write `out` from `conf` at a scale, by default the selected one; raises InputError if it would not load."""
    scale = scale or selected(conf)
    write_bytes(out, _composed(scale, conf, seeds(conf).get(scale, {})))


def seeds(conf: Path = CONF) -> dict[str, dict[str, int]]:
    """conf/seeds.yaml: scale -> row -> number of seeds; nothing where the file is missing."""
    path = conf / SEEDS
    return checked(path, Seeds, read_yaml(path)).seeds if path.exists() else {}


def raise_seeds(more: Mapping[RowId, int], conf: Path = CONF) -> None:
    """Write so many seeds of these rows to conf/seeds.yaml, at the selected scale; nothing if it would not load."""
    scale, known = selected(conf), seeds(conf)
    known[scale] = known.get(scale, {}) | {str(row): number for row, number in more.items()}
    _composed(scale, conf, known[scale])
    lines = [SEEDS_HEADER + "seeds:"]
    for name, rows in sorted(known.items()):
        lines += [f"  {name}:", *(f"    {row}: {number}" for row, number in sorted(rows.items()))]
    write_bytes(conf / SEEDS, ("\n".join(lines) + "\n").encode())


def _composed(scale: str, conf: Path, more: Mapping[str, int]) -> bytes:
    """params.yaml at a scale, with `more` seeds of some rows."""
    from dvc.utils.hydra import compose_and_dump

    where = str(conf.resolve())
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder, "params.yaml")
        try:
            compose_and_dump(aside, where, None, "config", where, [f"scale={scale}"])
        except Exception as error:  # of hydra, omegaconf or PyYAML
            if isinstance(error, OSError) and error.errno:
                raise
            said = " ".join(str(error).split())
            raise InputError(f"conf: {said}; allowed: YAML whose tables are those of conf/config.yaml") from None
        if not more:
            load(aside, called="conf")
            return _compact(read_yaml(aside))
        data = _with_seeds(aside, more, f"{conf / SEEDS}: seeds.{scale}")
        aside.write_bytes(_compact(data))
        load(aside, called=str(conf / SEEDS))
        return _compact(data)


def _with_seeds(params: Path, more: Mapping[str, int], where: str) -> Any:
    """The data of a params.yaml with at least so many seeds of some rows; raises InputError at an unknown one."""
    rows, data = load(params, called="conf").rows, read_yaml(params)
    by_name = {str(row): row for row in rows}
    raised = {pick(by_name, where, name): number for name, number in more.items()}
    for row, one in rows.items():
        if any(row.experiment == other.experiment for other in raised):  # variants take their seeds from each other
            table = data["experiments"][row.experiment]
            table = table if row.variant == PUBLISHED else table["variants"][row.variant]
            table["seeds"] = max(one.seeds, raised.get(row, 0))
    return data


def selected(conf: Path = CONF) -> str:
    """The scale that the defaults list of conf/config.yaml names."""
    path = conf / "config.yaml"
    found = read_yaml(path)
    defaults = found.get("defaults") if isinstance(found, dict) else None
    scales = [row["scale"] for row in defaults or [] if isinstance(row, dict) and "scale" in row]
    if len(scales) != 1 or not isinstance(scales[0], str):
        allowed = f"one line `- scale: NAME`, of {', '.join(SCALES)}"
        raise InputError(f"{path}: defaults: found {scales or 'no scale'}; allowed: {allowed}")
    return str(scales[0])


def select(scale: str, conf: Path = CONF) -> None:
    """Let the defaults list of conf/config.yaml name `scale`; nothing else in the file changes."""
    path = conf / "config.yaml"
    selected(conf)
    text, lines = SCALE_LINE.subn(rf"\g<1>{scale}", path.read_text(encoding="utf-8"))
    if lines != 1:
        raise InputError(f"{path}: defaults: found {lines} lines `- scale: NAME`; allowed: one")
    write_bytes(path, text.encode())


def is_edited(params: Path) -> bool:
    """Whether params.yaml was changed by anything but `compose`."""
    first, _, rest = params.read_text(encoding="utf-8").partition("\n")
    return f"{first}\n" != _header(rest.encode())


def edited(params: Path, conf: Path = CONF) -> list[str]:
    """A line for each value that differs between params.yaml and what `conf` composes to, and who was edited."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder, "params.yaml")
        compose(None, wanted, conf)
        others = differing(read_yaml(params) or {}, read_yaml(wanted))
    who = f"{params.name} was edited by hand" if is_edited(params) else f"{conf.name}/ was edited: `repligan compose`"
    return [f"{key}: found {found!r}, {conf.name}/ has {wanted!r} ({who})" for key, (found, wanted) in others.items()]


def _compact(data: Any) -> bytes:
    """YAML with the innermost tables and lists on one line each, as a person writes them in conf/."""
    yaml: Any = YAML(typ="safe")
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = None, False, 120
    out = io.BytesIO()
    yaml.dump(data, out)
    return _header(out.getvalue()).encode() + out.getvalue()


def _header(rest: bytes) -> str:
    return HEADER.format(hashlib.sha256(rest).hexdigest())
