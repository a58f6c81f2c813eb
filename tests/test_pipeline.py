"""The smoke scale for real: DVC in a copy of the repository."""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from pathlib import Path

import pytest
from conftest import ROOT
from repository import CLAIMS, copy, outs, run

from repligan.claims import ledger
from repligan.claims.verdict import LEAST
from repligan.core.files import arrays, sha256
from repligan.params import Params


def files(repo: Path, *folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((repo / folder).rglob("*")) if path.is_file()]


@pytest.fixture(scope="session")
def names(smoke: Params) -> list[str]:
    return sorted(smoke.experiments)


@pytest.fixture(scope="session")
def walked(smoke: Params) -> list[str]:
    """The image GANs."""
    return [name for name, measure in smoke.measures.items() if measure.walk]


def test_dvc_knows_every_stage(repo: Path, names: list[str]) -> None:
    stages = outs(repo)
    assert {name.split("@")[0] for name in stages} == {
        "rows",
        "fetch",
        "preprocess",
        "reference",
        "train",
        "evaluate",
        "claims",
        "report",
    }
    assert [name.split("@")[1] for name in sorted(stages) if name.startswith("train@")] == names


def test_another_run_elsewhere_gives_the_same_bytes(repo: Path, made: Path) -> None:
    """One by DVC, with a process a trial, and one in a process of the tests, in folders of different names."""
    paths = [path for stage, found in outs(repo).items() for path in found if stage != "rows"]
    digests = [
        {str(path.relative_to(folder)): sha256(path) for path in every(folder, paths)} for folder in (repo, made)
    ]
    assert len(digests[0]) > 100
    assert digests[0] == digests[1]


def every(folder: Path, paths: list[str]) -> list[Path]:
    """The files at these paths and below."""
    found = [file for path in paths for file in ([folder / path], files(folder, path))[(folder / path).is_dir()]]
    return sorted(found)


def test_outputs_hold_no_time_host_or_path(repo: Path) -> None:
    told = [str(repo), str(ROOT), socket.gethostname(), time.strftime("%Y-%m-%d"), str(Path.home())]
    for path in files(repo, "data", "reports"):
        content = path.read_bytes()
        assert not [word for word in told if len(word) > 5 and word.encode() in content], path


def test_a_clone_has_the_committed_bytes_whatever_git_converts(repo: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "git", "-c", "core.autocrlf=true", "clone", "-q", str(repo), "clone")
    assert done.returncode == 0, done.stderr
    clone = tmp_path / "clone"
    assert [path.name for path in files(clone, "src", "stages", "conf") if b"\r" in path.read_bytes()] == []


def test_again_does_nothing(repo: Path) -> None:
    for name in ("src/repligan/core/.DS_Store", "src/repligan/data/.rows.py.swp", "data/processed/even/.DS_Store"):
        (repo / name).write_text("of a file manager or an editor")
    done = run(repo, "dvc", "repro")
    assert "Data and pipelines are up to date." in done.stdout
    assert "Running stage" not in done.stdout
    assert run(repo, "dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_metrics_and_plots_show(repo: Path, names: list[str]) -> None:
    shown = json.loads(run(repo, "dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert sorted(Path(path).stem for path in shown) == names
    even = shown["reports/metrics/even.json"]["data"]
    assert even["scale"] == "smoke"
    assert (
        even["step_60"]["even_rate"]["lo"] <= even["step_60"]["even_rate"]["mean"] <= even["step_60"]["even_rate"]["hi"]
    )
    plotted = run(repo, "dvc", "plots", "show", "--json")
    assert plotted.returncode == 0, plotted.stderr
    assert "failed" not in plotted.stderr
    assert {"Even numbers", "Pattern 1010", "Frechet distance"} <= set(json.loads(plotted.stdout)["data"])


def drawn_tests(repo: Path) -> dict[str, int]:
    """How many charts each claim has: at the smoke scale, the toys', whose seeds are enough for bounds."""
    entries = ledger.read(repo / "reports").claims
    found = {one.id: sum(bool(test.rule) and test.num >= LEAST for test in one.tested.values()) for one in entries}
    return {name: num for name, num in found.items() if num}


def test_the_ledger_comes_first_with_every_claim(repo: Path) -> None:
    page = (repo / "reports" / "index.html").read_text()
    claims = re.findall(r'<details id="claim-([\w-]+)".*?</details>', page, re.DOTALL)
    assert claims == CLAIMS
    assert page.index(f"claim-{claims[-1]}") < page.index('<h2 id="even">')
    shown = drawn_tests(repo)
    assert {"even-start", "even-diverse", "bits-match"} <= set(shown)
    assert not {"img-leaky", "img-smoothing", "gan-d-wins", "latent-add"} & set(shown)
    for part in re.findall(r'<details id="claim-.*?</details>', page, re.DOTALL):
        assert part.count('class="plot"') == shown.get(part.split('"')[1].removeprefix("claim-"), 0)
    assert page.count("not run at this scale") >= 2


def test_the_page_is_self_contained_and_says_the_scale(repo: Path, names: list[str], walked: list[str]) -> None:
    page = (repo / "reports" / "index.html").read_text()
    assert "<b>smoke</b> scale" in page
    assert len(page.encode()) < 5_000_000
    outside = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", outside)
    for name in names:
        section = page[page.index(f'<h2 id="{name}"') :].split("</section>")[0]
        steps = len(arrays(repo / "data" / "evaluations" / name / "pictures.safetensors")[0])
        assert section.count("data:image/webp") == steps + 6 * (name in walked)  # 3 or more sweeps are in params.yaml
        assert f"dvc repro --force evaluate@{name}" in section


def test_the_overview_is_a_picture(repo: Path) -> None:
    from PIL import Image

    (path,) = files(repo, "reports/figures")
    with Image.open(path) as img:
        assert img.info.keys() <= {"dpi"}
        assert len(img.convert("L").getcolors(1 << 16) or []) > 10


def test_a_stand_ins_numbers_never_stand_under_the_real_name(repo: Path, smoke: Params, walked: list[str]) -> None:
    page = (repo / "reports" / "index.html").read_text()
    drawn = {name: real for name in walked if (real := smoke.dataset_of(name).standin_for)}
    assert len(drawn) == 3
    for name, real in drawn.items():
        metrics = json.loads((repo / "reports" / "metrics" / f"{name}.json").read_text())
        assert metrics["standin_for"] == real
        assert metrics["dataset"].startswith("drawn-")
        assert f"{name} on {metrics['dataset']}" in page
        assert not re.findall(rf"<th>{name}</th>|<h2[^>]*>{name}:", page)


def test_the_report_has_brought_mlflow_up_to_date(repo: Path, smoke: Params) -> None:
    done = run(repo, "repligan", "sync")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name}: was there" for name in (*map(str, smoke.rows), "claims")]


def test_without_git_it_works_too(tmp_path: Path) -> None:
    repo = copy(tmp_path / "archive")
    shutil.rmtree(repo / ".git")
    assert "not a git repository" in run(repo, "dvc", "repro", "fetch@even").stderr.lower()
    assert run(repo, "dvc", "config", "--local", "core.no_scm", "true").returncode == 0
    done = run(repo, "dvc", "repro", "preprocess@even")
    assert done.returncode == 0, done.stderr
    assert (repo / "data" / "processed" / "even" / "train.npy").exists()
