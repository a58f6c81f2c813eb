from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from repligan.cli import main
from repligan.params import Params


def said(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, ends_with: int = 0) -> str:
    monkeypatch.chdir(folder)
    shown: Result = CliRunner().invoke(main, arguments)
    assert shown.exit_code == ends_with, (shown.output, shown.exception)
    return shown.output


def test_all_rows_are_listed_with_their_figures(
    made: Path, smoke: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = said(made, monkeypatch, "list").splitlines()
    assert [line.split()[0] for line in lines[2:]] == [str(row) for row in smoke.rows]
    assert sum("measured" in line for line in lines) == len(smoke.rows)
    found = json.loads(said(made, monkeypatch, "list", "--json"))
    metrics = json.loads((made / "reports/metrics/even.json").read_text())
    even = next(line for line in found if (line["system"], line["variant"]) == ("even", "published"))
    assert even["value"] == metrics["step_60"]["even_rate"]
    (tmp_path / "params.yaml").write_bytes((made / "params.yaml").read_bytes())
    assert said(tmp_path, monkeypatch, "list").count("not run") == len(smoke.rows)


def test_samples_are_those_of_their_seed(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def grid(*more: str) -> np.ndarray:
        said(made, monkeypatch, "sample", "dcgan-mnist", "-n", "9", "-o", str(tmp_path / "grid.png"), *more)
        return np.asarray(Image.open(tmp_path / "grid.png"))

    first = grid()
    assert first.shape == (3 * 34, 3 * 34)
    assert np.array_equal(first, grid("--seed", "0"))
    assert not np.array_equal(first, grid("--seed", "1"))
    said(made, monkeypatch, "sample", "dcgan-svhn", "-n", "5", "-o", str(tmp_path / "five.npz"))
    five = np.load(tmp_path / "five.npz")["samples"]
    assert (five.shape, five.dtype) == ((5, 3, 32, 32), np.uint8)
    for line in said(made, monkeypatch, "sample", "even", "-n", "4").splitlines():
        number, *bits = line.split()
        assert int(number) == int("".join(bits), 2) < 128
    assert len(said(made, monkeypatch, "sample", "bits1010", "-n", "2").split()) == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["even", "-o", "x.png"], "--out: found x.png, of a toy; allowed: a name that ends in .npz"),
        (["dcgan-mnist", "-o", "x.jpg"], "--out: found x.jpg; allowed: a .png or .npz file in a folder that exists"),
        (["dcgan-mni"], "experiments: found no 'dcgan-mni'; allowed: "),
    ],
)
def test_samples_that_cannot_be_are_one_line(
    made: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    shown = said(made, monkeypatch, "sample", *arguments, ends_with=2)
    assert message in shown
    assert shown.count("\n") == 1


def test_samples_of_what_is_not_trained(smoke_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = said(tmp_path, monkeypatch, "sample", "even", "--params", str(smoke_file), ends_with=2)
    assert "not found; allowed: a trained G (`dvc repro train@even`, or `dvc pull`)" in shown


def test_two_commits_side_by_side(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a value and a verdict that an edit changed; results that are none are one line."""

    def commit(name: str) -> None:
        subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
        subprocess.run(
            ["git", "-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", name], cwd=tmp_path, check=True
        )
        subprocess.run(["git", "tag", name], cwd=tmp_path, check=True)

    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "reports/metrics").mkdir(parents=True)
    commit_files = [made / "reports/claims.json", *sorted((made / "reports/metrics").iterdir())]
    (tmp_path / "x").write_text("")
    commit("empty")
    for path in commit_files:
        (tmp_path / path.relative_to(made)).write_bytes(path.read_bytes())
    commit("before")
    claims, even = tmp_path / "reports/claims.json", tmp_path / "reports/metrics/even.json"
    ledger, metrics = json.loads(claims.read_text()), json.loads(even.read_text())
    ledger["claims"][0]["verdict"], ledger["claims"][0]["decided_by"] = "holds", None
    metrics["step_60"]["even_rate"] = {"mean": 2.0, "lo": 1.9, "hi": 2.1}
    claims.write_text(json.dumps(ledger))
    even.write_text(json.dumps(metrics))
    commit("after")
    assert "0 of" in said(tmp_path, monkeypatch, "compare", "before", "before")
    found = json.loads(said(tmp_path, monkeypatch, "compare", "before", "--json"))
    assert [row[0] for row in found["verdicts"]] == [ledger["claims"][0]["id"]]
    ((row, _, _, there, apart),) = found["metrics"]
    assert (row, there, apart) == ("even", "200.0 % (190.0 % to 210.0 %)", "apart")
    said(tmp_path, monkeypatch, "compare", "before", "after", "--page", str(tmp_path / "two.html"))
    page = (tmp_path / "two.html").read_text()
    assert "190.0 % to 210.0 %" in page
    assert page.count("not in DVC&#39;s cache") + page.count("not in DVC's cache") == 2
    assert "found 'none-such'" in said(tmp_path, monkeypatch, "compare", "none-such", ends_with=2)
    assert "reports/claims.json: damaged" in said(tmp_path, monkeypatch, "compare", "empty", ends_with=2)


def test_claims_as_json(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = json.loads((made / "reports/claims.json").read_text())["claims"]
    assert json.loads(said(made, monkeypatch, "claims", "--json")) == ledger
    assert json.loads(said(made, monkeypatch, "claims", "bits-match", "--json"))[0]["id"] == "bits-match"
