from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from repligan.core import rows
from repligan.core.errors import InputError
from repligan.core.rows import File, Finite, Name, Positive, Rate, Strict


class Round(Strict):
    kind: Literal["round"]
    radius: Rate


class Square(Strict):
    kind: Literal["square", "box"]
    side: Positive

    @model_validator(mode="after")
    def _is_small(self) -> Square:
        if self.side > 10:
            raise ValueError(f"side: found {self.side}; allowed: at most 10")
        return self


Shape = Annotated[Round | Square, Field(discriminator="kind")]


class Root(Strict):
    title: str
    num: Positive
    low: Finite
    mode: Literal["fast", "slow"]
    shapes: dict[Name, Shape]
    sizes: Annotated[list[Positive], Field(min_length=1)]
    file: File | None


GOOD: dict[str, Any] = {
    "title": "x",
    "num": 1,
    "low": 0.5,
    "mode": "fast",
    "shapes": {"a": {"kind": "round", "radius": 0.5}, "b": {"kind": "box", "side": 3}},
    "sizes": [1, 2],
    "file": None,
}
FILE = {"name": "a.zip", "places": ["here"]}
PATH = Path("folder/x.yaml")


def said(changes: dict[str, Any], gone: str | None = None) -> str:
    """The one line about GOOD with `changes` and without the key `gone`."""
    data = {key: value for key, value in (GOOD | changes).items() if key != gone}
    with pytest.raises(InputError) as error:
        rows.checked(PATH, Root, data)
    assert error.value.exit_code == 2
    assert "\n" not in error.value.message
    assert error.value.message.startswith(f"{PATH}: ")
    return error.value.message.removeprefix(f"{PATH}: ")


def test_what_fits_is_frozen() -> None:
    root = rows.checked(PATH, Root, GOOD)
    assert root.shapes["b"] == Square(kind="box", side=3)
    with pytest.raises(ValidationError, match="frozen"):
        root.num = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"num": "1"}, "num: found '1'; allowed: a valid integer"),
        ({"num": 1.5}, "num: found 1.5; allowed: a valid int"),
        ({"num": -1}, "num: found -1; allowed: greater than or equal to 1"),
        ({"num": True}, "num: found True; allowed: a valid integer"),
        ({"low": "fast"}, "low: found 'fast'; allowed: a valid number"),
        ({"low": float("nan")}, "low: found nan; allowed: "),
        ({"mode": "quick"}, "mode: found 'quick'; allowed: 'fast' or 'slow'"),
        ({"titel": "x"}, "titel: found an unknown key; allowed: title, num, low, mode, shapes, sizes, file"),
        ({"sizes": []}, "sizes: found []; allowed: "),
        ({"sizes": [1, 0]}, "sizes.1: found 0; allowed: greater than or equal to 1"),
        ({"shapes": {"a": {"kind": "oval"}}}, "shapes.a.kind: found 'oval'; allowed: 'round', 'square', 'box'"),
        ({"shapes": {"a": {"kind": "round", "radius": 2.0}}}, "shapes.a.radius: found 2.0; allowed: less than 1"),
        (
            {"shapes": {"a": {"kind": "box", "side": 3, "radius": 1}}},
            "shapes.a.radius: found an unknown key; allowed: kind, side",
        ),
        ({"shapes": {"a": {"kind": "box", "side": 11}}}, "shapes.a.side: found 11; allowed: at most 10"),
        ({"shapes": {"../a": GOOD["shapes"]["a"]}}, "shapes.../a: found '../a'; allowed: a name of lower-case letters"),
        ({"shapes": {"-a": GOOD["shapes"]["a"]}}, "shapes.-a: found '-a'; allowed: a name of lower-case letters"),
        ({"file": FILE | {"name": "../a.zip"}}, "file.name: found '../a.zip'; allowed: a file's name of letters"),
        ({"file": FILE | {"name": "a/b.zip"}}, "file.name: found 'a/b.zip'; allowed: a file's name of letters"),
        ({"file": FILE | {"name": ".hidden"}}, "file.name: found '.hidden'; allowed: a file's name of letters"),
        ({"file": FILE | {"md5": "e26d"}}, "file.md5: found 'e26d'; allowed: 32 hexadecimal digits in lower case"),
        ({"file": FILE | {"md5": "E" * 32}}, f"file.md5: found '{'E' * 32}'; allowed: 32 hexadecimal digits"),
        ({"file": FILE | {"sha256": "0" * 63}}, f"file.sha256: found '{'0' * 63}'; allowed: 64 hexadecimal digits"),
        ({"file": FILE | {"size": 0}}, "file.size: found 0; allowed: greater than or equal to 1"),
        ({"file": FILE | {"places": []}}, "file.places: found []; allowed: "),
        ({"file": FILE | {"place": "x"}}, "file.place: found an unknown key; allowed: name, places, md5, sha256, size"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(changes: dict[str, Any], wanted: str) -> None:
    assert said(changes).startswith(wanted)


def test_a_missing_key_is_named() -> None:
    assert said({}, gone="num") == "num: found nothing; allowed: a value, every key is required"


def test_of_a_misspelt_key_the_wrong_name_is_told_and_how_much_else_there_is() -> None:
    assert said({"nun": 1}, gone="num").startswith("nun: found an unknown key; allowed: title, num")
    assert said({"nun": 1}, gone="num").endswith(" (and 1 more)")


@pytest.mark.parametrize("data", [None, [], "x", 3])
def test_what_is_no_table_is_named(data: object) -> None:
    with pytest.raises(InputError, match="the file: found"):
        rows.checked(PATH, Root, data)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, "No such file"),
        (b"\xff\xfe", "found what is no YAML; allowed: YAML 1.2 as UTF-8 text"),
        (b"a: [", "line 2, column 1"),
        (b"a: 1\na: 2\n", "line 2, column 1"),
        (b"a: 2000-13-45", "found what is no YAML"),
    ],
)
def test_files_that_are_no_yaml_are_named(tmp_path: Path, content: bytes | None, wanted: str) -> None:
    path = tmp_path / "x.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as error:
        rows.read_yaml(path)
    assert error.value.message.startswith(f"{path}: ")
    assert wanted in error.value.message
    assert "\n" not in error.value.message


def test_brackets_nested_too_deep_are_one_line() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    assert said({"title": deep}) == "found brackets nested too deep; allowed: its tables"


def test_yaml_is_read_as_version_1_2(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("{a: no, b: [1, 2.0], c: null}")
    assert rows.read_yaml(tmp_path / "x.yaml") == {"a": "no", "b": [1, 2.0], "c": None}


def test_merging_goes_table_by_table() -> None:
    base = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": {"g": 3}}
    before = {"a": {"b": 1, "c": {"d": 2}}, "e": [1, 2], "f": {"g": 3}}
    changes = {"a": {"c": {"x": 4}}, "e": [5], "f": None, "h": 6}
    assert rows.merged(base, changes) == {"a": {"b": 1, "c": {"d": 2, "x": 4}}, "e": [5], "f": None, "h": 6}
    assert base == before
    assert rows.merged(base, {}) == base


def test_a_table_of_another_kind_is_replaced_whole() -> None:
    base = {"shape": {"kind": "round", "radius": 0.5, "deep": {"kind": "x", "y": 1}}}
    assert rows.merged(base, {"shape": {"radius": 0.1}})["shape"] == base["shape"] | {"radius": 0.1}
    assert rows.merged(base, {"shape": {"kind": "round", "more": 1}})["shape"] == base["shape"] | {"more": 1}
    assert rows.merged(base, {"shape": {"kind": "square", "side": 3}}) == {"shape": {"kind": "square", "side": 3}}
    inner = rows.merged(base, {"shape": {"deep": {"kind": "z"}}})["shape"]
    assert inner == {"kind": "round", "radius": 0.5, "deep": {"kind": "z"}}
    assert rows.merged({"loss": None}, {"loss": {"kind": "x"}}) == {"loss": {"kind": "x"}}


def test_pick_lists_what_there_is() -> None:
    assert rows.pick({"even": 1, "odd": 2}, "experiments", "even") == 1
    with pytest.raises(InputError, match=r"^params\.yaml: experiments: found no 'old'; allowed: even, odd$"):
        rows.pick({"odd": 2, "even": 1}, "experiments", "old")
    with pytest.raises(InputError, match=r"^x\.yaml: claims: found no 'old'; allowed: even$"):
        rows.pick({"even": 1}, "x.yaml: claims", "old")


def test_tables_that_belong_together_have_the_same_keys() -> None:
    rows.same_keys("references", {"a": 1, "b": 2}, {"b": 3, "a": 4})
    with pytest.raises(ValueError, match="references: found no row b, c; allowed: one each of a, b, c"):
        rows.same_keys("references", {"a": 1}, {"a": 1, "b": 1, "c": 1})
    with pytest.raises(ValueError, match="references: found x; allowed: just a"):
        rows.same_keys("references", {"a": 1, "x": 1}, {"a": 1})


def test_fingerprint_changes_with_any_value() -> None:
    assert rows.fingerprint({"a": 1, "b": 2}) == rows.fingerprint({"b": 2, "a": 1})
    assert rows.fingerprint({"a": 1}) != rows.fingerprint({"a": 2})


def test_flatten_gives_dotted_leaves() -> None:
    assert dict(rows.flatten({"a": {"b": 1, "c": [2]}, "d": 3})) == {"a.b": 1, "a.c": [2], "d": 3}


def test_differing_names_both_sides() -> None:
    found = rows.differing({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"b": 1, "c": 4}, "e": 5})
    assert found == {"a.c": (2, 4), "d": (3, None), "e": (None, 5)}
