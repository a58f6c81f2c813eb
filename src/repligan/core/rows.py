"""Rows of params.yaml and conf/: typed, frozen objects; what does not fit is named in one line.

Every key is required: defaults stand in params.yaml, where DVC sees them change. Each room defines its own rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from repligan.core.errors import InputError

T = TypeVar("T")
R = TypeVar("R", bound="Strict")
# Names become names of folders and files: nothing that could lead out of one.
NAME, FILE_NAME = r"^[a-z0-9][a-z0-9-]*$", r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
MD5, SHA256 = r"^[0-9a-f]{32}$", r"^[0-9a-f]{64}$"
IN_WORDS = {
    NAME: "a name of lower-case letters, digits and inner hyphens",
    FILE_NAME: "a file's name of letters, digits, dots, hyphens and underscores",
    MD5: "32 hexadecimal digits in lower case",
    SHA256: "64 hexadecimal digits in lower case",
}
Name = Annotated[str, Field(pattern=NAME)]
Positive = Annotated[int, Field(ge=1, le=10**7)]
Size = Annotated[int, Field(ge=1, le=2**16)]
Finite = Annotated[float, Field(ge=-1e6, le=1e6)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Threads = Annotated[int, Field(ge=1, le=256)]


class Strict(BaseModel):
    """No unknown key, no silent conversion, no change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class File(Strict):
    """One raw file: `places` are tried in order, each an http(s):// or file:// address, a path, or a folder of images.

    What is given of md5, sha256 and size (bytes) has to be true of it. `page`: where a person can get it by hand.
    """

    name: Annotated[str, Field(pattern=FILE_NAME)]
    places: Annotated[list[str], Field(min_length=1)]
    md5: Annotated[str, Field(pattern=MD5)] | None = None
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    size: Annotated[int, Field(ge=1)] | None = None
    page: str | None = None


def read_yaml(path: Path) -> Any:
    """The content of a YAML file; raises InputError naming the file and the line."""
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; allowed: a readable {path.name}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise InputError(f"{path}: {where}: {error.problem}; allowed: YAML 1.2") from None
    except (YAMLError, ValueError, RecursionError):  # ruamel lets the errors of int() and date() through
        raise InputError(f"{path}: found what is no YAML; allowed: YAML 1.2 as UTF-8 text") from None


def checked(path: Path, root: type[R], data: Any) -> R:
    """`data`, read from `path`, as a `root`; raises InputError that names the file, the key, what was found."""
    try:
        return root.model_validate(data)
    except ValidationError as error:
        try:
            raise InputError(f"{path}: {one_line(error, root)}") from None
        except RecursionError:
            raise InputError(f"{path}: found brackets nested too deep; allowed: its tables") from None


def merged(base: Any, changes: Any) -> Any:
    """`base` with `changes`, table by table; a table of another `kind`, or what is none, is replaced."""
    if not isinstance(base, dict) or not isinstance(changes, dict):
        return changes
    if changes.get("kind", base.get("kind")) != base.get("kind"):
        return changes
    return base | {key: merged(base.get(key), value) for key, value in changes.items()}


def pick(rows: Mapping[str, T], table: str, name: str) -> T:
    """Row `name` of the params table `table`; raises InputError listing the rows there are."""
    if name not in rows:
        where = table if ": " in table else f"params.yaml: {table}"
        raise InputError(f"{where}: found no {name!r}; allowed: {', '.join(sorted(rows))}")
    return rows[name]


def same_keys(table: str, rows: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raises ValueError unless both have the same keys."""
    if missing := sorted(wanted.keys() - rows.keys()):
        raise ValueError(
            f"{table}: found no row {', '.join(missing)}; allowed: one each of {', '.join(sorted(wanted))}"
        )
    if unknown := sorted(rows.keys() - wanted.keys()):
        raise ValueError(f"{table}: found {', '.join(unknown)}; allowed: just {', '.join(sorted(wanted))}")


def fingerprint(values: Mapping[str, Any]) -> str:
    """32 hex digits that change with any of the JSON-able values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and leaf values of nested dictionaries; a list is a leaf."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, value


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted key -> (found, wanted) where two nested tables differ; None stands for nothing."""
    one, other = dict(flatten(found)), dict(flatten(wanted))
    return {key: (one.get(key), other.get(key)) for key in sorted(one | other) if one.get(key) != other.get(key)}


def one_line(error: ValidationError, root: type[Strict]) -> str:
    """The first error as "key: found ...; allowed: ..."."""
    # A misspelt key is both unknown and missing: the unknown name is what the user can see.
    errors = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    kind, found, ctx = errors[0]["type"], errors[0]["input"], errors[0].get("ctx", {})
    keys, parent = _locate(errors[0]["loc"], root)
    where = ".".join(keys)
    if kind == "value_error":
        message = f"{where}.{ctx['error']}".removeprefix(".")
    elif kind == "extra_forbidden":
        message = f"{where}: found an unknown key; allowed: {', '.join(parent.model_fields)}"
    elif kind == "missing":
        message = f"{where}: found nothing; allowed: a value, every key is required"
    elif kind == "union_tag_invalid":
        message = f"{where}.kind: found {ctx['tag']!r}; allowed: {ctx['expected_tags']}"
    elif kind == "string_pattern_mismatch":
        message = f"{where}: found {found!r}; allowed: {IN_WORDS.get(ctx['pattern'], ctx['pattern'])}"
    else:
        message = (
            f"{where or 'the file'}: found {found!r}; allowed: {errors[0]['msg'].removeprefix('Input should be ')}"
        )
    return message + (f" (and {len(errors) - 1} more)" if len(errors) > 1 else "")


def _without_null(annotation: Any) -> Any:
    """What an annotation is about: `T` of Annotated[T, ...] and of T | None."""
    members = [one for one in get_args(annotation) if one is not type(None)]
    nullable = get_origin(annotation) in (Union, UnionType) and len(members) == 1
    return _without_null(members[0]) if nullable or get_origin(annotation) is Annotated else annotation


def _locate(loc: tuple[int | str, ...], root: type[Strict]) -> tuple[list[str], Any]:
    """The keys of a pydantic location inside `root` as they stand in the file, and the type that holds the last one."""
    keys: list[str] = []
    annotation: Any = root
    parent: Any = root
    for part in loc:
        if part == "[key]":  # pydantic's mark for a key that is itself wrong
            continue
        annotation = _without_null(annotation)
        members = get_args(annotation)
        if get_origin(annotation) in (Union, UnionType):  # the part is the chosen kind, no key of the file
            annotation = next(m for m in members if part in get_args(m.model_fields["kind"].annotation))
            continue
        keys.append(str(part))
        parent = annotation
        if get_origin(annotation) in (dict, list):
            annotation = members[-1]
        else:
            field = annotation.model_fields.get(part)
            annotation = field.annotation if field else None
    return keys, parent
