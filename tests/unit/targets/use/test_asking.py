"""The program that asks a released model: it puts the question as the model was taught."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.data_spec import DataSpec
from pipeline.contract.file_digest import FileDigest
from pipeline.data.prompt_form import prompt_form
from targets.target import load_target
from targets.use.asking import asking
from targets.use.program import Program, program_for
from targets.use.wheels import plugin, run_requirements
from targets.use.write_use import (
    ASK,
    REQUIREMENTS,
    c_literal,
    foundry_file,
    json_literal,
    page_files,
    python_literal,
    render,
    use_files,
)
from tests.support.reports import make_report

COMMON = {"path": "tones.jsonl", "completion": "{tone}"}


def script_for(spec: DataSpec | None, has_template: bool, preloads: bool = False) -> bytes:
    form = prompt_form(spec)
    return render(ASK, Program(form, chat=form.chat and has_template, preloads=preloads))


def put(script: bytes, *given: str) -> dict[str, Any]:
    """Run the part of a script that puts the question; return its variables."""
    body = ast.parse(script).body
    chosen: list[ast.stmt] = []
    for statement in body:
        wanted = isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        if wanted and statement.targets[0].id in ("given", "text", "messages"):  # type: ignore[attr-defined]
            chosen.append(statement)
    names: dict[str, Any] = {"sys": type("sys", (), {"argv": ["ask.py", *given]})}
    exec(compile(ast.Module(chosen, []), "ask.py", "exec"), names)  # noqa: S102 - our own script
    return names


@pytest.mark.parametrize(
    ("keys", "given", "message"),
    [
        ({"prompt": "{phrase}"}, ["so glad"], "so glad"),
        ({"prompt": "Tone of «{phrase}»?\n\"'\\"}, ["so {x}"], "Tone of «so {x}»?\n\"'\\"),
        ({"prompt": "{{{a b}}} {ü} {a b}"}, ["1", "{ü}"], "{1} {ü} 1"),
    ],
)
def test_the_prompt_is_filled_in(keys: dict[str, str], given: list[str], message: str) -> None:
    spec = DataSpec.model_validate({**COMMON, **keys})
    found = put(script_for(spec, has_template=True), *given)
    assert found["messages"] == [{"role": "user", "content": message}]
    json.dumps(found["messages"])


def test_a_system_message_comes_first() -> None:
    spec = DataSpec.model_validate({**COMMON, "prompt": "{phrase}", "system": 'Say "tone".'})
    found = put(script_for(spec, has_template=True), "so glad")
    assert found["messages"] == [
        {"role": "system", "content": 'Say "tone".'},
        {"role": "user", "content": "so glad"},
    ]


@pytest.mark.parametrize(
    ("keys", "has_template", "text"),
    [
        ({"prompt": "Tone of {phrase}:", "chat": False}, True, "Tone of so glad:"),
        ({"prompt": "Tone of {phrase}:"}, False, "Tone of so glad:"),
    ],
)
def test_text_that_is_continued_is_no_message(
    keys: dict[str, Any], has_template: bool, text: str
) -> None:
    spec = DataSpec.model_validate({**COMMON, **keys})
    script = script_for(spec, has_template)
    assert put(script, "so glad")["text"] == text
    assert b"apply_chat_template" not in script


def test_without_a_data_set_it_is_the_users_message() -> None:
    found = put(script_for(None, has_template=True), "hello")
    assert found["messages"] == [{"role": "user", "content": "hello"}]


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("cpu", ["numpy", "onnxruntime", "onnxruntime-genai"]),
        ("directml", ["numpy", "onnxruntime-directml", "onnxruntime-genai-directml"]),
        ("webgpu", ["numpy", "onnxruntime", "onnxruntime-ep-webgpu", "onnxruntime-genai"]),
    ],
)
def test_what_runs_it_is_pinned(target: str, names: list[str]) -> None:
    lines = run_requirements(load_target(target)).decode().splitlines()
    assert [line.partition("==")[0] for line in lines] == names
    assert all(re.search(r"==\S+ --hash=sha256:[0-9a-f]{64}", line) for line in lines)


def test_for_cuda_its_libraries_are_pinned_and_loaded() -> None:
    """Those that onnxruntime-gpu needs, as uv wrote beside each package of the lock."""
    target = load_target("cuda")
    lines = run_requirements(target).decode().splitlines()
    names = {line.partition("==")[0] for line in lines}
    lock = target.toolchain("linux/amd64").lock.read_text()
    pins = re.findall(r"^([a-z0-9-]+)==.*\n((?:    .*\n)*)", lock, re.MULTILINE)
    needed = {"numpy", "onnxruntime-genai-cuda", "onnxruntime-gpu"}
    nvidia = {name: re.findall(r"#\s+(?:via )?(\S+)$", notes, re.M) for name, notes in pins}
    for _ in nvidia:
        needed |= {
            name
            for name, users in nvidia.items()
            if name.startswith("nvidia-") and needed & {*users}
        }
    assert names == needed
    assert len(needed) > 5
    script = script_for(None, has_template=True, preloads=True).decode()
    ast.parse(script)
    loaded = script.index("onnxruntime.preload_dlls()")
    assert script.index("import onnxruntime\n") < loaded < script.index("og.Model(")
    assert "preload" not in script_for(None, has_template=True).decode()


@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_prompt_and_template_are_said(file: str, tmp_path: Path) -> None:
    template = "{% for message in messages %}{{ message.content }}{% endfor %}"
    content = template if file.endswith("jinja") else json.dumps({"chat_template": template})
    (tmp_path / file).write_text(content)
    spec = DataSpec.model_validate(
        {**COMMON, "prompt": "Tone of {the phrase}?", "system": "One word."}
    )
    (tmp_path / "genai_config.json").write_text('{"model": {"context_length": 8}}')
    found = asking(program_for(spec, tmp_path, {}, "model", preloads=False), tmp_path)
    assert (found.system, found.prompt) == ("One word.", "Tone of {the phrase}?")
    assert (found.usage, found.chat_template) == ("THE_PHRASE", template)


BROKEN = ("", "{", "[]", '{"model": 7, "chat_template": []}', '{"model": {"context_length": "x"}}')


@pytest.mark.parametrize("content", BROKEN)
def test_a_broken_artifact_has_programs_too(content: str, tmp_path: Path) -> None:
    for name in ("genai_config.json", "tokenizer_config.json"):
        (tmp_path / name).write_text(content)
    written = program_for(None, tmp_path, {"constrained": {"guidance": 1}}, "model", False)
    assert (written.context, written.chat, written.start) == (2048, False, None)
    ast.parse(render(ASK, written))


def test_texts_are_literals_of_each_language() -> None:
    text = "\"'\\?? \\u0041 é東🙂\n\t\x01\x7f${x}\u202e"
    assert ast.literal_eval(python_literal(text)) == text
    assert json.loads(json_literal(text)) == text
    bytes_of = re.sub(
        r"\\([0-7]{3}|.)",
        lambda found: {"n": "\n"}.get(found[1]) or _octal(found[1]),
        c_literal(text)[1:-1],
    )
    assert bytes_of.encode("latin-1").decode() == text
    assert c_literal(text).isascii()


def _octal(sign: str) -> str:
    return chr(int(sign, 8)) if len(sign) == 3 else sign


@pytest.mark.parametrize("name", ["ask.py", "ask.cpp", "Ask.cs", "Ask.java", "ask.mjs"])
def test_an_adapter_beside_the_model_is_loaded_by_its_name(name: str, tmp_path: Path) -> None:
    assert b"dapter" not in render(name, program_for(None, tmp_path, {}, "model", False))
    (tmp_path / "support.onnx_adapter").write_bytes(b"")
    source = render(name, program_for(None, tmp_path, {}, "model", False)).decode()
    assert "support.onnx_adapter" in source
    python = ("adapters.load", "set_active_adapter", "append_tokens")
    others = ("OgaLoadAdapter", "OgaSetActiveAdapter", "OgaGenerator_AppendTokenSequences")
    places = [source.rindex(call) for call in (python if name == "ask.py" else others)]
    assert places == sorted(places)


def test_foundry_local_is_not_told_of_a_model_whose_adapter_it_would_leave_out() -> None:
    templates = {"foundry_template": {"assistant": "{Content}", "prompt": "{Content}"}}
    report = make_report()
    made = report.passes[0].model_copy(update={"metrics": templates})
    report = report.model_copy(update={"passes": (made,)})
    assert foundry_file(report)
    adapter = FileDigest(path="support.onnx_adapter", bytes=80, sha256="0f")
    assert not foundry_file(report.model_copy(update={"files": (*report.files, adapter)}))


@pytest.mark.parametrize("target", ["cpu", "cuda", "directml"])
def test_only_what_browsers_run_has_a_page_and_only_a_plugin_is_loaded(
    target: str, tmp_path: Path
) -> None:
    written = program_for(None, tmp_path, {}, "model", False, plugin(load_target(target)))
    files = use_files(written, load_target(target))
    assert {"ask.py", "ask.cpp", "ask.mjs"} <= files.keys()
    assert not [name for name in files if name.startswith("web/")]
    assert b"register_execution_provider_library" not in files["ask.py"]


def test_for_webgpu_the_provider_is_loaded_before_the_model_and_a_page_is_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "model.onnx.data").touch()
    target = load_target("webgpu")
    files = use_files(program_for(None, tmp_path, {}, "model", False, plugin(target)), target)
    source = files["ask.py"].decode()
    assert "import onnxruntime_ep_webgpu as plugin" in source
    assert source.index("register_execution_provider_library") < source.index("og.Model")
    assert {name for name in files if not name.startswith("web/")} == {"ask.py", REQUIREMENTS}
    assert '["model.onnx.data"]' in files["web/ask.js"].decode()
    lock = json.loads(files["web/package-lock.json"])
    fetched = [package for place, package in lock["packages"].items() if place]
    assert all(package["integrity"].startswith("sha512-") for package in fetched)
    pinned = json.loads(files["web/package.json"])["dependencies"]
    assert lock["packages"][""]["dependencies"] == pinned
    for name in pinned:
        assert f"./node_modules/{name}/" in files["web/index.html"].decode()


def test_the_page_cannot_be_left_by_words_of_the_config(tmp_path: Path) -> None:
    words = "</script><b>`${alert(1)}\u2028\"'"
    prompt = words.replace("{", "{{").replace("}", "}}") + "{text}"
    spec = DataSpec.model_validate({**COMMON, "prompt": prompt})
    script = page_files(program_for(spec, tmp_path, {}, "../model", False))["web/ask.js"].decode()
    (made,) = re.findall(r"wordsOf = \(given\) =>\n(.*) \+ given\[0\];\n", script)
    pieces = made.replace('" + "', '", "')
    assert "".join(json.loads(f"[{pieces}]")) == words
    assert b"alert" not in page_files(program_for(spec, tmp_path, {}, "x", False))["web/index.html"]
