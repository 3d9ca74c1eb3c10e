"""``try``: generate the answer of a built artifact to one prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click
from pydantic import JsonValue
from rich.console import Console

from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.running import runtime_starter
from targets.console.answer_view import AnswerView
from targets.errors import ConfigError, Problem
from targets.try_artifact import (
    built_artifact,
    constraint,
    conversation,
    question,
    try_artifact,
)

if TYPE_CHECKING:
    from pipeline.contract.data_spec import DataSpec
    from targets.runtimes.platform import Choice

_LONGEST = 1_000_000
"""Longest text that is read of standard input, in characters."""


@click.command("try")
@click.argument("text", required=False)
@options.config_options
@click.option("--target", metavar="NAME", help="Which target's artifact (default: the first).")
@click.option(
    "--artifact",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model folder (default: the one of the config's build in --dist).",
)
@click.option("--raw", is_flag=True, help="Send TEXT as it is, without the config's prompt.")
@click.option("--free", is_flag=True, help="Do not hold the answer to the config's `constrain`.")
@click.option("--max-new-tokens", type=click.IntRange(1), default=64, show_default=True)
@options.config_runtime_option
@options.place_options
@options.json_option
def command(
    text: str | None,
    config: Path,
    host: str | None,  # noqa: ARG001 - accepted so that a build's options can be reused
    data: dict[str, Path],
    model: str | None,
    system: str | None,
    target: str | None,
    artifact: Path | None,
    raw: bool,
    free: bool,
    max_new_tokens: int,
    runtime: Choice | None,
    cache: Path | None,
    dist: Path,
    as_json: bool,
) -> None:
    """Load the artifact, stream its answer to TEXT, and show how fast it was.

    Without TEXT, it is what stands on standard input; on a terminal, the artifact is asked line by
    line, and remembers what was said until a line is empty.
    """
    chosen = () if target is None else (target,)
    choices = options.BuildChoices(config, chosen, None, data, model, runtime, system)
    request = options.load_requests(choices, here=True)[0]
    build, target = request.loaded.config, request.loaded.targets[0]
    folder = artifact or built_artifact(dist / build.name / target, target, "`try`")
    spec = None if raw else next(iter(build.data.values()), None)
    held = {} if free else constraint(spec)
    console = options.console(as_json)
    view = AnswerView(console)
    store = options.open_cache(cache)
    place = request.places[0]
    starter = runtime_starter(request.runtime, store.root, view, registry=request.registry)
    start = starter([place.toolchain])

    def ask(params: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        whole = {**params, **held, "max_new_tokens": max_new_tokens}
        return try_artifact(folder.absolute(), whole, place, start, store, view).metrics

    if text is None and sys.stdin.isatty() and not as_json:
        _chat(console, spec, ask)
        return
    figures = ask(question(spec, _from_standard_input() if text is None else text))
    if as_json:
        print_json_result({"answer": figures})
        return
    console.print()
    _show_speed(console, figures)


def _from_standard_input() -> str:
    """Return the text on standard input. Raises ``ConfigError`` if it is none, or too long."""
    text = sys.stdin.read(_LONGEST + 1)
    if not text.strip() or len(text) > _LONGEST:
        what = "is empty" if not text.strip() else f"has more than {_LONGEST:,} characters"
        advice = 'give the question: try -- "..."'
        raise ConfigError([Problem(f"standard input {what}", key="TEXT", suggestion=advice)])
    return text.rstrip("\n")


def _chat(
    console: Console,
    spec: DataSpec | None,
    ask: Callable[[Mapping[str, JsonValue]], Mapping[str, JsonValue]],
) -> None:
    """Ask line by line, each with what was said before, until a line is empty."""
    turns: list[JsonValue] = []
    while line := click.prompt("you", default="", show_default=False).strip():
        params = conversation(question(spec, line), turns)
        figures = ask(params)
        turns = [*params["messages"], {"role": "assistant", "content": figures["text"]}]
        console.print()
        _show_speed(console, figures)


def _show_speed(console: Console, figures: Mapping[str, JsonValue]) -> None:
    speed = figures["tokens_per_second"]
    rate = f", {speed:.0f} tokens/s" if isinstance(speed, float) else ""
    console.print(f"[dim]first token after {figures['first_token_ms']:.1f} ms{rate}[/]")
