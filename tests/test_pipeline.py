"""The smoke scale for real: DVC, MLflow and, where there is one, a browser, in two copies of the repository."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT
from ruamel.yaml import YAML

from repligan.claims import ledger
from repligan.params import Params, load

OUTPUTS = (".venv", ".git", ".work", "data", "downloads", "mlartifacts")
LEFTOVERS = (
    "__pycache__", ".*_cache", "*.egg-info", "mlflow.db*", "cache", "tmp", "config.local", "figures", "index.html",
)  # fmt: skip
IDS = list(YAML(typ="safe").load((ROOT / "conf" / "claims.yaml").read_text())["claims"])
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def environment(repo: Path) -> dict[str, str]:
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("DVC_", "MLFLOW_", "REPLIGAN_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    author = {f"GIT_{who}_{what}": "test@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return keep | author | {"PATH": path, "PYTHONPATH": str(repo / "src"), "HOME": str(repo.parent)}


def run(repo: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=repo, env=environment(repo), capture_output=True, text=True, check=False)


def copy(repo: Path) -> Path:
    leftovers = shutil.ignore_patterns(*LEFTOVERS)
    shutil.copytree(
        ROOT, repo, ignore=lambda at, names: {*leftovers(at, names), *(OUTPUTS if Path(at) == ROOT else ())}
    )
    for command in (("init", "-q"), ("add", "-A"), ("commit", "-qm", "a copy")):
        done = run(repo, "git", *command)
        assert done.returncode == 0, done.stderr
    return repo


@pytest.fixture(scope="session")
def repos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two copies in folders of different names, reproduced at the same time."""
    found = [copy(tmp_path_factory.mktemp(name) / "repo") for name in ("one", "quite-another")]
    for repo in found:
        assert run(repo, "repligan", "scale", "smoke").stdout == "params.yaml: now at the smoke scale\n"
    running = [
        subprocess.Popen(
            ("dvc", "repro"),
            cwd=repo,
            env=environment(repo),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for repo in found
    ]
    for process in running:
        output, _ = process.communicate()
        assert process.returncode == 0, output[-4000:]
    return found


@pytest.fixture(scope="session")
def repo(repos: list[Path]) -> Path:
    return repos[0]


def files(repo: Path, *folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((repo / folder).rglob("*")) if path.is_file()]


@pytest.fixture(scope="session")
def names(smoke: Params) -> list[str]:
    return sorted(smoke.experiments)


@pytest.fixture(scope="session")
def walked(smoke: Params) -> list[str]:
    """The image GANs."""
    return [name for name, measure in smoke.measures.items() if measure.walk]


@pytest.fixture(scope="session")
def called(smoke: Params) -> dict[str, str | None]:
    """Name of every run in MLflow -> for what its dataset stands in."""
    return {smoke.called(row): smoke.dataset_of(row.experiment).standin_for for row in smoke.rows} | {"claims": None}


def test_two_copies_give_the_same_lock(repos: list[Path], names: list[str]) -> None:
    locks = [(repo / "dvc.lock").read_text() for repo in repos]
    assert locks[0] == locks[1]
    stages = YAML(typ="safe").load(locks[0])["stages"]
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
    done = run(repo, "dvc", "checkout", "--force")
    assert done.returncode == 0, done.stderr
    assert run(repo, "dvc", "status").stdout.strip() == "Data and pipelines are up to date."


def test_a_changed_value_runs_its_chain_only(repos: list[Path]) -> None:
    repo = repos[1]
    with edited(repo, "params.yaml") as edit:
        edit("params.yaml", "beta1: 0.9,", "beta1: 0.8,")
        assert run(repo, "dvc", "repro", "-s", "rows").returncode == 0
        planned = run(repo, "dvc", "repro", "--dry").stdout
        assert re.findall(r"Running stage '(.*)'", planned) == ["train@even", "evaluate@even", "claims", "report"]


def test_a_changed_claim_gets_its_verdict_and_nothing_is_trained(repos: list[Path]) -> None:
    repo = repos[1]

    def claim() -> ledger.Entry:
        found = ledger.read(repo / "reports")
        assert list(found.by_name) == IDS
        return found.by_name["even-diverse"]

    was, file = claim(), "conf/claims.yaml"
    assert (was.verdict, was.decided_by) == ("not decided at this budget", "the laptop scale")
    with edited(repo, file, "reports/claims.json") as edit:
        says = "    says: G learns the distribution of even numbers, not a few of them\n    needs: "
        edit(file, f"{says}laptop", f"{says}smoke")
        done = run(repo, "dvc", "repro")
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
    "tracking.py": ((), (*EARLY, "train", "evaluate", "claims", "report")),
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


@pytest.mark.parametrize("file", ROOMS)
def test_an_edit_in_a_room_runs_the_stages_of_its_outputs(repos: list[Path], file: str) -> None:
    path, (stale, fresh) = repos[1] / "src" / "repligan" / file, ROOMS[file]
    before = path.read_bytes()
    path.write_bytes(before + b"# A comment.\n")
    shown = json.loads(run(repos[1], "dvc", "status", "--json").stdout)
    path.write_bytes(before)
    found = {stage.split("@")[0] for stage in shown}
    assert (found & {*stale, *fresh}) == {*stale}


TRAINED = ("train@even", "train@bits1010", "train@dcgan-mnist")


def trained(repo: Path) -> set[str]:
    """The finished trainings."""
    entries = [json.loads(path.read_text()) for path in (repo / ".work" / "trials").glob("*/entry.json")]
    return {json.dumps(entry["key"], sort_keys=True) for entry in entries if entry["key"]["what"] == "training"}


def outs(repo: Path) -> dict[str, list[str]]:
    """Stage -> the hashes of its outputs."""
    return outs_in((repo / "dvc.lock").read_text())


def outs_in(lock: str) -> dict[str, list[str]]:
    """The same in the text of a dvc.lock."""
    stages = YAML(typ="safe").load(lock)["stages"]
    return {name: [out["md5"] for out in stage["outs"]] for name, stage in stages.items()}


def test_words_in_the_training_loop_train_nothing_again(repos: list[Path]) -> None:
    repo, file = repos[1], "src/repligan/training/loop.py"
    before = trained(repo), outs(repo)
    with edited(repo, file) as edit:
        edit(file, "    limits = t.experiment.alarms\n", "    # What is raised.\n    limits = t.experiment.alarms\n")
        edit(file, "limits", "heeded")
        done = run(repo, "dvc", "repro", "-s", *TRAINED)
        assert re.findall(r"Running stage '(.*)'", done.stdout) == list(TRAINED), done.stderr
        assert (trained(repo), outs(repo)) == before


def test_two_more_seeds_of_a_row_are_two_trainings(repos: list[Path]) -> None:
    repo, before = repos[1], trained(repos[1])
    row = "experiments.dcgan-mnist.variants.hard-labels"
    with edited(repo, "params.yaml") as edit:
        edit("params.yaml", "beta1: 0.9,", "beta1: 0.8,")  # by hand, as is the scale: both stay
        done = run(repo, "dvc", "exp", "run", "-S", f"+{row}.seeds=4", "-s", "rows", "train@dcgan-mnist")
        changed = load(repo / "params.yaml")
        assert (changed.scale, changed.published("even").optimiser.beta1) == ("smoke", 0.8)
        assert re.findall(r"Running stage '(.*)'", done.stdout) == ["rows", "train@dcgan-mnist"], done.stderr
        new = [json.loads(key) for key in trained(repo) - before]
        assert sorted(key["seeds"] for key in new) == [[2, 3], [3, 4]]
        assert {key["row"]["loss"]["smoothing"] for key in new} == {0.0}


def test_a_factor_in_a_loss_trains_the_rows_with_that_loss_again(repos: list[Path]) -> None:
    repo, before, lock = repos[1], trained(repos[1]), outs(repos[1])
    file, metrics = "src/repligan/training/losses.py", "reports/metrics/even.json"
    measured = (repo / metrics).read_bytes()
    with edited(repo, file, metrics) as edit:
        edit(file, "(1 - target) * softplus(logits)", "2 * (1 - target) * softplus(logits)")
        refused = run(repo, "dvc", "repro", "-s", "train@even")
        assert "NonSaturating.slope: found other values than the derivative" in refused.stderr + refused.stdout
        edit(file, "torch.sigmoid(logits).sub_(target)", "torch.sigmoid(logits).mul_(2 - target).sub_(target)")
        done = run(repo, "dvc", "repro", "-s", "train@even", "train@bits1010", "evaluate@even")
        assert done.returncode == 0, done.stderr
        losses = [json.loads(key)["row"]["loss"]["kind"] for key in trained(repo) - before]
        assert losses == ["bce", "bce"]  # even and even/fast; bits1010 learns by squared error
        changed = {name for name, found in outs(repo).items() if found != lock[name]}
        assert changed == {"train@even", "evaluate@even"}
        assert (repo / metrics).read_bytes() != measured


def experiment(repo: Path, name: str, *how: str) -> dict[str, list[str]]:
    """Run an experiment of DVC outside of the workspace; stage -> the hashes of its outputs there."""
    done = run(repo, "dvc", "exp", "run", *how)
    assert done.returncode == 0, done.stderr
    [ref] = run(repo, "git", "for-each-ref", "--format=%(refname)", f"refs/exps/**/{name}").stdout.split()
    return outs_in(run(repo, "git", "show", f"{ref}:dvc.lock").stdout)


def test_experiments_run_the_code_that_they_were_made_with(repos: list[Path]) -> None:
    """Not that of the workspace, whose package is installed: in the queue, with --temp, in a clone to verify."""
    repo, before = repos[1], outs(repos[1])
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


def shown_claims(repo: Path) -> list[str]:
    """Those with a picture: at the smoke scale, what its rows can measure."""
    entries = ledger.read(repo / "reports").claims
    return [entry.id for entry in entries if any(test.rule and test.num for test in entry.tested.values())]


def test_the_ledger_comes_first_with_every_claim(repo: Path) -> None:
    page = (repo / "reports" / "index.html").read_text()
    ids = re.findall(r'<tr id="claim-([\w-]+)">', page)
    assert ids == IDS
    assert page.index(f"claim-{ids[-1]}") < page.index("What each GAN makes") < page.index('<h2 id="even">')
    shown = shown_claims(repo)
    assert {"even-start", "even-diverse", "bits-match", "img-smoothing", "latent-add"} <= set(shown)
    assert not {"img-leaky", "gan-d-wins"} & set(shown)
    assert page.count("not run at this scale") >= 2


def pictures(repo: Path, names: list[str], walked: list[str]) -> int:
    """An overview, losses, curves and samples of each, three walks of image GANs, and those of claims."""
    return 1 + 3 * len(names) + 3 * len(walked) + len(shown_claims(repo))


def test_the_page_is_self_contained_and_says_the_scale(repo: Path, names: list[str], walked: list[str]) -> None:
    page = (repo / "reports" / "index.html").read_text()
    assert "<b>smoke</b> scale" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert page.count("data:image/png") == pictures(repo, names, walked)
    for name in names:
        assert f'id="{name}"' in page


def test_figures_are_pictures(repo: Path, names: list[str], walked: list[str]) -> None:
    from PIL import Image

    figures = files(repo, "reports/figures")
    assert len(figures) == pictures(repo, names, walked)
    for path in figures:
        with Image.open(path) as img:
            assert img.info.keys() <= {"dpi"}
            assert len(img.convert("L").getcolors(1 << 16) or []) > 10


@pytest.fixture(scope="session")
def server(repo: Path) -> Iterator[str]:
    """MLflow's server on the runs of `repo`, as `make ui` starts it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (repo / "server.log").open("w") as log:
        process = subprocess.Popen(
            ["repligan", "ui", "--port", str(port)], cwd=repo, env=environment(repo), stdout=log, stderr=log
        )
        try:
            address = f"http://127.0.0.1:{port}"
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=2)
                    break
                except OSError:
                    time.sleep(0.5)
            yield address
        finally:
            process.terminate()
            process.wait(20)


def post(address: str, call: str, **body: object) -> dict[str, list[dict[str, dict[str, object]]]]:
    request = urllib.request.Request(
        f"{address}/api/2.0/mlflow/{call}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


def test_mlflow_serves_every_run(server: str, called: dict[str, str | None]) -> None:
    runs = post(server, "runs/search", experiment_ids=["1"])["runs"]
    assert sorted(run["info"]["run_name"] for run in runs) == sorted(called)
    for found in [one for one in runs if one["info"]["run_name"] != "claims"]:
        name, data = found["info"]["run_name"], found["data"]
        params = {item["key"]: item["value"] for item in data["params"]}
        metrics = {item["key"] for item in data["metrics"]}
        assert (found["info"]["status"], params["scale"]) == ("FINISHED", "smoke")
        assert {"loss_D", "D_real", "D_gen"} <= metrics
        assert len(metrics) <= 25
        assert found["inputs"]["dataset_inputs"][0]["dataset"]["digest"]
        if name == "dcgan-mnist":
            assert {"loss_G", "fd_cnn_64", "class_tv"} <= metrics
            assert params["G.width"] == "4"


def test_mlflow_has_losses_and_samples_by_step(server: str) -> None:
    runs = post(server, "runs/search", experiment_ids=["1"])["runs"]
    run_id = next(run["info"]["run_id"] for run in runs if run["info"]["run_name"] == "dcgan-mnist")
    with urllib.request.urlopen(
        f"{server}/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=loss_G"
    ) as answer:
        steps = [point["step"] for point in json.load(answer)["metrics"]]
    assert sorted(steps) == [2, 4, 6, 8, 10, 12]
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=images") as answer:
        images = [file["path"] for file in json.load(answer)["files"] if file["path"].endswith(".png")]
    assert len(images) == 4
    with urllib.request.urlopen(f"{server}/get-artifact?run_id={run_id}&path=training.json") as answer:
        training = json.load(answer)
    assert training["environment"]["cpu"] == "AVX2"
    assert training["seconds"] > 0


def test_mlflow_has_the_ledger_and_the_seeds_as_tables(server: str) -> None:
    runs = {run["info"]["run_name"]: run for run in post(server, "runs/search", experiment_ids=["1"])["runs"]}

    def table(name: str, file: str) -> dict[str, list[object]]:
        address = f"{server}/get-artifact?run_id={runs[name]['info']['run_id']}&path={file}"
        with urllib.request.urlopen(address) as answer:
            found = json.load(answer)
        return {key: [row[i] for row in found["data"]] for i, key in enumerate(found["columns"])}

    claims = table("claims", "claims.json")
    assert list(dict.fromkeys(claims["claim"])) == IDS
    assert set(claims["verdict"]) == {
        f"not decided at this budget; the {scale} scale can decide" for scale in ("laptop", "full")
    }
    seeds = table("dcgan-mnist/hard-labels", "seeds.json")
    assert seeds["seed"] == [0, 1]
    assert len(set(seeds["fd_cnn_64"])) == 2
    tags = {tag["key"]: tag["value"] for tag in runs["dcgan-mnist/hard-labels"]["data"]["tags"]}  # type: ignore[index, attr-defined]
    assert tags["variant_of"] == "dcgan-mnist"


def test_mlflow_marks_stand_ins_and_shows_the_latent_space(server: str, called: dict[str, str | None]) -> None:
    runs = post(server, "runs/search", experiment_ids=["1"])["runs"]
    tags = {
        run["info"]["run_name"]: {tag["key"]: tag["value"] for tag in run["data"]["tags"]}  # type: ignore[index, attr-defined]
        for run in runs
    }
    assert {name: found.get("standin_for") for name, found in tags.items()} == called
    run_id = next(run["info"]["run_id"] for run in runs if run["info"]["run_name"] == "dcgan-anime on drawn-anime")
    with urllib.request.urlopen(f"{server}/api/2.0/mlflow/artifacts/list?run_id={run_id}&path=latent") as answer:
        shown = {Path(file["path"]).name for file in json.load(answer)["files"]}
    assert {"component 28.png", "linear.png", "spherical.png", "arithmetic.png", "scores.json"} <= shown


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


def browse(address: str, out: Path) -> str:
    """The page's DOM after its scripts ran; a screenshot of it lies at `out`."""
    assert CHROMIUM
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", f"--user-data-dir={out.parent / 'chromium'}",
             "--virtual-time-budget=20000")  # fmt: skip
    command = [CHROMIUM, *flags, "--dump-dom", f"--screenshot={out}", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_a_browser_shows_the_report(repo: Path, tmp_path: Path) -> None:
    dom = browse((repo / "reports" / "index.html").as_uri(), tmp_path / "page.png")
    assert "A GAN that learns even numbers" in dom
    assert (tmp_path / "page.png").stat().st_size > 20_000


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_a_browser_shows_the_runs_in_mlflow(server: str, tmp_path: Path) -> None:
    dom = browse(f"{server}/#/experiments/1/runs", tmp_path / "runs.png")
    assert "dcgan-mnist" in dom


def test_sync_brings_back_what_is_missing_and_no_more(repo: Path, smoke: Params, tmp_path: Path) -> None:
    other = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"}
    command = ["repligan", "sync"]
    said = [
        subprocess.run(
            command, cwd=repo, env=environment(repo) | other, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        for _ in range(2)
    ]
    every = [*map(str, smoke.rows), "claims"]
    assert said[0] == [f"{name}: written" for name in every]
    assert {line.split(": ")[1] for line in said[1]} == {"was there"}
    assert set(run(repo, "repligan", "sync").stdout.split(": was there\n")) == {*every, ""}


def test_without_git_it_works_too(tmp_path: Path) -> None:
    repo = copy(tmp_path / "archive")
    shutil.rmtree(repo / ".git")
    assert "not a git repository" in run(repo, "dvc", "repro", "fetch@even").stderr.lower()
    assert run(repo, "dvc", "config", "--local", "core.no_scm", "true").returncode == 0
    done = run(repo, "dvc", "repro", "preprocess@even")
    assert done.returncode == 0, done.stderr
    assert (repo / "data" / "processed" / "even" / "train.npy").exists()
