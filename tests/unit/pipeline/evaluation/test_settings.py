"""What a checkpoint asks for beyond greedy answers is said, and nothing that is idle."""

import pytest

from pipeline.evaluation.settings import left_out_note, shipped, unmeasured_note


def test_the_penalty_is_the_checkpoints_and_the_rest_greedy() -> None:
    assert shipped({"repetition_penalty": 1.3, "do_sample": True, "num_beams": 4}) == {
        "do_sample": False,
        "num_beams": 1,
        "num_return_sequences": 1,
        "min_length": 0,
        "no_repeat_ngram_size": 0,
        "repetition_penalty": 1.3,
    }
    assert shipped({"repetition_penalty": None})["repetition_penalty"] == 1.0


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 20, "max_length": 4096},
        {"num_beams": 1, "length_penalty": 2.0, "early_stopping": True, "min_new_tokens": None},
        {"suppress_tokens": [], "no_repeat_ngram_size": 0, "transformers_version": "5.0.0"},
    ],
)
def test_sampling_and_idle_settings_are_no_news(settings: dict[str, object]) -> None:
    assert left_out_note(settings) == ""


def test_each_setting_that_changes_an_answer_is_named_with_its_value() -> None:
    note = left_out_note(
        {"no_repeat_ngram_size": 3, "min_new_tokens": 5, "suppress_tokens": [7], "top_k": 1}
    )
    assert "min_new_tokens = 5, no_repeat_ngram_size = 3, suppress_tokens = [7]" in note
    assert "top_k" not in note


def test_search_options_that_are_not_measured_are_named() -> None:
    assert unmeasured_note({"max_length": 512, "repetition_penalty": 1.2, "num_beams": 1}) == ""
    note = unmeasured_note({"do_sample": True, "num_beams": 4})
    assert "do_sample = true, num_beams = 4" in note
