"""The ``tune`` pass as the host sees it: its space, its place in a plan, what it leaves to show."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tomli
from pydantic import ValidationError
from rich.console import Console

from pipeline.builder.session_options import set_session
from pipeline.contract.plan import Step
from pipeline.contract.result import Verdict
from pipeline.onnx.checkpoint import Checkpoint
from pipeline.process.load import busy_note
from pipeline.tuning.cut import can_cut
from pipeline.tuning.params import TuneParams, grid
from pipeline.tuning.sampler import next_point
from pipeline.tuning.summary import METRIC, Margin, TuningSummary
from pipeline.tuning.trials import Speed, Trial, Trials
from targets.cache import Cache
from targets.config.load import load_config
from targets.console.print_summary import print_summary
from targets.devices.device import Device
from targets.errors import ConfigError
from targets.place import Place
from targets.planner.planner import Planner
from targets.release.release_builder import require_repeatable
from targets.report.report_html import to_html
from targets.report.report_markdown import to_markdown
from targets.report.report_schema import PassReport, Report
from targets.target import load_target
from tests.support.checkpoints import checkpoint
from tests.support.project import Project, make_project
from tests.support.reports import make_report

FAST = Speed(
    prompt_ms=100,
    token_ms=20,
    answer_ms=1360,
    prompt_tokens_per_second=1280,
    tokens_per_second=50,
)
TOO_COARSE = Verdict(
    name="mean_kl", status="failed", value=0.71, limit=0.5, relation="<=", unit="nats"
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = make_project(tmp_path / "project")
    made.edit("[passes.model_builder]", "[passes.tune]")
    return made


def trial(stage: str, built: dict[str, Any], status: str = "measured", **more: Any) -> Trial:
    speed = FAST if status == "measured" else None
    given = {"layers": 4, "session": {"threads": 2}, "speed": speed, "seconds": 1.5, **more}
    return Trial.model_validate({"stage": stage, "built": built, "status": status, **given})


# What is searched over.


def test_a_bare_pass_searches_over_what_moves_speed_and_loss() -> None:
    axes = TuneParams().built_axes
    assert axes == {
        "block_size": (32, 64, 128, 256),
        "symmetric": (True, False),
        "algorithm": ("k_quant", "default"),
    }
    assert TuneParams().session_axes(8) == {"threads": (8, 4, 1)}
    assert TuneParams().session_axes(1) == {"threads": (1,)}


def test_what_has_a_value_is_not_searched_over() -> None:
    params = TuneParams(block_size=64, symmetric=False, threads=3)
    assert list(params.built_axes) == ["algorithm"]
    assert params.session_axes(8) == {"threads": (3,)}
    for asked in params.alternatives():
        assert (asked.block_size, asked.symmetric) == (64, False)


def test_the_search_starts_where_the_pass_says() -> None:
    params = TuneParams.model_validate(
        {"block_size": 128, "space": {"block_size": [32, 128], "algorithm": ["rtn"]}}
    )
    assert params.built_axes["block_size"] == (128, 32)
    assert next(grid(params.built_axes)) == {"block_size": 128, "symmetric": True}
    assert params.algorithm == "rtn"


def test_a_plan_holds_every_parameter_and_means_the_same() -> None:
    for given in (
        {},
        {"block_size": 64},
        {"precision": "fp32"},
        {"space": {"mixed_precision": [{}, {"last_matmul": "int8"}], "accuracy_level": [1, 4]}},
    ):
        params = TuneParams.model_validate(given)
        again = TuneParams.model_validate(params.model_dump(mode="json"))
        assert again.built_axes == params.built_axes
        assert again.session_axes(4) == params.session_axes(4)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"block_size": 16, "space": {"block_size": [32, 64]}}, "the search starts at the first"),
        ({"threads": 2, "space": {"threads": [1, 2]}}, "give one of them"),
        ({"space": {"threads": [0]}}, "at least one thread"),
        ({"space": {"session": {"enable_mem_pattern": ["no"]}}}, "must be true or false"),
        ({"space": {"session": {"session.made_up": [True]}}}, "session.made_up"),
        ({"precision": "fp32", "space": {"block_size": [64]}}, "only int4 and int8 are quantized"),
        (
            {
                "space": {
                    "algorithm": ["k_quant_last"],
                    "mixed_precision": [{"last_matmul": "int8"}],
                }
            },
            "sets its own mixed_precision",
        ),
    ],
)
def test_spaces_that_mean_nothing_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TuneParams.model_validate(given)


def test_options_of_the_session_are_written_as_the_runtime_reads_them() -> None:
    config: dict[str, Any] = {"model": {"decoder": {"session_options": {"log_id": "x"}}}}
    set_session(config, 2, {"session.dynamic_block_base": 4, "enable_mem_pattern": False})
    assert config["model"]["decoder"]["session_options"] == {
        "log_id": "x",
        "intra_op_num_threads": 2,
        "enable_mem_pattern": False,
        "session.dynamic_block_base": "4",
    }


def test_all_points_come_once_and_the_start_first() -> None:
    points = list(grid({"a": (1, 2), "b": (True, False)}))
    tried: list[tuple[dict[str, Any], float | None]] = []
    while len(tried) < 4:
        tried.append((next_point(points, tried, "grid", 0), 1.0))
    assert tried[0][0] == {"a": 1, "b": True}
    assert len({str(point) for point, _ in tried}) == 4
    with pytest.raises(LookupError):
        next_point(points, tried, "grid", 0)


def test_builds_that_are_the_same_are_tried_once() -> None:
    points = TuneParams().built_points
    assert len(points) == 12  # k_quant has a zero point in any case: not 16
    assert points[0] == {"block_size": 32, "symmetric": True, "algorithm": "k_quant"}
    assert {"block_size": 64, "symmetric": False, "algorithm": "k_quant"} not in points


def test_a_model_is_cut_only_where_its_layers_are_known(tmp_path: Path) -> None:
    def model(*names: str, layers: int) -> Checkpoint:
        folder = tmp_path / f"{len(names)}-of-{layers}"
        folder.mkdir()
        return checkpoint(folder, {name: [1] for name in names}, num_hidden_layers=layers)

    usual = [f"model.layers.{at}.mlp.weight" for at in range(8)]
    assert can_cut(model(*usual, "model.embed_tokens.weight", layers=8), 4)
    assert not can_cut(model(*usual[:4], layers=4), 4), "it is no larger"
    assert not can_cut(model(*usual[:7], layers=8), 4), "one is called otherwise"


# What outlives a kill.


def test_trials_outlive_a_kill_in_the_middle_of_a_line(tmp_path: Path) -> None:
    first = Trials(tmp_path)
    first.add(trial("build", {"block_size": 32}))
    first.add(trial("build", {"block_size": 64}))
    file = tmp_path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    again = Trials(tmp_path)
    assert [one.built for one in again] == [{"block_size": 32}]
    again.add(trial("build", {"block_size": 128}))
    assert [one.built for one in Trials(tmp_path)] == [{"block_size": 32}, {"block_size": 128}]
    assert Trials(tmp_path).seconds == 3


def test_what_a_step_goes_on_with_is_gone_once_it_is_whole(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    folder = cache.unfinished("key")
    folder.mkdir(parents=True)
    with cache.work_folder():
        pass
    assert folder.is_dir()
    step = Step(name="t", kind="pass", type="t", target="cpu", toolchain="t", key="key", seed=0)
    with cache.work_folder() as work:
        finished = cache.begin(work, [step], {}) / "key"
        (finished / "output").mkdir(parents=True)
        (finished / "result.json").write_text(
            '{"name":"t","type":"t","key":"key","seconds":1,"peak_rss_bytes":1}'
        )
    assert not folder.exists()


# Its place in a plan.


def planned(project: Project, cache: Path, absence: str = "") -> dict[str, Step]:
    target = load_target("cpu")
    place = Place(target.toolchain("linux/amd64"), Device("cpu", absence))
    loaded = load_config(project.config, [target])
    plan = Planner(loaded, Cache(cache), place, place).plan()
    names = [one.step.name for one in plan.steps]
    assert len(names) == len(set(names))
    return {one.step.name: one.step for one in plan.steps}


def test_it_gets_the_limits_of_the_checks_and_what_they_need(
    project: Project, tmp_path: Path
) -> None:
    project.config.write_text(
        project.config.read_text() + "\n[checks.quantization]\nmax_mean_kl = 0.02\n"
    )
    steps = planned(project, tmp_path / "cache")
    tune = steps["tune"]
    held: Any = tune.params["held_to"]
    assert held["quantization"]["params"]["max_mean_kl"] == 0.02
    assert held["quality"]["params"]["max_accuracy_loss"] == 0.02
    assert {"model", "reference", "float_reference", "tuned_answers"} <= tune.inputs.keys()
    assert tune.inputs["reference"] == steps["quantization"].inputs["reference"]
    assert list(steps).index("float_reference") < list(steps).index("tune")
    assert tune.resumes


def test_a_limit_a_device_and_a_machine_are_in_its_key(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    before = planned(project, cache)
    absent = planned(project, cache, "there is none")
    assert absent["tune"].absent_device == "there is none"
    assert absent["tune"].key != before["tune"].key
    assert absent["merge"].key == before["merge"].key
    monkeypatch.setattr("targets.planner.planner.cpu_name", lambda: "another CPU")
    assert planned(project, cache)["tune"].key != before["tune"].key
    monkeypatch.undo()
    project.config.write_text(
        project.config.read_text() + "\n[checks.quantization]\nmax_mean_kl = 0.02\n"
    )
    after = planned(project, cache)
    assert after["tune"].key != before["tune"].key
    assert after["merge"].key == before["merge"].key


def test_limits_come_from_the_checks_alone(project: Project) -> None:
    project.edit("[passes.tune]", "[passes.tune]\nheld_to = {}")
    with pytest.raises(ConfigError, match=r"set the limits in \[checks\]"):
        load_config(project.config, [load_target("cpu")])


def test_it_does_without_data(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    project.config.write_text('name = "x"\n[model.pretrain]\ntext = "story.txt"\n[passes.tune]\n')
    steps = planned(project, tmp_path / "cache")
    assert list(steps["tune"].params["held_to"]) == ["quantization"]  # type: ignore[arg-type]
    assert steps["tune"].data is None


def test_a_release_refuses_what_nobody_can_make_again(project: Project) -> None:
    loaded = load_config(project.config, [load_target("cpu")])
    with pytest.raises(ConfigError, match="could not be made again"):
        require_repeatable(loaded)


def test_a_release_refuses_the_arithmetic_of_one_cpu(tmp_path: Path) -> None:
    project = make_project(tmp_path)
    require_repeatable(load_config(project.config, [load_target("cpu")]))
    text = project.config.read_text()
    project.config.write_text(f'{text}\n[resources]\narithmetic = "native"\n')
    with pytest.raises(ConfigError, match="would be those of this CPU"):
        require_repeatable(load_config(project.config, [load_target("cpu")]))


# What it leaves to show.


def tuned_report(told: TuningSummary) -> Report:
    report = make_report()
    step = PassReport(
        name="tune",
        type="tune",
        key="k",
        cached=False,
        reason="",
        seconds=1,
        peak_rss_bytes=1,
        metrics={METRIC: told.model_dump(mode="json")},
    )
    return report.model_copy(update={"passes": (*report.passes, step)})


def told(**more: Any) -> TuningSummary:
    trials = (
        trial("build", {"block_size": 128}),
        trial("final", {"block_size": 256}, "beyond", layers=32, verdicts=(TOO_COARSE,), cost=0.71),
        trial("final", {"block_size": 128}, layers=32, cost=0.031, bytes=2_300_000_000),
    )
    given = {"trials": trials, "chosen": 2, "pinned": {"block_size": 128, "threads": 2}, **more}
    return TuningSummary(goal="answer", prompt_tokens=128, new_tokens=64, layers=32, **given)


def test_the_report_shows_what_was_tried_and_how_to_pin_it() -> None:
    text = to_markdown(tuned_report(told()))
    assert "| all 32 | 256 | 2 | – | – | 0.71 | – | mean_kl 0.71 is not" in text
    assert "| all 32 | 128 | 2 | 1,280/s | 50/s | 0.031 | 2.3 GB | chosen" in text
    assert "| 4 of 32 |" in text
    block = text.split("```toml\n")[1].split("```")[0]
    assert tomli.loads(block) == {
        "passes": {"model_builder": {}},
        "targets": {"cpu": {"passes": {"model_builder": {"block_size": 128, "threads": 2}}}},
    }


def test_every_report_shows_what_nothing_beats() -> None:
    other = trial("final", {"block_size": 64}, layers=32, cost=0.011, bytes=2_400_000_000)
    both = told()
    both = both.model_copy(update={"trials": (*both.trials, other), "front": (2, 3)})
    report = tuned_report(both)
    line = "no build beats these in size, time per token and closeness at once: "
    line += "128, 2: 2.3 GB, 50/s, KL 0.031; 64, 2: 2.4 GB, 50/s, KL 0.011"
    console = Console(record=True, width=400)
    print_summary(console, report, Path("dist"), 1.0)
    for text in (to_markdown(report), to_html(report), console.export_text()):
        assert line in text
    assert "| chosen; on the front |" in to_markdown(report)
    assert line not in to_markdown(tuned_report(told()))


def test_the_summary_shows_the_table_on_the_screen() -> None:
    console = Console(record=True, width=160)
    print_summary(console, tuned_report(told(out_of_time=True)), Path("dist"), 1.0)
    text = console.export_text()
    assert "mean_kl 0.71 is not <= 0.5" in text
    assert re.search(r"✓\s+all 32\s+128", text)
    assert re.search(r"✗\s+all 32\s+256", text)
    assert "max_seconds were over before all was tried" in text
    assert "[targets.cpu.passes.model_builder]" in text


def test_the_summary_says_how_sure_the_choice_is() -> None:
    margin = Margin(other={"block_size": 64}, ratio=1.031, low=0.99, high=1.074)
    said = to_markdown(tuned_report(told(margin=margin, busy=busy_note(0.4))))
    assert "block_size 64 takes +3.1 % (-1.0 % to +7.4 %), so that neither is surely faster" in said
    assert "other work took 40% of the CPUs" in said
    sure = margin.model_copy(update={"low": 1.01})
    assert "neither" not in to_markdown(tuned_report(told(margin=sure)))
    tied = Margin(other={"block_size": 64}, ratio=0.99, low=0.985, high=0.995)
    assert "no closer to the float model" in to_markdown(tuned_report(told(margin=tied)))


def test_speed_over_several_processes_is_the_geometric_mean() -> None:
    slow = FAST.model_copy(update={"token_ms": 80})
    assert Speed.mean_of([FAST, slow]).token_ms == pytest.approx(40)
    assert Speed.mean_of([FAST, slow]).prompt_ms == pytest.approx(100)


def test_without_a_device_the_report_says_that_nothing_was_tuned() -> None:
    found = told(trials=(), chosen=None, not_tuned="there is no GPU")
    assert "not tuned: there is no GPU" in to_markdown(tuned_report(found))
