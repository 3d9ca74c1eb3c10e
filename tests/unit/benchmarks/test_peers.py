"""What the page of peers says is what the processes found."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path

import pytest

from targets.config.load import load_config
from targets.errors import EnvironmentUnable, QuernError
from targets.target import load_target
from tests.benchmarks import pages
from tests.benchmarks.peers import __main__ as bench
from tests.benchmarks.peers import llama_package, peers
from tests.benchmarks.peers.making import kept, last_line, run_measured
from tests.benchmarks.peers.peers import OURS, PEERS, Peer
from tests.benchmarks.peers.programs import libllama
from tests.benchmarks.peers.programs.answering import Answered, Asked, Question, chunks
from tests.benchmarks.peers.rounds import Process, _perplexity_ratio, speed_rows
from tests.benchmarks.peers.subjects import FEW, LONG, MANY, SHORT, Subject
from tests.benchmarks.scale.world import World
from tests.support.checkpoints import checkpoint


def answer(prompt: float, token: float, new: int) -> list[float]:
    """Return times of an answer whose tokens come evenly."""
    return [prompt + number * token for number in range(new)]


def process(peer: str, slower: float, threads: int = 2) -> Process:
    answers = [answer(0.5 * slower, 0.01 * slower, MANY), answer(4.0 * slower, 0.02 * slower, FEW)]
    return Process(peer, threads, Answered(1.5 * slower, answers), int(2e8))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, tmp_path / "cache", None, None, 8, thorough=False, say=lambda _: None)


def test_a_cell_has_the_rate_and_its_ratio_to_quern() -> None:
    found = [process(OURS, 1.0), process("other", 2.0), process(OURS, 1.1), process("other", 2.0)]
    rows = {row.split(" | ")[0]: row for row in speed_rows(found, [OURS, "other"])}
    # The geometric mean of 256 and 256 / 1.1 tokens/s; the ratios are 1 / 2 and 1.1 / 2, of whose
    # logarithms' mean Student's interval is 12.7062 standard errors (1 degree of freedom) wide.
    logs = [math.log(1 / 2), math.log(1.1 / 2)]
    mean, error = sum(logs) / 2, abs(logs[0] - logs[1]) / 2
    low, middle, high = (math.exp(mean + side * 12.7062 * error) for side in (-1, 0, 1))
    shown = f"128: {middle:.2f} ({low:.2f} to {high:.2f})"
    row = rows[f"| prompt of {SHORT}, tokens/s"]
    assert row == f"| prompt of {SHORT}, tokens/s | 2 | {256 / math.sqrt(1.1):.0f} | {shown} |"
    # 100 tokens/s by the 255 steps after the first token, half of that where each takes twice.
    assert (
        f"| {100 / math.sqrt(1.1):.1f} | 50.0: " in rows[f"| {MANY} tokens after {SHORT}, tokens/s"]
    )
    assert (
        f" | {50 / math.sqrt(1.1):.1f} | 25.0: " in rows[f"| {FEW} tokens after {LONG:,}, tokens/s"]
    )
    assert "| 200 | 200: 1.00 (1.00 to 1.00) |" in rows["| peak memory, MB"]


def test_threads_have_rows_of_their_own_and_what_was_not_asked_has_none() -> None:
    few = Process(OURS, 1, Answered(1.0, [answer(1.0, 0.1, FEW)]), 1)
    rows = list(speed_rows([few, process(OURS, 1.0)], [OURS]))
    assert [row.split(" | ")[1] for row in rows] == ["2"] * 7 + ["1"] * 4


def test_a_peer_without_figures_has_no_ratio() -> None:
    row = next(speed_rows([process(OURS, 1.0)], [OURS, "other"]))
    assert row.endswith("| – |")


def test_the_ratio_of_perplexities_is_over_windows() -> None:
    ours, theirs = [[-2.0, -2.0], [-3.0, -3.0]], [[-1.0, -1.0], [-2.0, -2.0]]
    ratio = _perplexity_ratio(Answered(0, logprobs=ours), Answered(0, logprobs=theirs))
    assert ratio == pytest.approx((math.e, math.e, math.e))


def test_what_is_asked_travels_as_json() -> None:
    asked = Asked(2, [1, 2], [Question([3] * 5, 4)], [[5] * 7])
    assert Asked.from_json(asked.to_json()) == asked
    assert asked.room == 9


@pytest.mark.parametrize(("real", "threads", "asked"), [(True, 1, 2), (False, 2, 2), (False, 1, 1)])
def test_no_prompt_begins_like_another(real: bool, threads: int, asked: int) -> None:
    subject = Subject("x", "X", Path(), Path(), Path(), list(range(9000)), real)
    questions = subject.questions(threads)
    prompts = [subject.warm, *(question.prompt for question in questions)]
    assert [len(prompt) for prompt in prompts] == [8, SHORT, LONG][: asked + 1]
    assert len({prompt[0] for prompt in prompts}) == asked + 1
    assert [len(text) for text in subject.texts] == ([512] * 16 if real else [])


def test_a_text_is_read_in_parts_that_make_it_up() -> None:
    text = list(range(300))
    parts = list(chunks(text))
    assert [len(part) for part in parts] == [128, 128, 44]
    assert [token for part in parts for token in part] == text


def test_the_answer_is_found_between_what_libraries_print() -> None:
    assert last_line('loading\n{"load": 1}\nbye\n') == '{"load": 1}'


def test_what_was_made_is_kept_until_something_else_decides_it(world: World) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "model").write_text("x", "utf-8")

    first = kept(world, "model", "one", make)
    assert (first / "model").read_text("utf-8") == "x"
    assert kept(world, "model", "one", make) == first
    assert kept(world, "model", "two", make) != first
    assert len(made) == 2


def test_half_a_model_is_not_kept(world: World) -> None:
    def fail(folder: Path) -> None:
        (folder / "model").write_text("x", "utf-8")
        raise QuernError("no more disk")

    with pytest.raises(QuernError):
        kept(world, "model", "one", fail)
    assert not list((world.cache / "rivals").iterdir())


def test_a_program_that_fails_is_named_with_its_last_line(world: World) -> None:
    command: list[str | Path] = ["/bin/sh", "-c", "echo no such model; exit 3"]
    with pytest.raises(QuernError, match=r"failed \(3\): no such model"):
        run_measured(world, command)


def test_an_absent_peer_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    subject = Subject("x", "X", Path(), Path(), Path(), [], real=False)

    def absent(_: World, __: Subject) -> Peer:
        raise EnvironmentUnable("npm cannot be started")

    there = Peer("genai", Path(), Path())
    chosen = {OURS: lambda *_: there, "llama.cpp Q4_0": absent}
    monkeypatch.setattr(bench, "peers_of", lambda _: chosen)
    peers, missing = bench._made(world, subject)
    assert peers == {OURS: there}
    assert missing == {"llama.cpp Q4_0": "npm cannot be started"}


def test_another_package_than_the_pinned_one_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_package, "this_machine", lambda: "linux/amd64")

    def pack(_: object, tool: str, cwd: Path) -> str:
        (cwd / f"{tool}.tgz").write_bytes(b"other")
        return ""

    monkeypatch.setattr(llama_package, "run_tool", pack)
    with pytest.raises(EnvironmentUnable, match="not the one that is pinned"):
        llama_package.llama_cpp(tmp_path)
    assert not list(tmp_path.rglob("*.so"))


def test_there_is_no_built_llama_cpp_for_every_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama_package, "this_machine", lambda: "linux/arm64")
    with pytest.raises(EnvironmentUnable, match="this is linux/arm64"):
        llama_package.llama_cpp(tmp_path)


@pytest.mark.parametrize(
    ("structure", "size"),
    # As `sizeof` of a C compiler has it for include/llama.h of v0.5.0 on x86-64.
    [
        (libllama.ModelParams, 80),
        (libllama.ContextParams, 160),
        (libllama.QuantizeParams, 64),
        (libllama.Batch, 56),
    ],
)
def test_structures_are_as_large_as_those_of_the_header(
    structure: type[ctypes.Structure], size: int
) -> None:
    assert ctypes.sizeof(structure) == size


@pytest.mark.parametrize("real", [True, False])
def test_what_quern_builds_for_it_is_asked_in_valid_configs(
    world: World, monkeypatch: pytest.MonkeyPatch, real: bool
) -> None:
    source = world.scratch / "model"
    source.mkdir()
    checkpoint(source, {"lm_head.weight": [32, 32]}, model_type="llama")
    (source / "tokenizer.json").write_text("{}", "utf-8")
    subject = Subject("x", "X", source, Path(), Path(), [], real)
    read: list[str] = []

    def only_read(targets: list[str], _: Path, __: Path, config: Path) -> None:
        load_config(config, [load_target(name) for name in targets])
        read.append(config.stem)
        raise SystemExit(0)

    monkeypatch.setattr(peers, "built", only_read)
    for name, make in peers.peers_of(subject).items():
        if name.startswith(OURS):
            with pytest.raises(QuernError, match="exit code 0"):
                make(world, subject)
    assert read == ["x-untuned", "x-tuned", *["x-rounded"] * real]


def test_every_peer_of_the_issue_is_there() -> None:
    assert next(iter(PEERS)) == OURS
    assert bench.parser().parse_args([]).out == pages.PEERS
