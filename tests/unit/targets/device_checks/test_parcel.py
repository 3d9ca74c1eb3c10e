"""Checks beside an artifact that was chosen among several: they have what it was made of."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract.plan import SourceInput, StepInput
from pipeline.contract.result import StepResult
from pipeline.contract.ways import WAY
from targets.cache import Cache
from targets.device_checks.parcel import pack, unpack
from tests.support.planning import make_planner
from tests.support.project import make_project

PASSES = """[passes.awq]

[passes.gptq]

[passes.tune]

[passes.tune.space]
passes = [[], ["gptq"], ["awq", "gptq"]]
"""


def test_checks_that_travel_have_the_inputs_of_the_way_that_was_chosen(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    project.edit("[passes.model_builder]\n", PASSES)
    plan = make_planner(project, Cache(tmp_path / "cache")).plan()
    scaled = plan["awq+reference"].step.key

    def read(way: list[str]) -> set[str]:
        """Return the digests of what `scaling` and `quantization` read as `reference`."""
        results = {
            step.name: StepResult(
                name=step.name,
                type=step.type,
                key=step.key,
                seconds=0,
                peak_rss_bytes=0,
                metrics={WAY: [*way]} if step.name == "tune" else {},
            )
            for step in (planned.step for planned in plan.steps)
        }

        def output(source: StepInput) -> Path:
            folder = tmp_path / "outputs" / source.step
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "logits").write_text(source.key)
            return folder

        packed = tmp_path / "-".join(["packed", *way])
        pack(packed, plan, results, output)
        steps = {step.name: step for step in unpack(packed).steps}
        found = set()
        for name in ("scaling", "quantization"):
            inputs = steps[name].inputs
            assert {role.partition("@")[0] for role in inputs} == {*inputs}, "of one way"
            assert not {"model", "integers"} & {*inputs}, "too large to travel"
            source = inputs["reference"]
            assert isinstance(source, SourceInput)
            assert (packed / "checks" / source.ref.path / "logits").read_text() == source.digest
            found.add(source.digest)
        return found

    assert read(["awq", "gptq"]) == {scaled}
    assert read(["gptq"]) == read([]) == {plan["reference"].step.key}
