"""DVC stage: figures and one HTML page from all results; MLflow is brought up to date with them."""

from pathlib import Path

import click

from repligan import config
from repligan.files import existing, whole_dir, write_bytes


@click.command(
    epilog="Example: python stages/report.py data/evaluations reports/metrics reports/figures reports/index.html"
)
@click.argument("evaluations", type=click.Path(path_type=Path))
@click.argument("metrics", type=click.Path(path_type=Path))
@click.argument("figures", type=click.Path(path_type=Path))
@click.argument("page", type=click.Path(path_type=Path))
@click.option("--params", type=click.Path(path_type=Path), default=Path("params.yaml"), show_default=True)
def main(evaluations: Path, metrics: Path, figures: Path, page: Path, params: Path) -> None:
    """Render the results in the folders EVALUATIONS and METRICS to the folder FIGURES and the file PAGE."""
    loaded = config.load(params)
    for folder in (evaluations, metrics):
        existing(folder)

    from repligan.reporting import figures as draw
    from repligan.reporting import results
    from repligan.reporting.page import render, write_figures

    found = results.read(loaded, evaluations, metrics)
    drawn = {"overview": draw.png(draw.overview(found))}
    for result in found:
        drawn[f"{result.name}-losses"] = draw.png(draw.losses(result))
        if result.pictures:
            drawn[f"{result.name}-curves"] = draw.png(draw.curves(result))
            drawn[f"{result.name}-samples"] = draw.png(draw.samples(result))
    with whole_dir(figures) as folder:
        write_figures(folder, drawn)
    write_bytes(page, render(loaded, found, drawn).encode())
    click.echo(f"report: {page}")


if __name__ == "__main__":
    main()
