"""``bench``: measure artifacts side by side, and show the changes since an earlier bench."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path

import click
from rich.console import Console

from pipeline.reading.whole_numbers import whole_number
from targets.bench.bench_schema import Bench
from targets.bench.measure import BenchWorkload
from targets.bench.read_bench import read_bench
from targets.bench.run_bench import LIBRARIES, BenchRequest, Earlier, run_bench
from targets.bench.significance import SMALLEST_RATIO
from targets.cli import options
from targets.cli.json_output import print_json_result
from targets.cli.running import Built, build_all, failure_of, runtime_starter, show_view
from targets.errors import CheckFailed, EnvironmentUnable

REQUIREMENTS = "requirements-bench.lock"


def _lengths(
    _context: click.Context, _parameter: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    if value is None:
        return None
    lengths = [whole_number(part.strip()) for part in value.split(",")]
    if not all(lengths):
        raise click.BadParameter(f"'{value}' is not a list of lengths such as 128,512")
    return tuple(length for length in lengths if length)


@click.command("bench")
@options.build_options
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
    choices: options.BuildChoices,
    cache: Path | None,
    dist: Path,
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
    bench_request = BenchRequest(
        workload=BenchWorkload(rounds, samples, max_seconds, lengths),
        baseline=None if baseline is None else baseline.absolute(),
        earlier=None if earlier is None else Earlier(str(earlier), read_bench(earlier)),
        smallest_ratio=smallest_change / 100,
    )
    bench_request.workload.require_valid()
    store = options.open_cache(cache)
    requests = options.load_requests(choices, cache=store)
    options.require_here(requests, "bench")
    console = options.console(as_json)
    benches: list[Bench] = []
    built: list[Built] = []
    with show_view(console) as view:
        for request in requests:
            start = runtime_starter(request.runtime, store.root, view, registry=request.registry)
            builds = list(build_all(request, store, dist.absolute(), start, view))
            pairs = [(one.place, one.outcome) for one in builds]
            config = request.loaded.file.name
            benches.append(run_bench(config, pairs, bench_request, start, store, view))
            built += builds
    folders = _write(benches, dist)
    failure = failure_of(built) or (_regression(benches) if fail_on_regression else None)
    if as_json:
        print_json_result({"benches": benches}, failure)
        return
    _show(console, zip(benches, folders, strict=True))
    if failure is not None:
        raise failure


def require_libraries() -> None:
    """Raise ``EnvironmentUnable`` that names missing libraries, which only this command needs."""
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    if missing:
        raise EnvironmentUnable(
            f"bench needs {' and '.join(missing)}, which this Python does not have",
            f"run `nox -s bench`, or `pip install --require-hashes -r {REQUIREMENTS}`",
        )


def _write(benches: Sequence[Bench], dist: Path) -> list[Path]:
    # Matplotlib takes most of a second to import: the page is drawn when everything is measured.
    from targets.bench.write_bench import write_bench

    return [write_bench(dist.absolute(), bench) for bench in benches]


def _show(console: Console, written: Iterable[tuple[Bench, Path]]) -> None:
    from targets.bench.write_bench import PAGE
    from targets.console.print_bench import print_bench

    for bench, folder in written:
        print_bench(console, bench, options.as_typed(folder / PAGE))


def _regression(benches: Sequence[Bench]) -> CheckFailed | None:
    regressions = [
        f"{one.target}: {one.what} is {one.word}"
        for bench in benches
        if bench.comparison is not None
        for one in bench.comparison.regressed
    ]
    if not regressions:
        return None
    return CheckFailed("; ".join(regressions), "bench.html says by how much, and how sure that is")
