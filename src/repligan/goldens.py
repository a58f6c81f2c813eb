"""Golden trials: tiny ones of every kind of row, whose hashes are committed, so that a refactoring shows what it moved.

`python -m repligan.goldens` trains and measures them and writes goldens.json anew, as after other versions of torch;
`python -m repligan.goldens check` only names those that have other hashes.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from repligan.core import runtime
from repligan.core.files import arrays, read_json, write_json
from repligan.params import Params, load

ROWS, HASHES = (Path(__file__).with_name(f"goldens.{ending}") for ending in ("yaml", "json"))


def run(folder: Path) -> dict[str, str]:
    """Train and measure all golden trials in an empty folder; name -> sha256 of the numbers that came out.

    Leaves the folders processed, reference and trials there, as the pipeline does in data/.
    """
    from repligan.store import Store
    from repligan.trials import Workshop

    params = load(ROWS)
    found: dict[str, str] = {}
    for name in params.datasets:
        found |= _reference(name, params, folder / "processed" / name, folder / "reference" / name)
    for name in params.experiments:
        dataset = params.published(name).dataset
        workshop = Workshop(
            params, folder / "processed" / dataset, folder / "reference" / dataset, Store(folder / "trials")
        )
        for trial in workshop.trials(name):
            trained = workshop.train(trial, alone=False)
            found[f"training {trial}"] = _told(trained.path)
            weights = {file: one for file, one in trained.files.items() if file.startswith("step_")}
            measured = workshop.measure(trial, weights, trained.path, kept=True, alone=False)
            found[f"measuring {trial}"] = _told(measured.path)
        if by := workshop.floor_of_variants(name):
            found[f"real images beside {name}"] = _told(workshop.floor(by).path)
    return found


def differing() -> list[str]:
    """The golden trials whose hashes are not the committed ones, run in this process."""
    with TemporaryDirectory(prefix="repligan-goldens-") as folder:
        found, wanted = run(Path(folder)), read_json(HASHES)
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def _reference(name: str, params: Params, processed: Path, out: Path) -> dict[str, str]:
    """Make the data of a data set and what it is measured by."""
    from repligan.data.arrays import preprocess
    from repligan.data.download import fetch
    from repligan.evaluation import comparison
    from repligan.evaluation.draws import floor
    from repligan.evaluation.rows import DrawsReference

    raw, dataset, by = processed.with_name(f"{name}-raw"), params.datasets[name], params.references[name]
    for folder in (raw, processed, out):
        folder.mkdir(parents=True)
    fetch(name, dataset.source, raw, raw)
    preprocess(dataset, raw, processed)
    if isinstance(by, DrawsReference):
        stats = floor(by, dataset, processed)
    else:
        stats = comparison.make(by, processed, out, runtime.device(params.runtime, by.threads))[0].floor()
    content = {key: value.tolist() for key, value in sorted(stats.items())}
    return {f"reference {name}": hashlib.sha256(json.dumps(content).encode()).hexdigest()}


def _told(folder: Path) -> str:
    """sha256 of the numbers in a folder's files, without the notes beside them: those only describe the row."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        for key, value in sorted(arrays(path)[0].items()):
            digest.update(f"{path.relative_to(folder)} {key} {value.dtype} {value.shape}".encode() + value.tobytes())
    return digest.hexdigest()


def main(arguments: list[str]) -> None:
    """Write the hashes, or name what differs from them."""
    runtime.apply(load(ROWS).runtime)
    if arguments == ["check"]:
        for name in differing():
            print(name)
        return
    with TemporaryDirectory(prefix="repligan-goldens-") as folder:
        write_json(HASHES, run(Path(folder)))


if __name__ == "__main__":
    main(sys.argv[1:])
