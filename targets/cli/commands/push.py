"""``push``: bring a built artifact to the Hugging Face hub, with its model card."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.contract.schema import HUB_PREFIX
from targets.cli import options
from targets.cli.echo import echo
from targets.cli.json_output import print_json_result
from targets.errors import ConfigError, EnvironmentUnable, Problem
from targets.figures import size
from targets.report.dist import read_report, require_onnx
from targets.try_artifact import built_artifact

if TYPE_CHECKING:
    from targets.runtimes.platform import Choice

REQUIREMENTS = "requirements-release.lock"


@click.command("push", short_help="Bring a built artifact to the Hugging Face hub.")
@click.argument("to", metavar="hf:ORG/NAME")
@options.config_options
@click.option("--target", metavar="NAME", help="Which target's artifact (default: the first).")
@click.option("--private", is_flag=True, help="Make the repository private, if it is made.")
@click.option("--dry-run", is_flag=True, help="Only show what would be pushed. Asks nobody.")
@options.config_runtime_option
@options.place_options
@options.json_option
def command(
    to: str,
    config: Path,
    host: str | None,  # noqa: ARG001 - accepted so that a build's options can be reused
    data: dict[str, Path],
    model: str | None,
    system: str | None,
    target: str | None,
    private: bool,
    dry_run: bool,
    runtime: Choice | None,
    cache: Path | None,  # noqa: ARG001 - as above
    dist: Path,
    as_json: bool,
) -> None:
    """Commit the artifact of a build to hf:ORG/NAME on the hub, as it lies in --dist.

    With it go a model card that the hub reads, the programs of use/, and the file by which Foundry
    Local knows the model. The token is that of HF_TOKEN or of `hf auth login`. A build whose checks
    failed is not pushed.
    """
    if find_spec("huggingface_hub") is None:
        raise EnvironmentUnable(
            "pushing needs huggingface_hub, which is not installed",
            f"install {REQUIREMENTS}, or the extra: pip install 'quern[release]'",
        )
    from targets.publish.push import CARD, prepare_push, push
    from targets.release.hub import require_licences

    repo = to.removeprefix(HUB_PREFIX)
    if not to.startswith(HUB_PREFIX) or repo.count("/") != 1:
        advice = "write hf:ORG/NAME"
        raise ConfigError([Problem(f"'{to}' is no repository", key="TO", suggestion=advice)])
    chosen = () if target is None else (target,)
    choices = options.BuildChoices(config, chosen, None, data, model, runtime, system)
    loaded = options.load_requests(choices, here=True)[0].loaded
    require_licences(loaded)
    folder = dist / loaded.config.name / loaded.targets[0]
    built_artifact(folder, loaded.targets[0], "`push`")
    report = read_report(folder)
    require_onnx(report, folder, "`push`")
    spec = None if loaded.main_data is None else loaded.config.data[loaded.main_data]
    pushed = prepare_push(folder, report, loaded.config.card, spec)
    address = None
    if not dry_run:
        message = f"{report.build} for {report.target}, by Quern {report.quern}"
        address = push(pushed, repo, private, message)
    if as_json:
        print_json_result({"push": {"to": repo, "files": pushed.sizes, "commit": address}})
        return
    for path, length in pushed.sizes.items():
        echo(f"{size(length):>10}  {path}")
    if address is None:
        card = pushed.files[CARD]
        assert isinstance(card, bytes)  # noqa: S101 - it is written here
        echo(f"\n{card.decode()}\nnothing was pushed to {repo}: --dry-run")
    else:
        echo(f"pushed to {repo}: {address}")
