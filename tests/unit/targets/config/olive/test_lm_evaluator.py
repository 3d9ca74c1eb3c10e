"""What becomes of Olive's LMEvaluator. The tables are shaped like those of published recipes."""

from __future__ import annotations

from typing import Any

import pytest

from targets.config.olive.ledger import State
from tests.support.olive_files import document, read_olive_file, refusals, state, translated


def judged_by(**keys: Any) -> Any:
    raw = read_olive_file("flat.json")
    raw["evaluators"]["judge"] = {"type": "LMEvaluator", **keys}
    return raw


def test_it_becomes_the_check_lm_eval() -> None:
    raw = judged_by(
        tasks=["arc_easy", "mmlu"],
        batch_size=4,
        limit=100,
        num_fewshot=5,
        max_length=2048,
        bootstrap_iters=0,
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        system_instruction="Answer.",
    )
    assert not refusals(raw)
    assert document(raw)["checks"]["lm_eval"] == {
        "tasks": ["arc_easy", "mmlu"],
        "batch_size": 4,
        "limit": 100,
        "num_fewshot": 5,
        "max_length": 2048,
        "bootstrap_iters": 0,
        "apply_chat_template": True,
        "fewshot_as_multiturn": True,
        "system_instruction": "Answer.",
    }
    kind = state(translated(raw), "evaluators", "judge", "type")
    assert kind == (State.TRANSLATED, "the check lm_eval")


@pytest.mark.parametrize("model", ["ortgenai", "ort", "hf"])
def test_how_the_model_is_run_is_the_targets(model: str) -> None:
    raw = judged_by(
        tasks=["mmlu"],
        model_class=model,
        device="gpu",
        execution_provider="CUDAExecutionProvider",
        provider_options={"enable_skip_layer_norm_strict_mode": "1"},
        model_args={"past_present_share_buffer": False},
        sample_log_num=100,
    )
    assert not refusals(raw)
    assert document(raw)["checks"]["lm_eval"] == {"tasks": ["mmlu"]}
    found = state(translated(raw), "evaluators", "judge", "device")
    assert found[0] is State.NO_EFFECT


def test_the_size_on_disk_among_its_tasks_is_the_check_size() -> None:
    checks = document(judged_by(tasks=["mmlu", "size_on_disk"]))["checks"]
    assert (checks["lm_eval"], "size" in checks) == ({"tasks": ["mmlu"]}, True)
    alone = judged_by(tasks=["size_on_disk"], limit=4)
    assert "lm_eval" not in document(alone)["checks"]


@pytest.mark.parametrize(
    ("keys", "key", "said"),
    [
        (
            {"tasks": [{"task": "wmt", "dataset_path": "wmt/wmt18"}]},
            "tasks",
            "is named, not written",
        ),
        ({"tasks": ["mmlu"], "model_class": "vllm"}, "model_class", "no model_class 'vllm'"),
        ({"tasks": ["mmlu"], "model_args": {"dtype": "fp8"}}, "dtype", "takes no such argument"),
        ({"tasks": ["mmlu"], "apply_chat_template": "rag"}, "apply_chat_template", "by name"),
        ({"tasks": ["mmlu"], "num_fewshots": 5}, "num_fewshots", "no such key"),
        ({"limit": 5}, "judge", "needs tasks"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_its_key(
    keys: dict[str, Any], key: str, said: str
) -> None:
    (found,) = refusals(judged_by(**keys)).items()
    assert key in found[0]
    assert said in found[1]


def test_an_evaluator_of_another_library_is_refused() -> None:
    raw = judged_by(tasks=["STS12"])
    raw["evaluators"]["judge"]["type"] = "MTEBEvaluator"
    (reason,) = refusals(raw).values()
    assert "models that embed texts" in reason
