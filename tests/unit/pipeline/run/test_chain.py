"""``python -m pipeline PLAN`` in a process of its own, with small passes added as files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.errors import StepError
from pipeline.contract.events import (
    EVENT,
    Event,
    StepFailed,
    StepFinished,
    StepProgress,
    StepStarted,
    Warned,
)
from pipeline.contract.plan import PathRef, Plan, SourceInput, Step, StepInput, object_path
from pipeline.contract.result import StepResult
from pipeline.process.environment import Secrets
from pipeline.run.failures import failure

ROOT = Path(__file__).resolve().parents[4]

# A folder of modules joins the package as installed plug-ins would: the chain finds them by name.
START = """
import runpy, sys
import pipeline.checks, pipeline.passes
pipeline.passes.__path__.append(sys.argv.pop(1))
pipeline.checks.__path__.append(sys.argv.pop(1))
runpy.run_module("pipeline", run_name="__main__", alter_sys=True)
"""

SECRET = {"HF_TOKEN": "hf_abcdefgh"}

HEADER = """
from pathlib import Path
from pipeline.contract.frozen import Frozen
from pipeline.passes.base import BasePass
from pipeline.contract.step import Inputs
from pipeline.contract.errors import StepError

class PassParams(Frozen):
    text: str = "hello"

class Pass(BasePass[PassParams]):
    Params = PassParams
    produces = "predictions"

    def run(self, inputs, params, out_dir):
"""

WRITE = """
        import os
        print("chatter from Python")
        os.system("echo chatter from a child")
        inputs.report.warn("mind the gap")
        for done in range(1, 101):
            inputs.report.progress(done, 100, "rows", loss=1 / done)
        before = inputs["before"] / "said.txt" if "before" in inputs.paths else None
        earlier = before.read_text() if before else ""
        (out_dir / "said.txt").write_text(earlier + params.text)
        (out_dir / "deep").mkdir()
        (out_dir / "deep" / "private.bin").write_bytes(b"12345")
        (out_dir / "deep" / "private.bin").chmod(0o600)
        return {"length": len(params.text), "earlier": dict(inputs.metrics.get("before", {}))}
"""

BODIES = {
    "write": WRITE,
    "refuse": '        raise StepError("no such column", hint="look again", cause="bad_input")\n',
    "crash": """
        (out_dir / "half").write_text("x")
        raise ValueError("first\\nlast")
""",
    "full": '        raise OSError(28, "No space left on device")\n',
    "hide": """
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise RuntimeError("writer failed") from error
""",
    "memory": '        raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried")\n',
    "panic": """
        class PanicException(BaseException):  # as PyO3 makes one of a panic
            pass
        raise PanicException("retry-limit-in-match over")
""",
    "link": '        (out_dir / "link").symlink_to("/etc/hostname")\n        return {}\n',
    "environment": """
        import json, os, tempfile
        (out_dir / "environment.json").write_text(json.dumps(dict(os.environ)))
        return {"temporary": tempfile.gettempdir()}
""",
    "leak": '        raise RuntimeError("401 for token hf_abcdefgh")\n',
    "hold": """
        import re, time
        (Path(out_dir).parent.parent / "holding").touch()
        re.match(r"(a+)+$", "a" * 64 + "b")  # holds the main thread inside C for years
        return {}
""",
    "allocate": """
        block = bytearray(200 << 20)
        return {"size": len(block)}
""",
}

CHECK = """
from pipeline.checks.base import BaseCheck, Outcome
from pipeline.contract.frozen import Frozen
from pipeline.contract.errors import ArtifactError
from pipeline.contract.result import Verdict

class CheckParams(Frozen):
    limit: float = 1.0
    usable: bool = True
    panics: bool = False

class Check(BaseCheck[CheckParams]):
    Params = CheckParams

    def run(self, inputs, params):
        if not params.usable:
            raise ArtifactError("it does not load")
        if params.panics:
            raise type("PanicException", (BaseException,), {})("retry-limit-in-match over")
        status = "passed" if params.limit >= 1 else "failed"
        verdict = Verdict(name="size", status=status, value=1, limit=params.limit)
        return Outcome((verdict,), {"n": [1]})
"""


@dataclass(frozen=True)
class Workshop:
    """A work folder, a cache and a folder of passes."""

    folder: Path

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def step(self, name: str, type_: str, **more: Any) -> Step:
        facts = {"kind": "pass", "target": "cpu", "toolchain": "t", "key": f"{name}-key", "seed": 0}
        return Step.model_validate({**facts, "name": name, "type": type_, **more})

    def start(self, *steps: Step, **environment: str) -> subprocess.Popen[str]:
        roots = {"work": str(self.work), "objects": str(self.folder / "objects")}
        plan = Plan(build="b", steps=steps, roots=roots, threads=3, origin={"runtime": "test"})
        path = self.folder / "plan.json"
        path.write_text(plan.model_dump_json(), "utf-8")
        passes, checks = self.folder / "passes", self.folder / "checks"
        return subprocess.Popen(
            [sys.executable, "-c", START, str(passes), str(checks), str(path)],
            cwd=ROOT,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *steps: Step, **environment: str) -> tuple[int, list[Event], str]:
        process = self.start(*steps, **environment)
        out, err = process.communicate(timeout=60)
        return process.returncode, [EVENT.validate_json(line) for line in out.splitlines()], err

    def result(self, name: str) -> StepResult:
        path = self.work / f"{name}-key" / "result.json"
        return StepResult.model_validate_json(path.read_text("utf-8"))

    def left(self) -> list[str]:
        return sorted(path.name for path in self.work.iterdir())


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    for name in ("work", "objects", "passes", "checks"):
        (tmp_path / name).mkdir()
    for name, body in BODIES.items():
        (tmp_path / "passes" / f"{name}.py").write_text(HEADER + body, "utf-8")
    (tmp_path / "checks" / "block.py").write_text(CHECK, "utf-8")
    return Workshop(tmp_path)


def failed(events: list[Event]) -> StepFailed:
    (event,) = (event for event in events if isinstance(event, StepFailed))
    return event


def test_steps_run_in_order_and_pass_on_outputs_and_metrics(workshop: Workshop) -> None:
    second = workshop.step(
        "two",
        "write",
        params={"text": " world"},
        inputs={"before": StepInput(step="one", key="one-key")},
    )
    code, events, _ = workshop.run(workshop.step("one", "write"), second)
    assert code == 0
    marks = [(type(e), e.step) for e in events if isinstance(e, StepStarted | StepFinished)]
    assert marks == [
        (StepStarted, "one"),
        (StepFinished, "one"),
        (StepStarted, "two"),
        (StepFinished, "two"),
    ]
    assert (workshop.work / "two-key" / "output" / "said.txt").read_text() == "hello world"
    assert workshop.result("two").metrics == {"length": 6, "earlier": {"length": 5, "earlier": {}}}
    assert workshop.left() == ["one-key", "two-key"]


def test_the_result_tells_files_cost_versions_and_origin(workshop: Workshop) -> None:
    workshop.run(workshop.step("one", "write"))
    result = workshop.result("one")
    digest = hashlib.sha256(b"hello").hexdigest()
    found = {(f.path, f.bytes, f.sha256) for f in result.files}
    assert ("said.txt", 5, digest) in found
    assert {f.path for f in result.files} == {"said.txt", "deep/private.bin"}
    private = workshop.work / "one-key" / "output" / "deep" / "private.bin"
    assert private.stat().st_mode & 0o777 == 0o644
    assert result.seconds > 0
    assert result.versions["python"].startswith("3.")
    assert result.origin == {"runtime": "test"}


def test_memory_is_measured_for_each_step(workshop: Workshop) -> None:
    code, _, _ = workshop.run(workshop.step("big", "allocate"), workshop.step("small", "write"))
    assert code == 0
    big, small = workshop.result("big").peak_rss_bytes, workshop.result("small").peak_rss_bytes
    assert big > 200 << 20
    assert small < big - (100 << 20)


def test_chatter_does_not_mix_with_events_and_progress_is_throttled(workshop: Workshop) -> None:
    _, events, err = workshop.run(workshop.step("one", "write"))
    assert "chatter from Python" in err
    assert "chatter from a child" in err
    progress = [event for event in events if isinstance(event, StepProgress)]
    assert 1 <= len(progress) < 10
    assert (progress[-1].done, progress[-1].total) == (100, 100)
    assert progress[-1].metrics == {"loss": 0.01}
    assert [event.message for event in events if isinstance(event, Warned)] == ["mind the gap"]


def test_finished_steps_are_taken_from_work_and_cache(workshop: Workshop) -> None:
    workshop.run(workshop.step("one", "write"))
    cached = workshop.folder / "objects" / object_path("one-key")
    cached.parent.mkdir()
    (workshop.work / "one-key").rename(cached)
    before = {path: path.stat().st_mtime_ns for path in cached.rglob("*")}
    inputs = {"before": StepInput(step="one", key="one-key")}
    second = workshop.step("two", "write", inputs=inputs)
    code, events, _ = workshop.run(workshop.step("one", "write"), second)
    assert code == 0
    assert not [e for e in events if isinstance(e, StepProgress) and e.step == "one"]
    assert workshop.left() == ["two-key"]
    assert {path: path.stat().st_mtime_ns for path in cached.rglob("*")} == before


def test_a_missing_input_is_named(workshop: Workshop) -> None:
    inputs = {"before": StepInput(step="lost", key="lost-key")}
    code, events, _ = workshop.run(workshop.step("two", "write", inputs=inputs))
    assert code == 1
    assert "lost" in failed(events).message


@pytest.mark.parametrize(
    ("type_", "cause", "message"),
    [
        ("refuse", "bad_input", "no such column"),
        ("crash", "error", "ValueError: last"),
        ("full", "disk_full", "No space left"),
        ("hide", "disk_full", "writer failed"),
        ("memory", "out_of_memory", "not enough memory"),
        ("link", "error", "symbolic link"),
        ("panic", "error", "PanicException: retry-limit"),
    ],
)
def test_a_broken_step_says_why_and_leaves_nothing(
    workshop: Workshop, type_: str, cause: str, message: str
) -> None:
    after = workshop.step("after", "write")
    code, events, err = workshop.run(
        workshop.step("one", "write"), workshop.step("bad", type_), after
    )
    event = failed(events)
    assert code == 1
    assert (event.step, event.cause) == ("bad", cause)
    assert message in event.message
    assert event.hint or cause == "error"
    assert "Traceback" in err
    assert workshop.left() == ["one-key"]
    assert "after" not in {event.step for event in events}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"type": "wriet"}, "did you mean 'write'"),
        ({"type": "write", "params": {"txet": "x"}}, "txet"),
        ({"type": "write", "params": {"text": 3}}, "text"),
    ],
)
def test_wrong_types_and_parameters_are_refused(
    workshop: Workshop, step: dict[str, Any], message: str
) -> None:
    code, events, _ = workshop.run(workshop.step("one", step.pop("type"), **step))
    assert code == 1
    assert message in failed(events).message
    assert workshop.left() == []


def test_checks_leave_verdicts_and_evidence(workshop: Workshop) -> None:
    steps = [
        workshop.step("good", "block", kind="check"),
        workshop.step("bad", "block", kind="check", params={"limit": 0.5}),
        workshop.step("broken", "block", kind="check", params={"usable": False}),
        workshop.step("panics", "block", kind="check", params={"panics": True}),
    ]
    code, _, _ = workshop.run(*steps)
    assert code == 0
    statuses = {s.name: [v.status for v in workshop.result(s.name).verdicts] for s in steps}
    assert statuses == {
        "good": ["passed"],
        "bad": ["failed"],
        **{name: ["failed"] for name in ("broken", "panics")},
    }
    assert "retry-limit" in workshop.result("panics").verdicts[0].detail
    assert workshop.result("good").evidence == {"n": [1]}
    assert "does not load" in workshop.result("broken").verdicts[0].detail


def test_environment_of_an_offline_step(workshop: Workshop) -> None:
    workshop.run(workshop.step("one", "environment"), HF_HOME="/kept", **SECRET)
    path = workshop.work / "one-key" / "output" / "environment.json"
    found = json.loads(path.read_text("utf-8"))
    assert found["OMP_NUM_THREADS"] == found["MKL_NUM_THREADS"] == "3"
    assert found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert found["TOKENIZERS_PARALLELISM"] == "true"
    assert found["HF_HUB_OFFLINE"] == "1"
    assert found["HF_HOME"] == "/kept"
    assert "HF_TOKEN" not in found
    temporary = workshop.result("one").metrics["temporary"]
    assert str(temporary).startswith(str(workshop.work))
    assert not Path(str(temporary)).exists()


def test_only_steps_of_the_hub_see_secrets(workshop: Workshop) -> None:
    steps = (
        workshop.step("fetch", "environment", network=True, hub=True),
        workshop.step("rows", "environment", network=True),
        workshop.step("train", "environment"),
    )
    workshop.run(*steps, **SECRET)
    seen = {
        name: json.loads((workshop.work / f"{name}-key/output/environment.json").read_text())
        for name in ("fetch", "rows", "train")
    }
    assert seen["fetch"]["HF_TOKEN"] == SECRET["HF_TOKEN"]
    assert "HF_HUB_OFFLINE" not in seen["fetch"]
    assert "HF_HUB_OFFLINE" not in seen["rows"]
    assert "HF_TOKEN" not in {*seen["rows"], *seen["train"]}


def test_secrets_reach_neither_events_nor_the_traceback(workshop: Workshop) -> None:
    _, events, err = workshop.run(workshop.step("one", "leak"), **SECRET)
    assert failed(events).message == "RuntimeError: 401 for token ***"
    assert SECRET["HF_TOKEN"] not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_at_once(workshop: Workshop, number: signal.Signals) -> None:
    process = workshop.start(workshop.step("one", "hold"))
    deadline = time.monotonic() + 30
    while not (workshop.work / "holding").exists():
        assert time.monotonic() < deadline, process.poll()
        time.sleep(0.02)
    time.sleep(0.2)
    sent = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == -number
    assert time.monotonic() - sent < 5
    assert not (workshop.work / "one-key").exists()
    # What is left of it does not stand in the way of the next run.
    assert workshop.run(workshop.step("one", "write"))[0] == 0
    assert (workshop.work / "one-key" / "result.json").is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_first_process_of_a_container(number: signal.Signals) -> None:
    """The kernel ignores default actions there, so a handler must do it; here it is asked to."""
    code = (
        "import hashlib; from pipeline.process.signals import exit_promptly_on_signal;"
        " exit_promptly_on_signal(True);"
        "print('ready', flush=True);"
        "hashlib.pbkdf2_hmac('sha256', b'p', b's', 2_000_000_000)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=20)
    assert process.returncode == 128 + number


def test_an_unreadable_plan_is_exit_2(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"build": "b"}')
    command = [sys.executable, "-m", "pipeline", str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "plan.json" in done.stderr


def test_the_command_line_says_where_roots_are(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(Plan(build="b", steps=(), roots={"work": "/nowhere"}).model_dump_json())
    work = tmp_path / "a=b"
    command = [sys.executable, "-m", "pipeline", str(path)]
    at = [*command, "--root", f"work={work}", "--root", "data=/rows"]
    done = subprocess.run(at, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, work.is_dir()) == (0, True), done.stderr
    for wrong in ("work", "=x", "work="):
        done = subprocess.run([*command, "--root", wrong], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 2
        assert f"'{wrong}' is not NAME=PATH" in done.stderr


def test_sources_are_resolved_by_root() -> None:
    plan = Plan(build="b", steps=(), roots={"model": "/somewhere"})
    source = SourceInput(ref=PathRef(root="model", path="deep/config.json"), digest="d")
    assert plan.resolve(source.ref) == Path("/somewhere/deep/config.json")
    with pytest.raises(KeyError):
        plan.resolve(PathRef(root="other"))


def test_hint_and_cause_of_a_step_error_are_kept(tmp_path: Path) -> None:
    event = failure("s", StepError("no", hint="try that", cause="network"), tmp_path)
    assert (event.cause, event.hint, event.message) == ("network", "try that", "no")


def test_quota_counts_as_a_full_disk(tmp_path: Path) -> None:
    assert failure("s", OSError(errno.EDQUOT, "quota"), tmp_path).cause == "disk_full"


def test_secret_names_are_recognized() -> None:
    names = {"HF_TOKEN", "AZURE_CLIENT_SECRET", "PIP_EXTRA_INDEX_URL", "my_api_key"}
    kept = {"TOKENIZERS_PARALLELISM": "x", "PATH": "x", "KEYBOARD": "x"}
    environ = {**dict.fromkeys(names, "secret value"), **kept}
    secrets = Secrets(environ)
    assert environ == kept
    with secrets.restored(hub=True):
        assert set(environ.values()) == {"secret value", "x"}
    assert environ == kept
    assert secrets.redact("a secret value here") == "a *** here"
