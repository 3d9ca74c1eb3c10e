"""What `release` and `verify` say before they start, and of a difference."""

from __future__ import annotations

import pytest

from targets.release.outlook import after_difference, before_training, outlook

INTEL, AMD = "Intel Xeon", "AMD EPYC"
DOUBTS = ("the model has convolutions", "lora computes in bf16")
MEANS = "a difference means that the release is not what its inputs give"
MEANS_NOTHING = "If only what was trained differs, that says nothing; --from-adapter rebuilds"


@pytest.mark.parametrize("doubts", [(), DOUBTS])
@pytest.mark.parametrize("here", [INTEL, AMD])
def test_what_is_not_trained_here_has_the_same_bytes_anywhere(
    here: str, doubts: tuple[str, ...]
) -> None:
    for trained, given, words in (
        (True, True, "what was trained is taken from the release; "),
        (False, False, "nothing is trained; "),
        (False, True, "what was trained is taken from the release; "),
    ):
        said = outlook(INTEL, here, trained=trained, given=given, doubts=doubts)
        assert said.startswith(words)
        assert said.endswith(MEANS)


@pytest.mark.parametrize("doubts", [(), DOUBTS])
def test_the_same_kind_of_cpu_can_train_the_same_bytes(doubts: tuple[str, ...]) -> None:
    said = outlook(INTEL, INTEL, trained=True, given=False, doubts=doubts)
    assert "it can make the same bytes" in said
    assert MEANS in said
    assert after_difference(INTEL, INTEL, doubts) == ""


def test_another_kind_can_too_by_kernels_of_one_name() -> None:
    said = outlook(INTEL, AMD, trained=True, given=False, doubts=())
    assert f"trained on {INTEL}, this is {AMD}" in said
    assert "this machine can make the same bytes" in said
    assert MEANS in said
    assert after_difference(INTEL, AMD, ()) == ""


def test_what_is_doubted_is_named_before_and_after() -> None:
    said = outlook(INTEL, AMD, trained=True, given=False, doubts=DOUBTS)
    after = after_difference(INTEL, AMD, DOUBTS)
    before = before_training(DOUBTS)
    for text in (said, after, before):
        assert "the model has convolutions; lora computes in bf16" in text
        assert "--from-adapter" in text
    assert MEANS_NOTHING in said
    assert MEANS not in said
    assert before_training(()) == ""
