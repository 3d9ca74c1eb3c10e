"""What is trained on is what the chat template renders, as transformers has it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract.events import StepFailed
from tests.support import plans
from tests.support.warm_process import warm_output

TURN = "{{ '<|' + m['role'] + '|>\n' }}"
TEMPLATES = {
    "plain": f"{{% for m in messages %}}{TURN}{{{{ m['content'] + '<|end|>\n' }}}}{{% endfor %}}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    # Qwen3: a block before the last answer, which the prompt does not have.
    "block": f"{{% for m in messages %}}{TURN}"
    "{% if m['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    # Granite and others: a line break between an answer and its end.
    "line": f"{{% for m in messages %}}{TURN}{{{{ m['content'] + '\n<|end|>\n' }}}}{{% endfor %}}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    # Many: the text without white space at its ends.
    "trimmed": f"{{% for m in messages %}}{TURN}{{{{ m['content'] | trim + '<|end|>\n' }}}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    # Llama 3.2: today's date.
    "dated": "{{ strftime_now('%d %b %Y') + '\n' }}"
    f"{{% for m in messages %}}{TURN}{{{{ m['content'] + '<|end|>\n' }}}}{{% endfor %}}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
    # Nothing that ends a turn: the end of the sequence does.
    "endless": f"{{% for m in messages %}}{TURN}{{{{ m['content'] + '\n' }}}}{{% endfor %}}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}",
}
# DeepSeek-R1: the prompt opens a block that a rendered answer does not have.
OPENED = (
    f"{{% for m in messages %}}{TURN}{{{{ m['content'] + '<|end|>' }}}}{{% endfor %}}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n<think>\n' }}{% endif %}"
)
# Qwen3 again: what an answer says of its thoughts moves elsewhere.
MOVING = (
    f"{{% for m in messages %}}{TURN}"
    "{{ m['content'].split('</think>')[-1] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
CHATS = [
    [{"role": "user", "content": "who is behind me"}, {"role": "assistant", "content": answer}]
    for answer in ("fear", "e", "end", "think", " good news \n", "a\n\n</b> c")
]


@pytest.fixture(scope="module")
def rows(toolchain_python: Path, tiny: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of each template."""
    templates = {**TEMPLATES, "opened": OPENED, "moving": MOVING}
    thoughts = [CHATS[0][0], {"role": "assistant", "content": "<think>so</think>fear"}]
    said = warm_output(
        *(toolchain_python, "tests.support.chat_rows", tiny / "checkpoint"),
        *(json.dumps(list(templates.values())), json.dumps([*CHATS, thoughts])),
    )
    return dict(zip(templates, json.loads(said), strict=True))


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_row_is_the_rendered_conversation(
    rows: dict[str, list[dict[str, Any]]], name: str
) -> None:
    for row in rows[name][: len(CHATS)]:
        ours, whole = [*row["prompt"], *row["answer"]], row["whole"]
        if name == "endless":
            ours.pop()  # the end of the sequence, which the template leaves to the tokenizer
        assert whole[: len(ours)] == ours
        assert len(whole) - len(ours) <= 1  # a line break after the end


def test_the_answer_is_read_back_without_the_templates_block(
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    for name in TEMPLATES:
        for row, chat in zip(rows[name], CHATS, strict=False):
            assert row["text"].strip() == chat[-1]["content"].strip()


def test_an_answer_after_a_prompt_that_opens_a_block_ends_as_rendered(
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    for row in rows["opened"][: len(CHATS)]:
        assert row["whole"][-len(row["answer"]) :] == row["answer"]


def test_what_a_template_leaves_of_an_answer_is_learnt(
    rows: dict[str, list[dict[str, Any]]],
) -> None:
    whole = rows["moving"][-1]
    assert "refused" not in rows["moving"][0]
    # What is left of the answer is learnt as rendered.
    assert whole["whole"][: len(whole["prompt"])] == whole["prompt"]


ENDLESS = "".join(f"{{% for {name} in range(99999) %}}" for name in "abc") + "{% endfor %}" * 3


@pytest.mark.slow
def test_nor_does_an_artifact_need_rows_for_that(
    toolchain_python: Path, tiny: Path, tmp_path: Path
) -> None:
    """A model of a stranger's that is only converted: its template is rendered all the same."""
    material = tmp_path / "material"
    shutil.copytree(tiny, material)
    (material / "checkpoint" / "chat_template.jinja").write_text(ENDLESS)
    builder = plans.step("model_builder", "pass", {"model": plans.CHECKPOINT})
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", material, [builder])
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert "the chat template does not end" in failed.message


def test_a_template_that_never_ends_is_stopped(
    toolchain_python: Path, tiny: Path, tmp_path: Path
) -> None:
    spec = plans.TONES.spec.model_copy(update={"chat_template": ENDLESS})
    data = plans.TONES.model_copy(update={"spec": spec})
    lora = plans.step("lora", "pass", {"model": plans.CHECKPOINT}, {"max_steps": 1}, data)
    code, events, _ = plans.run(toolchain_python, tmp_path / "work", tiny, [lora])
    (failed,) = (event for event in events if isinstance(event, StepFailed))
    assert (code, failed.cause) == (1, "bad_input")
    assert failed.message.count("the chat template does not end: it takes longer than 10 s") == 1
