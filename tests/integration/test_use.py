"""The programs in `use/` ask as `try` does, whatever stands in prompt, template and constraint."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pipeline.contract.data_spec import DataSpec
from targets.cache import Cache
from targets.place import place_of
from targets.target import load_target
from targets.toolchain.platforms import this_machine
from targets.try_artifact import constraint, question, try_artifact
from targets.use.program import program_for
from targets.use.write_use import render
from tests.support.capabilities import program, skip
from tests.support.held_builds import LABELS, HeldBuilds
from tests.support.warm_builds import SilentView
from tests.support.warm_process import warm_code, warm_output

WORDS = {
    "prompt": 'Tone ofé 東 "{phrase}"\\?? 🙂\t%s$&{{}}\n',
    "system": "You say 'one' \"word\".\\",
    "completion": "{tone}",
    "path": "x.jsonl",
}
SPECS: Mapping[str, DataSpec] = {
    "labels": DataSpec.model_validate(
        {**WORDS, "label": "tone", "labels": LABELS, "constrain": True}
    ),
    "pattern": DataSpec.model_validate({**WORDS, "constrain": '[a-z "\\\\]{20}é?'}),
    "free": DataSpec.model_validate({**WORDS, "prompt": "{phrase}", "system": None}),
}
ASKED = 'what a "bright" morning\\ naïve 東京 🙂'
Run = Callable[[Path, str], str]
ATTACH = """
import sys
from pathlib import Path
from safetensors.torch import load_file, save_file
from pipeline.training.separate_adapter import attach
model, checkpoint, adapter = map(Path, sys.argv[1:])
file = adapter / "adapter_model.safetensors"
save_file({name: 10 * tensor for name, tensor in load_file(file).items()}, file)
attach(model, checkpoint, adapter, "tones")
"""


@pytest.fixture(scope="module")
def libraries(toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the runtime's libraries, as the wheels bring them."""
    folder = tmp_path_factory.mktemp("libraries")
    packages = next(toolchain_python.parents[1].glob("lib/python*/site-packages"))
    shutil.copy(packages / "onnxruntime_genai" / "libonnxruntime-genai.so", folder)
    (runtime,) = (packages / "onnxruntime" / "capi").glob("libonnxruntime.so.*")
    shutil.copy(runtime, folder / "libonnxruntime.so")
    return folder


def said(command: list[str], folder: Path, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return done.stdout.decode()


@pytest.fixture(scope="module")
def with_adapter(
    held_builds: HeldBuilds, toolchain_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the model with an adapter beside it."""
    folder = tmp_path_factory.mktemp("adapted")
    warm_output(
        toolchain_python, "tests.support.users_adapters", held_builds.model, folder / "adapters"
    )
    held_builds.build("")
    built = held_builds.folder / "dist" / "held" / "cpu" / "model"
    model = Path(shutil.copytree(built, folder / "model", copy_function=shutil.copyfile))
    parts = (model, held_builds.model, folder / "adapters" / "rslora")
    warm_code(toolchain_python, ATTACH, *parts)
    assert (model / "tones.onnx_adapter").is_file()
    return model


def asked_like_try(
    builds: HeldBuilds, with_adapter: Path, tmp_path: Path, source: str, run: Callable[[Path], str]
) -> None:
    """Hold the program ``source`` against `try`, for each form of prompt and answer, and with an
    adapter."""
    builds.build("")
    built = builds.folder / "dist" / "held" / "cpu" / "model"
    place = place_of(load_target("cpu"), this_machine())
    cases = [*((name, spec, built) for name, spec in SPECS.items())]
    cases.append(("adapted", SPECS["free"], with_adapter))
    answers = {}
    for name, spec, model in cases:
        use = tmp_path / name / "use"
        use.mkdir(parents=True)
        (use.parent / "model").symlink_to(model)
        written = program_for(spec, model, {}, "../model", preloads=False)
        (use / source).write_bytes(render(source, written))
        params = {**question(spec, ASKED), **constraint(spec), "max_new_tokens": 256}
        tried = try_artifact(
            model, params, place, builds.runtime, Cache(builds.cache), SilentView()
        )
        expected = answers[name] = str(tried.metrics["text"])
        assert run(use) == f"{expected}\n", name
        if name == "labels":
            assert expected in LABELS
    assert answers["adapted"] != answers["free"]


def test_python(
    held_builds: HeldBuilds, with_adapter: Path, toolchain_python: Path, tmp_path: Path
) -> None:
    asked_like_try(
        held_builds,
        with_adapter,
        tmp_path,
        "ask.py",
        lambda use: said([str(toolchain_python), "ask.py", ASKED], use),
    )


def test_a_build_writes_them_all(held_builds: HeldBuilds, toolchain_python: Path) -> None:
    built = held_builds.build("constrain = true").folder / "use"
    assert sorted(file.name for file in built.iterdir()) == [
        *("Ask.cs", "Ask.java", "ask.cpp", "ask.mjs", "ask.py"),
        *("inference_model.json", "requirements.txt"),
    ]
    assert said([str(toolchain_python), "ask.py", ASKED], built).rstrip("\n") in LABELS


@pytest.mark.slow
def test_cpp(held_builds: HeldBuilds, with_adapter: Path, libraries: Path, tmp_path: Path) -> None:
    compiler = program("C++", "g++")

    def run(use: Path) -> str:
        link = ["-L", str(libraries), "-lonnxruntime-genai", f"-Wl,-rpath,{libraries}"]
        said([compiler, "-std=c++17", "-Wall", "-Werror", "ask.cpp", "-o", "ask", *link], use)
        return said([str(use / "ask"), ASKED], use)

    asked_like_try(held_builds, with_adapter, tmp_path, "ask.cpp", run)


@pytest.mark.slow
def test_javascript(
    held_builds: HeldBuilds, with_adapter: Path, libraries: Path, tmp_path: Path
) -> None:
    node, npm = program("JavaScript", "node"), program("JavaScript", "npm")
    said([npm, "install", "--silent", "--no-audit", "--no-fund", "koffi@3"], tmp_path)
    library = str(libraries / "libonnxruntime-genai.so")

    def run(use: Path) -> str:
        return said([node, "ask.mjs", ASKED], use, ONNXRUNTIME_GENAI=library)

    asked_like_try(held_builds, with_adapter, tmp_path, "ask.mjs", run)


@pytest.mark.slow
def test_java(held_builds: HeldBuilds, with_adapter: Path, libraries: Path, tmp_path: Path) -> None:
    java = program("Java", "java")
    jna = Path("/usr/share/java/jna.jar")
    if not jna.is_file():
        skip("Java", "Debian's libjna-java is not installed")

    def run(use: Path) -> str:
        path = f"-Djna.library.path={libraries}"
        return said([java, "-cp", str(jna), path, "Ask.java", ASKED], use)

    asked_like_try(held_builds, with_adapter, tmp_path, "Ask.java", run)


@pytest.mark.slow
def test_csharp(
    held_builds: HeldBuilds, with_adapter: Path, libraries: Path, tmp_path: Path
) -> None:
    if not (shutil.which("mcs") and shutil.which("mono")):
        skip("C#", "Debian's mono-mcs is not installed")

    def run(use: Path) -> str:
        said(["mcs", "Ask.cs"], use)
        return said(["mono", "Ask.exe", ASKED], use, LD_LIBRARY_PATH=str(libraries))

    asked_like_try(held_builds, with_adapter, tmp_path, "Ask.cs", run)
