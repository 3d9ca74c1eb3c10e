"""``export-mlflow``: write a finished build to a server of MLflow, as a run."""

from __future__ import annotations

from pathlib import Path

import click

from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.errors import EnvironmentUnable
from targets.report.dist import HTML_FILE, MARKDOWN_FILE, MODEL_DIR, REPORT_FILE
from targets.report.find_reports import report_in

REQUIREMENTS = "requirements-mlflow.lock"
_SERVER = "MLFLOW_TRACKING_URI"


@click.command("export-mlflow")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--to",
    "server",
    metavar="URL",
    envvar=_SERVER,
    required=True,
    help=f"Address of the MLflow server (default: {_SERVER}).",
)
@click.option("--experiment", metavar="NAME", help="Experiment (default: the build's name).")
@click.option("--with-model", is_flag=True, help="Upload the model's files too.")
@options.json_option
def command(
    folder: Path, server: str, experiment: str | None, with_model: bool, as_json: bool
) -> None:
    """Write parameters, figures, curves of the loss and the report of FOLDER (dist/BUILD/TARGET) to
    an MLflow server. A report that is there already is left as it is."""
    from targets.report.mlflow_run import configure, send

    configure()
    try:
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise EnvironmentUnable(
            "export-mlflow needs mlflow-skinny",
            f"install {REQUIREMENTS}, or the extra: pip install 'quern[mlflow]'",
        ) from None
    found = report_in(folder)
    names = (REPORT_FILE, MARKDOWN_FILE, HTML_FILE, *([MODEL_DIR] if with_model else []))
    files = [path for name in names if (path := folder / name).exists()]
    named = experiment or found.report.build
    try:
        sent = send(found, server, named, files)
    except (MlflowException, OSError) as error:
        first_line = str(error).partition("\n")[0]
        raise EnvironmentUnable(
            f"MLflow at {server} did not take it: {first_line}",
            "give the address of a running server, such as --to http://localhost:5000",
        ) from None
    if as_json:
        print_json_result({"run": sent.run, "experiment": named, "earlier": sent.earlier})
        return
    words = "is there already" if sent.earlier else "written"
    echo(f"run {sent.run} of the experiment {named} {words}")
