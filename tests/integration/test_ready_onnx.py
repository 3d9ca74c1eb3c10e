"""A ready ONNX model, built elsewhere: what is proven of it, with its checkpoint and without."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.attack.planting import plant
from tests.support import plans
from tests.support.command import Quern
from tests.support.quick_builds import report_of
from tests.support.warm_builds import warm_build
from tests.support.warm_runtime import WarmRuntime

CONFIG = """\
name = "small"
skip_checks = ["latency", "memory"]

[model]
onnx = "{folder}"
{source}

[data.tones]
path = "tones.jsonl"
prompt = "{{phrase}}"
completion = "{{tone}}"
label = "tone"

[data.tones.split]
eval = 0.3

[checks.graph]
precision = "int4"
"""
SOURCE = 'source = "checkpoint"'
BUILT_WITH = '\n[checks.rebuild]\nbuilt_with = { precision = "int4" }\n'
# Fault -> what names it where the checkpoint is known, but not how the model was built.
BESIDE_ITS_CHECKPOINT = {"norm_larger": "long_run_share", "sampling": "checkpoint"}


@dataclass(frozen=True)
class Ready:
    """A project with a model folder that no pass of it made, and copies with faults."""

    quern: Quern
    runtime: WarmRuntime
    folder: Path

    def build(self, fault: str = "", source: str = "", checks: str = "") -> int:
        config = self.folder / "small.toml"
        name = f"spoiled/{fault}/output" if fault else "spoiled/made/output"
        config.write_text(CONFIG.format(folder=name, source=source) + checks)
        return warm_build(config, self.folder / "dist", self.quern.cache, self.runtime)

    @property
    def verdicts(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in report_of(self.folder / "dist")["checks"]}

    def of(self, status: str) -> set[str]:
        return {name for name, one in self.verdicts.items() if one["status"] == status}


@pytest.fixture(scope="module")
def ready(quern: Quern, warm_runtime: WarmRuntime, material: Path, toolchain_python: Path) -> Ready:
    made = plans.step("made", "pass", {"model": plans.CHECKPOINT}, type="model_builder")
    plans.must_run(toolchain_python, material / "spoiled", material, [made])
    faults = ("one_weight", "softcap", "code_beside", *BESIDE_ITS_CHECKPOINT)
    plant(toolchain_python, material / "spoiled", "made", *faults)
    return Ready(quern, warm_runtime, material)


def test_it_is_proven_to_be_what_the_builder_makes_of_its_checkpoint(ready: Ready) -> None:
    assert ready.build(source=SOURCE, checks=BUILT_WITH) == 0, ready.verdicts
    assert ready.of("passed") == ready.verdicts.keys()
    assert {"same_weights", "layer_scales", "run_share", "rotary_table"} < ready.verdicts.keys()


@pytest.mark.slow
def test_one_weight_of_it_is_named(ready: Ready) -> None:
    assert ready.build("one_weight", SOURCE, BUILT_WITH) == 3
    assert ready.of("failed") == {"same_weights"}


@pytest.mark.slow
@pytest.mark.parametrize("fault", BESIDE_ITS_CHECKPOINT)
def test_it_is_held_against_its_checkpoint(ready: Ready, fault: str) -> None:
    assert ready.build(fault, SOURCE) == 3
    assert BESIDE_ITS_CHECKPOINT[fault] in ready.of("failed"), ready.verdicts
    assert ready.of("unverified") == {
        *("same_files", "same_graph", "same_settings", "same_tokenizer", "same_weights")
    }


def test_alone_its_parts_are_held_against_each_other(ready: Ready) -> None:
    assert ready.build("softcap") == 3
    assert ready.of("failed") == {"fits_together"}
    assert "others are" in ready.verdicts["fits_together"]["detail"]
    assert "chat" in ready.of("passed")
    assert "is not here" in ready.verdicts["same_weights"]["detail"]


@pytest.mark.slow
def test_alone_nothing_proves_all_of_it(ready: Ready) -> None:
    assert ready.build() == 0, ready.verdicts
    assert {"fits_together", "chat"} <= ready.of("passed")
    assert report_of(ready.folder / "dist")["status"] == "unverified"


@pytest.mark.slow
def test_what_nothing_refers_to_is_not_taken_over(ready: Ready) -> None:
    assert ready.build("code_beside", SOURCE, BUILT_WITH) == 0, ready.verdicts
    shipped = {path.name for path in (ready.folder / "dist/small/cpu/model").iterdir()}
    assert "modeling_phi3.py" not in shipped
