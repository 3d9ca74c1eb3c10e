"""``try``: generate the answer of a built artifact to one prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.running import runtime_starter
from targets.console.answer_view import AnswerView
from targets.errors import EnvironmentUnable
from targets.report.dist import MODEL_DIR, REPORT_FILE, read_report, require_onnx
from targets.try_artifact import question, try_artifact

if TYPE_CHECKING:
    from targets.runtimes.platform import Choice


@click.command("try", short_help="Ask a built artifact something.")
@click.argument("text")
@options.config_options
@click.option("--target", metavar="NAME", help="Which target's artifact (default: the first).")
@click.option(
    "--artifact",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model folder (default: the one of the config's build in --dist).",
)
@click.option("--raw", is_flag=True, help="Send TEXT as it is, without the config's prompt.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=64, show_default=True)
@options.config_runtime_option
@options.place_options
@options.json_option
def command(
    text: str,
    config: Path,
    host: str | None,  # noqa: ARG001 - accepted so that a build's options can be reused
    data: dict[str, Path],
    model: str | None,
    system: str | None,
    target: str | None,
    artifact: Path | None,
    raw: bool,
    max_new_tokens: int,
    runtime: Choice | None,
    cache: Path | None,
    dist: Path,
    as_json: bool,
) -> None:
    """Load the artifact, stream its answer to TEXT, and show how fast it was."""
    chosen = () if target is None else (target,)
    choices = options.BuildChoices(config, chosen, None, data, model, runtime, system)
    request = options.load_requests(choices, here=True)[0]
    build, target = request.loaded.config, request.loaded.targets[0]
    folder = artifact or dist / build.name / target / MODEL_DIR
    if not (folder / "genai_config.json").is_file():
        if (folder.parent / REPORT_FILE).is_file():
            require_onnx(read_report(folder.parent), folder.parent, "`try`")
        raise EnvironmentUnable(
            f"there is no artifact at {folder}", f"build it first: nox -s build-{target}"
        )
    spec = None if raw else next(iter(build.data.values()), None)
    console = options.console(as_json)
    view = AnswerView(console)
    store = options.open_cache(cache)
    place = request.places[0]
    result = try_artifact(
        folder.absolute(),
        {**question(spec, text), "max_new_tokens": max_new_tokens},
        place,
        runtime_starter(request.runtime, store.root, view)([place.toolchain]),
        store,
        view,
    )
    if as_json:
        print_json_result({"answer": result.metrics})
        return
    figures = result.metrics
    console.print()
    speed = figures["tokens_per_second"]
    rate = f", {speed:.0f} tokens/s" if isinstance(speed, float) else ""
    console.print(f"[dim]first token after {figures['first_token_ms']:.1f} ms{rate}[/]")
