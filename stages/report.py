"""DVC stage: one HTML page and the overview from all results; MLflow is brought up to date with them."""

from functools import partial
from pathlib import Path

import click

import this_tree  # noqa: F401
from repligan.core import runtime
from repligan.core.errors import Command, run
from repligan.core.files import arrays, existing, whole_dir, write_bytes
from repligan.params import load


@click.command(cls=Command, epilog="Example: python stages/report.py data reports")
@click.argument("data", type=click.Path(path_type=Path))
@click.argument("reports", type=click.Path(path_type=Path))
@click.option("--published", type=click.Path(path_type=Path), default=Path("published"), show_default=True)
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(data: Path, reports: Path, published: Path, params: Path) -> None:
    """Render DATA, REPORTS/metrics, REPORTS/claims.json and PUBLISHED to REPORTS/figures and REPORTS/index.html."""
    loaded = load(params)
    runtime.apply(loaded.runtime)
    for folder in (data / "evaluations", reports / "metrics"):
        existing(folder)

    from repligan.claims import ledger
    from repligan.reporting import charts, figures, page, results
    from repligan.reporting import published as elsewhere
    from repligan.tracking import projection
    from repligan.tracking.aside import aside

    found, claims = results.read(loaded, data, reports), ledger.read(reports)
    values, _ = arrays(data / "claims" / "values.safetensors")
    click.echo("report: bringing MLflow up to date", err=True)
    with aside() as helper:
        runs = projection.sync_or_warn(loaded, data, reports, helper)
        with whole_dir(reports / "figures") as folder:
            write_bytes(folder / "overview.png", figures.png(partial(figures.overview, found)))
        html = page.render(loaded, found, claims, values, charts.runtime(), elsewhere.read(published, loaded.scale))
        write_bytes(reports / "index.html", html.encode())
        projection.attach_or_warn(reports, runs)
    click.echo(f"report: {reports / 'index.html'}")


if __name__ == "__main__":
    run(main)
