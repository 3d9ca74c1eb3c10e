"""``serve``: answer programs that speak OpenAI's protocol, on this machine alone, to try it out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from targets.cli import options
from targets.cli.running import runtime_starter
from targets.console.answer_view import AnswerView
from targets.errors import EnvironmentUnable
from targets.try_artifact import built_artifact, conversation, question

if TYPE_CHECKING:
    from pydantic import JsonValue

    from targets.runtimes.platform import Choice

REQUIREMENTS = "requirements-serve.lock"

_WAITING = 16
"""Requests that may wait while one is answered."""


@click.command("serve", short_help="Serve a built artifact to OpenAI's clients on this machine.")
@options.config_options
@click.option("--target", metavar="NAME", help="Which target's artifact (default: the first).")
@click.option(
    "--artifact",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Model folder (default: the one of the config's build in --dist).",
)
@click.option("--raw", is_flag=True, help="Take messages as they are, without the config's prompt.")
@click.option("--free", is_flag=True, help="Do not hold answers to the config's `constrain`.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port on 127.0.0.1; 0 takes any that is free.",
)
@options.config_runtime_option
@options.place_options
def command(
    config: Path,
    host: str | None,  # noqa: ARG001 - accepted so that a build's options can be reused
    data: dict[str, Path],
    model: str | None,
    system: str | None,
    target: str | None,
    artifact: Path | None,
    raw: bool,
    free: bool,
    port: int,
    runtime: Choice | None,
    cache: Path | None,
    dist: Path,
) -> None:
    """Serve the artifact at http://127.0.0.1:PORT/v1, to try it with any client of OpenAI's.

    Chat completions, streamed or not, one after the other. The last message is put into the
    config's prompt, as `try` does. It is for trying things out: there is no key, and only this
    machine is answered. Ctrl-C ends it.
    """
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise EnvironmentUnable(
            "serving needs Starlette and Uvicorn, which are not installed",
            f"install {REQUIREMENTS}, or the extra: pip install 'quern[serve]'",
        )
    from pipeline.data.constraint import constraint_of
    from targets.serve.application import Served
    from targets.serve.exchange import Exchange
    from targets.serve.serve import LOOPBACK, http_server, listening, serve

    chosen = () if target is None else (target,)
    choices = options.BuildChoices(config, chosen, None, data, model, runtime, system)
    request = options.load_requests(choices, here=True)[0]
    build, target = request.loaded.config, request.loaded.targets[0]
    folder = artifact or built_artifact(dist / build.name / target, target, "`serve`")
    spec = None if raw else next(iter(build.data.values()), None)
    console = options.console(as_json=False)
    view = AnswerView(console)
    store = options.open_cache(cache)
    place = request.places[0]
    starter = runtime_starter(request.runtime, store.root, view, registry=request.registry)

    def ask(turns: list[dict[str, JsonValue]]) -> dict[str, JsonValue]:
        *earlier, last = turns
        asked = question(spec, str(last["content"]))
        if not earlier and "prompt" in asked:
            return asked
        return {**conversation(asked, earlier)}

    exchange = Exchange(_WAITING)
    held = None if free else constraint_of(spec)
    served = Served(build.name, exchange, ask, held)
    with listening(port) as listener:
        address = f"http://{LOOPBACK}:{listener.getsockname()[1]}/v1"
        runtime_here = starter([place.toolchain])

        def loaded() -> None:
            console.print(f"{address} serves the model {build.name}; Ctrl-C ends it", markup=False)

        with http_server(served.application(), listener):
            serve(folder.absolute(), exchange, place, runtime_here, store, view, loaded)
