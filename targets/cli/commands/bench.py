"""``bench``: targets side by side, and what moved since an earlier bench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console

from targets.bench.judge import SMALLEST_RATIO
from targets.bench.measure import Workload
from targets.bench.model import Bench
from targets.bench.read import read_bench
from targets.bench.run import LIBRARIES, Asked, Earlier, run_bench
from targets.cli import options
from targets.cli.running import Built, build_all, require_passed, runtime_once, show_view
from targets.errors import CheckFailed, EnvironmentUnable
from targets.report.dist import REPORT_FILE
from targets.target import target_names


def _names(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[str, ...]:
    return tuple(name for part in (value or "").split(",") if (name := part.strip()))


def _lengths(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    if value is None:
        return None
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdigit() and int(part) for part in parts):
        raise click.BadParameter(f"'{value}' is not a list of lengths such as 128,512")
    return tuple(int(part) for part in parts)


@click.command("bench", short_help="Measure artifacts side by side, and what changed.")
@options.build_options
@click.option(
    "--targets",
    "named",
    metavar="NAMES",
    callback=_names,
    help="Targets to bench, with commas: cpu,cuda,directml. What is missing is built. Default: "
    "those the config names, else those that are built in --dist, else cpu.",
)
@click.option(
    "--baseline",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="An artifact to time in turn with ours: dist/BUILD, dist/BUILD/TARGET or its model/.",
)
@click.option(
    "--compare",
    "earlier",
    type=click.Path(path_type=Path),
    help="bench.json of an earlier bench: show what changed and whether it is real. Its artifacts "
    "are timed in turn with ours if their bytes can still be found.",
)
@click.option(
    "--smallest-change",
    type=click.FloatRange(0, 100, min_open=True),
    default=100 * SMALLEST_RATIO,
    show_default=True,
    metavar="PERCENT",
    help="Ignore changes of times that are smaller.",
)
@click.option(
    "--fail-on-regression",
    is_flag=True,
    help="End with exit code 3 if anything became slower, worse or larger.",
)
@click.option("--rounds", type=int, help="Fresh processes that share the samples (default: 16).")
@click.option("--samples", type=int, help="Answers timed to the data's own prompts.")
@click.option("--lengths", callback=_lengths, metavar="N,N", help="Tokens of made-up prompts.")
@click.option("--max-seconds", type=float, help="Seconds that a target may take at most.")
@options.json_option
def command(
    wanted: options.Wanted,
    cache: Path | None,
    dist: Path,
    named: tuple[str, ...],
    baseline: Path | None,
    earlier: Path | None,
    smallest_change: float,
    fail_on_regression: bool,
    rounds: int | None,
    samples: int | None,
    lengths: tuple[int, ...] | None,
    max_seconds: float | None,
    as_json: bool,
) -> None:
    """Build what is missing, time it on this machine, and write dist/BUILD/bench: bench.json with
    every raw value, bench.md, and bench.html, which needs nothing else.

    What checks on other machines found (`check --result`) is in it too. A target whose device is
    not here is not timed: its other figures are shown, and that it is unverified.
    """
    require_libraries()
    asked = Asked(
        workload=Workload(rounds, samples, max_seconds, lengths),
        baseline=None if baseline is None else baseline.absolute(),
        earlier=None if earlier is None else Earlier(str(earlier), read_bench(earlier)),
        smallest_ratio=smallest_change / 100,
    )
    asked.workload.require_valid()
    requests = _requests(wanted, named, dist)
    options.require_system(requests)
    store = options.open_cache(cache)
    console = options.console(as_json)
    benches: list[Bench] = []
    built: list[Built] = []
    with show_view(console) as view:
        for request in requests:
            start = runtime_once(request.runtime, store.root, view)
            here = list(build_all(request, store, dist.absolute(), start, view))
            pairs = [(one.place, one.outcome) for one in here]
            config = request.loaded.file.name
            benches.append(run_bench(config, pairs, asked, start, store, view))
            built += here
    for bench in benches:
        _finish(console, bench, dist, as_json)
    require_passed(built)
    if fail_on_regression:
        _require_no_regression(benches)


def require_libraries() -> None:
    """Raise ``EnvironmentUnable`` naming the libraries that only this command needs and lacks."""
    lacking = [name for name in LIBRARIES if find_spec(name) is None]
    if lacking:
        raise EnvironmentUnable(
            f"bench needs {' and '.join(lacking)}, which this Python does not have",
            "run `nox -s bench`, or `pip install --require-hashes -r requirements-bench.lock`",
        )


def _requests(
    wanted: options.Wanted, named: tuple[str, ...], dist: Path
) -> tuple[options.Request, ...]:
    """Return the builds; of the targets already built where neither user nor config names any."""
    chosen = (*wanted.targets, *named)
    requests = options.load_requests(replace(wanted, targets=chosen))
    if chosen or any(request.loaded.config.default_targets for request in requests):
        return requests
    names = [
        name
        for name in target_names()
        if any(
            (dist / request.loaded.config.name / name / REPORT_FILE).is_file()
            for request in requests
        )
    ]
    return options.load_requests(replace(wanted, targets=tuple(names))) if names else requests


def _finish(console: Console, bench: Bench, dist: Path, as_json: bool) -> None:
    # Matplotlib takes most of a second to import: the page is drawn when everything is measured.
    from targets.bench.write import PAGE, write_bench
    from targets.console.bench import print_bench

    folder = write_bench(dist.absolute(), bench)
    if as_json:
        click.echo(bench.model_dump_json())
    else:
        print_bench(console, bench, options.shown(folder / PAGE))


def _require_no_regression(benches: Sequence[Bench]) -> None:
    found = [
        f"{one.target}: {one.what} is {one.word}"
        for bench in benches
        if bench.comparison is not None
        for one in bench.comparison.regressed
    ]
    if found:
        raise CheckFailed("; ".join(found), "bench.html says by how much, and how sure that is")
