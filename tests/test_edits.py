"""Edits of a reproduced repository: what runs again, and what is found finished."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from repository import CLAIMS, outs, outs_in, run
from smoke import NOWHERE

from repligan.claims import ledger
from repligan.params import load

RESTORE = "from dvc.repo import Repo; repo = Repo(); repo.checkout(force=True); print(repo.status())"


@contextmanager
def edited(repo: Path, *files: str) -> Iterator[Callable[[str, str, str], None]]:
    """Replace words in some files; after the block they and what DVC made of them are as before."""
    kept = {name: (repo / name).read_bytes() for name in (*files, "dvc.lock")}

    def edit(name: str, old: str, new: str) -> None:
        text = (repo / name).read_text()
        assert old in text
        (repo / name).write_text(text.replace(old, new))

    yield edit
    for name, content in kept.items():
        (repo / name).write_bytes(content)
    done = run(repo, sys.executable, "-c", RESTORE)
    assert (done.returncode, done.stdout) == (0, "{}\n"), done.stderr


@pytest.fixture(scope="session")
def repo(repos: tuple[Path, Path]) -> Path:
    return repos[1]


def test_a_changed_value_runs_its_chain_only(repo: Path) -> None:
    with edited(repo, "params.yaml") as edit:
        edit("params.yaml", "beta1: 0.9,", "beta1: 0.8,")
        assert run(repo, "dvc", "repro", "-s", "rows").returncode == 0
        planned = run(repo, "dvc", "repro", "--dry").stdout
        assert re.findall(r"Running stage '(.*)'", planned) == ["train@even", "evaluate@even", "claims", "report"]


def test_a_changed_claim_gets_its_verdict_and_nothing_is_trained(repo: Path) -> None:

    def claim() -> ledger.Entry:
        found = ledger.read(repo / "reports")
        assert list(found.by_name) == CLAIMS
        return found.by_name["even-diverse"]

    was, file = claim(), "conf/claims.yaml"
    assert (was.verdict, was.decided_by) == ("not decided at this budget", "the laptop scale")
    with edited(repo, file, "reports/claims.json") as edit:
        says = (
            "    says: G learns the distribution of even numbers, not a few of them\n    reading: implied\n    needs: "
        )
        edit(file, f"{says}laptop", f"{says}smoke")
        done = run(repo, "dvc", "repro", **NOWHERE)
        assert re.findall(r"Running stage '(.*)'", done.stdout) == ["claims", "report"], done.stderr
        test = claim().tests[0]
        assert isinstance(test, ledger.Evidence)
        assert (claim().verdict, test.num) == ("does not hold", 40)
        assert "even-diverse: does not hold" in run(repo, "repligan", "claims", "even-diverse").stdout


EARLY = ("fetch", "preprocess", "reference")
# File -> (the stages that run again after an edit in it, those that do not).
ROOMS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "claims/verdict.py": (("claims", "report"), (*EARLY, "train", "evaluate")),
    "reporting/page.py": (("report",), (*EARLY, "train", "evaluate", "claims")),
    "tracking/store.py": ((), (*EARLY, "train", "evaluate", "claims", "report")),
    "tools/doctor.py": ((), (*EARLY, "train", "evaluate", "claims", "report")),
    "engines.py": ((), (*EARLY, "train", "evaluate", "claims", "report")),
    "training/loop.py": (("train",), (*EARLY, "claims", "report")),
    "training/optimisers.py": (("reference", "train"), ("fetch", "preprocess", "claims", "report")),
    "models/mlp.py": (("train", "evaluate"), (*EARLY, "claims", "report")),
    "trials.py": (("train", "evaluate"), (*EARLY, "claims", "report")),
    "evaluation/latent.py": (("reference", "evaluate"), ("fetch", "preprocess", "train", "claims", "report")),
    "metrics/kernel.py": (("reference", "evaluate", "claims", "report"), ("fetch", "preprocess", "train")),
    "data/download.py": (("fetch", "preprocess"), ("reference", "train", "evaluate", "claims", "report")),
    "core/files.py": ((*EARLY, "train", "evaluate", "claims", "report"), ()),
}


# One process for all of them, since DVC takes longer to start than to look.
LOOK = """
import json, sys
from pathlib import Path
from dvc.repo import Repo
for file in sys.argv[1:]:
    path = Path("src/repligan", file)
    before = path.read_bytes()
    path.write_bytes(before + b"# A comment.\\n")
    print(file, json.dumps(list(Repo().status())))
    path.write_bytes(before)
"""


@pytest.fixture(scope="session")
def stale(repo: Path) -> dict[str, set[str]]:
    """File -> the stages that an edit in it makes stale."""
    done = run(repo, sys.executable, "-c", LOOK, *ROOMS)
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    return {file: {stage.split("@")[0] for stage in json.loads(stages)} for file, stages in lines}


@pytest.mark.parametrize("file", ROOMS)
def test_an_edit_in_a_room_runs_the_stages_of_its_outputs(stale: dict[str, set[str]], file: str) -> None:
    runs, fresh = ROOMS[file]
    assert (stale[file] & {*runs, *fresh}) == {*runs}


TRAINED = ("train@even", "train@bits1010", "train@dcgan-mnist")


def trained(repo: Path) -> set[str]:
    """The finished trainings."""
    entries = [json.loads(path.read_text()) for path in (repo / ".work" / "trials").glob("*/entry.json")]
    return {json.dumps(entry["key"], sort_keys=True) for entry in entries if entry["key"]["what"] == "training"}


def test_words_in_the_training_loop_train_nothing_again(repo: Path) -> None:
    file = "src/repligan/training/loop.py"
    before = trained(repo), outs(repo)
    with edited(repo, file) as edit:
        edit(file, "    limits = t.experiment.alarms\n", "    # What is raised.\n    limits = t.experiment.alarms\n")
        edit(file, "limits", "heeded")
        done = run(repo, "dvc", "repro", "-s", *TRAINED)
        assert re.findall(r"Running stage '(.*)'", done.stdout) == list(TRAINED), done.stderr
        assert (trained(repo), outs(repo)) == before


def test_two_more_seeds_of_a_row_are_two_trainings(repo: Path) -> None:
    before, row = trained(repo), "experiments.dcgan-mnist.variants.hard-labels"
    with edited(repo, "params.yaml") as edit:
        edit("params.yaml", "beta1: 0.9,", "beta1: 0.8,")  # by hand, as is the scale: both stay
        done = run(repo, "dvc", "exp", "run", "-S", f"+{row}.seeds=4", "-s", "rows", "train@dcgan-mnist")
        changed = load(repo / "params.yaml")
        assert (changed.scale, changed.published("even").optimiser.beta1) == ("smoke", 0.8)
        assert re.findall(r"Running stage '(.*)'", done.stdout) == ["rows", "train@dcgan-mnist"], done.stderr
        new = [json.loads(key) for key in trained(repo) - before]
        assert sorted(key["seeds"] for key in new) == [[2002, 2003], [2003, 2004]]
        assert {key["row"]["loss"]["smoothing"] for key in new} == {0.0}


def test_a_factor_in_a_loss_trains_the_rows_with_that_loss_again(repo: Path) -> None:
    before, lock = trained(repo), outs(repo)
    file, metrics = "src/repligan/training/losses.py", "reports/metrics/even.json"
    measured = (repo / metrics).read_bytes()
    with edited(repo, file, metrics) as edit:
        edit(file, "(1 - target) * softplus(logits)", "2 * (1 - target) * softplus(logits)")
        refused = run(repo, "dvc", "repro", "-s", "train@even")
        assert "NonSaturating.slope: found other values than the derivative" in refused.stderr + refused.stdout
        edit(file, "out=out).sub_(target)", "out=out).mul_(2 - target).sub_(target)")
        done = run(repo, "dvc", "repro", "-s", "train@even", "train@bits1010", "evaluate@even")
        assert done.returncode == 0, done.stderr
        losses = [json.loads(key)["row"]["loss"]["kind"] for key in trained(repo) - before]
        assert losses == ["bce", "bce"]  # even and even/fast; bits1010 learns by squared error
        changed = {name for name, found in outs(repo).items() if found != lock[name]}
        assert changed == {"train@even", "evaluate@even"}
        assert (repo / metrics).read_bytes() != measured


def experiment(repo: Path, name: str, *how: str) -> dict[str, dict[str, str]]:
    """Run an experiment of DVC outside of the workspace; stage -> the hashes of its outputs there."""
    done = run(repo, "dvc", "exp", "run", *how)
    assert done.returncode == 0, done.stderr
    [ref] = run(repo, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").stdout.split()
    return outs_in(run(repo, "git", "show", f"{ref}:dvc.lock").stdout)


def test_experiments_run_the_code_that_they_were_made_with(repo: Path) -> None:
    """Not that of the workspace, whose package is installed: in the queue, with --temp, in a clone to verify."""
    before = outs(repo)
    fetching, loss = "src/repligan/data/download.py", "src/repligan/training/losses.py"
    with edited(repo, fetching, loss) as edit:
        edit(loss, "return target * softplus(-logits)", "return 1 + target * softplus(-logits)")
        assert run(repo, "dvc", "exp", "run", "--queue", "-n", "queued", "-s", "train@even").returncode == 0
        run(repo, "git", "checkout", "-q", "src")
        assert experiment(repo, "queued", "--run-all")["train@even"] != before["train@even"]
        edit(fetching, '["integer"]', '["integer" if ".dvc" in __file__ else "of the workspace"]')
        apart = experiment(repo, "apart", "--temp", "-n", "apart", "-s", "fetch@even")
        assert apart["fetch@even"] == before["fetch@even"]
        edit(fetching, '["integer" if', '["number" if True or')
        run(repo, "git", "commit", "-qam", "another header")
        run(repo, "git", "checkout", "-q", "HEAD~", "src")
        done = run(repo, "repligan", "verify", "--stage", "fetch@even")
        run(repo, "git", "reset", "-q", "HEAD~")
        assert done.returncode == 1
        assert "| fetch@even | data/raw/even | drifted | another hash |" in done.stdout
