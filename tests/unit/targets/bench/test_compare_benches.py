"""What moved: a change is called one only where it is real, and noise is called noise."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from pipeline.statistics.intervals import Interval
from targets.bench.baseline import EarlierArtifact
from targets.bench.bench_schema import Bench, Comparison, Measurement, Range
from targets.bench.compare_benches import compare, compare_with_baseline
from targets.bench.significance import (
    SMALLEST_RATIO,
    holm,
    independent_shares,
    judge_memory,
    judge_share,
    judge_size,
    judge_time,
    paired_answers,
    paired_p_value,
    unpaired_p_value,
)
from tests.support.bench_data import (
    OTHER_FILES,
    answers,
    bench,
    measured,
    measurement,
    quality,
    target,
)


def compared(new: Bench, old: Bench) -> Comparison:
    return compare(
        new, old, "old.json", {"cpu": EarlierArtifact(None, "in the cache")}, SMALLEST_RATIO
    )


def in_turn(slower: float, seed: int = 0, load: float = 0.3, own: float = 0.005) -> Bench:
    """Return a bench whose old artifact was measured in the same, unevenly busy rounds."""
    dice = random.Random(seed)  # noqa: S311 - made-up times
    shared = [dice.lognormvariate(0, load) for _ in range(6)]
    ours = measured(2 * seed + 1, slower=slower, shared=shared, own=own)
    theirs = measured(2 * seed + 2, shared=shared, own=own)
    return bench(target(measurements=[measurement(ours, theirs)], files=OTHER_FILES))


def words(found: Comparison, kind: str = "latency") -> Counter[str]:
    return Counter(one.word for one in found.movements if one.kind == kind)


def test_ten_percent_are_found_in_a_busy_machine() -> None:
    found = compared(in_turn(1.10), bench())
    assert words(found) == {"slower": 10}
    assert found.targets[0].word == "slower"
    assert {one.basis for one in found.movements if one.kind == "latency"} == {"in turn"}
    assert len(found.regressed) == 10
    assert compared(in_turn(1 / 1.10), bench()).targets[0].word == "faster"


def test_the_same_artifact_is_equal_however_busy_the_machine_is() -> None:
    found = compared(in_turn(1.0), bench())
    assert words(found) == {"equal": 10}
    assert found.targets[0].word == "equal"
    assert not found.regressed


@pytest.mark.slow
def test_noise_alone_is_hardly_ever_called_a_change() -> None:
    called = sum(
        bool(compared(in_turn(1.0, seed, own=0.15), bench()).regressed) for seed in range(100)
    )
    assert called <= 5


def test_what_is_too_noisy_to_tell_is_unsure() -> None:
    found = compared(in_turn(1.0, own=0.3), bench())
    assert words(found)["unsure"] == 10
    assert found.targets[0].word == "unsure"


def test_a_target_is_unsure_where_most_of_its_figures_are() -> None:
    seen = set()
    for own in (0.005, 0.015, 0.02, 0.025, 0.03):
        found = compared(in_turn(1.0, own=own), bench())
        count = words(found)
        expected = "unsure" if count["unsure"] > 5 else "equal"
        assert count["slower"] == count["faster"] == 0
        assert found.targets[0].word == expected
        seen.add((expected, count["equal"] > 0))
    assert {("equal", True), ("unsure", True)} <= seen, "some equal among many unsure ones"


def test_a_change_too_small_to_matter_is_equal() -> None:
    assert words(compared(in_turn(1.015, own=0.001), bench())) == {"equal": 10}
    shown = compare(in_turn(1.015, own=0.001), bench(), "old", {}, 0.005)
    assert words(shown)["slower"] == 10


def test_two_benches_of_one_artifact_say_how_far_they_agree() -> None:
    notes = compared(alone(1), alone(2)).notes
    assert any("agree within their intervals on" in note for note in notes)
    other = alone(1).model_copy(update={"targets": (target(files=OTHER_FILES),)})
    assert not any("agree within" in note for note in compared(other, alone(2)).notes)
    apart = [note for note in compared(alone(1, 1.5), alone(2)).notes if "agree within" in note]
    assert apart[0].endswith("0 of 10 figures")


def alone(seed: int, slower: float = 1.0, **changes: object) -> Bench:
    ours = measurement(measured(seed, slower=slower))
    return bench(target(measurements=[ours])).model_copy(update=changes)


def test_without_the_old_bytes_the_recorded_rounds_are_compared_and_that_is_said() -> None:
    slower = compared(alone(1, 1.10), alone(2))
    assert words(slower) == {"slower": 10}
    assert {one.basis for one in slower.movements if one.kind == "latency"} == {"recorded"}
    assert any("load then and now may differ (load 0.4 then" in note for note in slower.notes)
    assert words(compared(alone(1), alone(2))) == {"equal": 10}


def test_times_of_different_machines_are_not_compared() -> None:
    old = alone(2)
    other = old.machine.model_copy(update={"cpu": "another"})
    found = compared(alone(1, 2.0), old.model_copy(update={"machine": other}))
    assert words(found) == {"unsure": 10}


def test_times_of_a_busy_machine_are_not_compared_with_recorded_ones() -> None:
    ours = measurement(measured(1, slower=2.0), busy=0.4)
    found = compared(bench(target(measurements=[ours])), alone(2))
    assert words(found) == {"unsure": 10}
    assert "other work took 40% of the CPUs" in found.movements[0].why


def test_a_target_without_latency_is_unsure_and_its_size_is_compared() -> None:
    found = compared(bench(target()), bench())
    assert found.targets[0].word == "unsure"
    assert "not measured both then and now" in found.targets[0].summary
    assert words(found, "size") == {"equal": 1}


def test_a_baseline_alone_is_compared_with_too() -> None:
    found = compare_with_baseline(in_turn(1.10), "dist/old", SMALLEST_RATIO)
    assert found is not None
    assert found.targets[0].word == "slower"
    assert not found.targets[0].same_bytes
    assert compare_with_baseline(bench(), "dist/old", SMALLEST_RATIO) is None


def test_one_round_says_nothing() -> None:
    one = measurement(measured(1, rounds=1, slower=2), measured(2, rounds=1))
    found = compared(bench(target(measurements=[one])), bench())
    assert words(found) == {"unsure": 10}


def test_rounds_that_lack_a_kind_of_prompt_are_left_out_as_pairs() -> None:
    ours, theirs = measured(1, slower=1.1), measured(2)
    broken = ours.rounds[0].model_copy(
        update={"timings": {"short": ours.rounds[0].timings["short"]}}
    )
    cut = ours.model_copy(update={"rounds": (broken, *ours.rounds[1:])})
    found = compared(bench(target(measurements=[measurement(cut, theirs)])), bench())
    assert words(found) == {"slower": 10}


def test_targets_in_one_bench_alone_are_named() -> None:
    found = compared(bench(target("cpu")), bench(target("cuda")))
    assert found.targets == ()
    assert list(found.notes) == [
        "cpu is not in the earlier bench",
        "cuda is in the earlier bench alone",
    ]


def test_holm_is_bonferroni_for_the_smallest_and_never_falls() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_many_figures_make_one_small_p_value_worth_less() -> None:
    change = Range(value=1.08, low=1.01, high=1.15)
    assert judge_time(change, 0.03, 0.03, 0.03).word == "slower"
    alone_of_ten = judge_time(change, 0.03, 0.3, 0.03)
    assert alone_of_ten.word == "unsure"
    assert "chance among so many" in alone_of_ten.why


@pytest.mark.parametrize(
    ("low", "value", "high", "p", "word", "why"),
    [
        (0.98, 1.0, 1.02, 0.9, "equal", "within ±3 %"),
        (0.96, 1.01, 1.045, 0.6, "equal", "no real change found"),
        (0.80, 1.01, 1.30, 0.6, "unsure", "too noisy"),
        (1.001, 1.02, 1.04, 0.01, "equal", "less than 3 %"),
        (1.05, 1.10, 1.15, 0.001, "slower", "real"),
        (0.85, 0.90, 0.95, 0.001, "faster", "real"),
    ],
)
def test_words_of_times(
    low: float, value: float, high: float, p: float, word: str, why: str
) -> None:
    found = judge_time(Range(value=value, low=low, high=high), p, p, SMALLEST_RATIO)
    assert (found.word, why in found.why) == (word, True)


def test_p_values_where_nothing_varies() -> None:
    assert paired_p_value([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert paired_p_value([1.1, 1.1], [1.0, 1.0]) == 0.0
    assert paired_p_value([1.1], [1.0]) == 1.0
    assert unpaired_p_value([1.1, 1.1], [1.0, 1.0]) == 0.0
    assert unpaired_p_value([1.0, 1.0], [1.0, 1.0]) == 1.0
    assert unpaired_p_value([1.1], [1.0, 1.0]) == 1.0


def test_quality_is_compared_answer_by_answer() -> None:
    then = [True] * 500 + [False] * 40
    worse = [True] * 480 + [False] * 60
    old = bench(target(answers=answers(then), quality=quality(500)))
    new = bench(target(answers=answers(worse), quality=quality(480)))
    found = next(one for one in compared(new, old).movements if one.kind == "quality")
    assert (found.word, found.basis) == ("worse", "same items")
    assert "0 won, 20 lost" in found.why
    same = next(one for one in compared(old, old).movements if one.kind == "quality")
    assert (same.word, same.p_value) == ("equal", 1.0)


def test_other_data_is_compared_by_intervals_and_that_is_said() -> None:
    old = bench(target(quality=quality(500)))
    inputs = old.targets[0].inputs.model_copy(update={"data": {"tone": "another"}})
    new = bench(target(quality=quality(350), inputs=inputs))
    found = next(one for one in compared(new, old).movements if one.kind == "quality")
    assert (found.word, found.basis) == ("worse", "intervals")
    assert "the data changed" in found.why


def test_answers_to_other_prompts_are_no_pairs() -> None:
    ours, theirs = answers([True] * 4), answers([True] * 5)
    assert paired_answers(ours, theirs) is None
    moved = tuple(row.model_copy(update={"expected": "x"}) for row in ours)
    assert paired_answers(ours, moved) is None
    assert paired_answers((), ()) is None


def test_an_exact_test_by_hand() -> None:
    found = paired_answers(answers([True] * 9 + [False]), answers([False] * 9 + [True]))
    assert found is not None
    assert (found.won, found.lost) == (9, 1)
    # Twice the chance of at most 1 of 10 at one half: 2 * 11 / 1024.
    assert found.p_value == pytest.approx(22 / 1024)


def test_few_samples_are_unsure_and_a_small_real_loss_is_equal() -> None:
    assert judge_share(Range(value=0.0, low=-0.2, high=0.2), real=False).word == "unsure"
    assert judge_share(Range(value=-0.005, low=-0.02, high=-0.001), real=True).word == "equal"
    assert judge_share(Range(value=0.0, low=-0.005, high=0.005), real=False).word == "equal"
    assert judge_share(Range(value=0.01, low=-0.02, high=0.04), real=False).word == "equal"


def test_independent_shares_keep_their_distance() -> None:
    found = independent_shares(Interval(0.9, 0.88, 0.92), Interval(0.8, 0.77, 0.83))
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1 - (0.02**2 + 0.03**2) ** 0.5)


def test_sizes_are_exact_and_memory_is_noisy() -> None:
    assert judge_size(100, 100).word == "equal"
    assert judge_size(1000, 1001) == ("equal", "+1 bytes, less than 1 %")
    assert judge_size(100, 110).word == "larger"
    assert judge_size(100, 90).word == "smaller"
    assert judge_memory(100, 104).word == "equal"
    assert judge_memory(100, 110).word == "more"
    assert judge_memory(110, 100).word == "less"


def test_a_measurement_elsewhere_is_compared_with_one_elsewhere() -> None:
    def elsewhere(seed: int, slower: float) -> Measurement:
        return measurement(measured(seed, slower=slower), here=False)

    old = bench(target(measurements=[elsewhere(1, 1.0)]))
    new = bench(target(measurements=[elsewhere(2, 1.2)]))
    assert compared(new, old).targets[0].word == "slower"
