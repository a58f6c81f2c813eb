"""Generators as models: ranked, registered, and loaded by a process that knows nothing of this package."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT
from PIL import Image
from serving import elsewhere, ui

from repligan.core.files import read_json
from repligan.evaluation.evaluate import networks_at
from repligan.models.noise import fixed_z
from repligan.models.weights import sample
from repligan.params import Params
from repligan.training.rows import RowId
from repligan.trials import trials_of

pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own


@pytest.fixture(scope="module")
def server(repo: Path) -> Iterator[str]:
    with ui(repo) as page:
        yield page.split("/#")[0]


@pytest.fixture
def python(tmp_path: Path, server: str) -> Any:
    """Run code in an empty folder, without this package; what it prints as JSON."""

    def run(code: str) -> Any:
        return json.loads(
            elsewhere(f"import json, mlflow, torch\nmlflow.set_tracking_uri('{server}')\n{code}", tmp_path)
        )

    return run


def test_the_five_lines_of_the_readme_draw_digits(server: str, tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    [code] = [block for block in blocks if "load_model" in block]
    assert len([line for line in code.splitlines() if line]) == 5
    assert "http://127.0.0.1:5000" in code
    elsewhere(code.replace("http://127.0.0.1:5000", server), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["digits.png"]
    with Image.open(tmp_path / "digits.png") as img:
        assert img.size == (6 * 34 + 2, 6 * 34 + 2)
        assert len(img.convert("L").getcolors(1 << 16) or []) > 3  # after 12 steps all is nearly grey


def test_a_registered_generator_is_the_one_that_was_trained(python: Any, smoke: Params, made: Path) -> None:
    row = RowId(experiment="dcgan-mnist")
    trial = next(trials_of(row, smoke.rows[row]))
    best = read_json(made / "reports" / "metrics" / "dcgan-mnist.json")["best"]["step"]
    form = smoke.dataset_of("dcgan-mnist").form
    G, _ = networks_at(best, trial.experiment, form, trial.seeds, made / "data" / "runs" / "dcgan-mnist" / trial.place)
    z = fixed_z(trial.experiment.z, 0, 5)
    wanted = sample(G, z)[0]
    made_by = python(f"""
z = torch.tensor({z[0].tolist()})
G, F = mlflow.pytorch.load_model("models:/dcgan-mnist@best"), mlflow.pyfunc.load_model("models:/dcgan-mnist@best")
made = [G(z).tolist(), F.predict(z.numpy()).tolist(), [len(G(z[:1].expand(num, -1))) for num in (1, 2, 3, 70)]]
print(json.dumps(made))""")
    for found in made_by[:2]:
        torch.testing.assert_close(torch.tensor(found), wanted, rtol=0, atol=1e-5)
    assert made_by[2] == [1, 2, 3, 70]
    assert float(wanted.std()) > 0


def test_a_toy_is_registered_with_all_its_seeds(python: Any, smoke: Params) -> None:
    found = python("""
G = mlflow.pytorch.load_model("models:/even@best")
made = G(torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]] * 3))
print(json.dumps([made.shape, float(made.min()), float(made.max())]))""")
    assert found[0] == [3, smoke.published("even").seeds, 7]
    assert 0 < found[1] < found[2] < 1


def test_the_models_of_the_docs_are_ranked_by_the_distance_on_their_data(
    server: str, tmp_path: Path, smoke: Params, made: Path
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "mlflow.md").read_text(), re.DOTALL)
    code = code.replace("http://127.0.0.1:5000", server).replace("fd_cnn_2000", "fd_cnn_64")
    found = [line.rsplit(maxsplit=1) for line in elsewhere(code, tmp_path).splitlines()]
    metrics = read_json(made / "reports" / "metrics" / "dcgan-mnist.json")
    steps = smoke.published("dcgan-mnist").snapshot_steps()
    assert sorted(name for name, _ in found) == sorted(f"dcgan-mnist step {step}" for step in steps)
    distances = [float(value) for _, value in found]
    assert distances == sorted(distances)
    assert (found[0][0], distances[0]) == (
        f"dcgan-mnist step {metrics['best']['step']}",
        metrics["best"]["fd_cnn_64"]["mean"],
    )


def test_a_model_has_no_pickled_code_and_its_weights_once(repo: Path) -> None:
    files = list((repo / "mlartifacts").rglob("*.pt2"))
    assert len(files) == len(list((repo / "mlartifacts").rglob("MLmodel"))) > 8
    assert not list((repo / "mlartifacts").rglob("*.pth"))
    needs = next((repo / "mlartifacts").rglob("requirements.txt")).read_text()
    assert {line.split("==")[0] for line in needs.splitlines()} == {"mlflow", "numpy", "torch"}
