"""The limits of quantization stand between healthy builds of a real model and spoilt ones.

Measured on the fine-tuned SmolLM2-135M of ``configs/smollm2.toml``, by 256 positions: mean and 99th
percentile of the divergence from the float export, agreement on the first choice, and relative
error of the logits. The catalogue of ``tests/attack`` has the faults.
"""

from __future__ import annotations

import pytest

from pipeline.checks import conversion, quantization

# Ways of bench-smollm.
HEALTHY = {
    "as shipped": (0.2207, 1.682, 0.8203, 0.4044),
    'algorithm = "default"': (0.2593, 1.730, 0.7734, 0.4079),
    "symmetric = false": (0.2297, 1.483, 0.8086, 0.4017),
    "block_size = 128": (0.3479, 1.865, 0.7734, 0.4877),
    'algorithm = "k_quant_last"': (0.1710, 1.201, 0.8242, 0.3538),
    'algorithm = "k_quant_mixed"': (0.1349, 0.914, 0.8281, 0.2993),
}
HEALTHY_INT8 = (0.0051, 0.0445, 0.9492, 0.0410)
HARMED = {"epsilon": (0.8364, 3.965, 0.5391, 0.5334)}
SPOILT = {
    "zero_points": (63.34, 72.63, 0.0, 2.884),
    "dithered": (13.61, 25.54, 0.0, 1.365),
    "residual": (10.69, 18.92, 0.0, 1.368),
    "gate": (9.836, 24.30, 0.0039, 1.196),
    "swapped_layers": (9.235, 17.97, 0.0078, 1.135),
    "norm_zero": (5.075, 13.09, 0.1914, 0.9895),
}
# These change the model about as much as another way to quantize does: no limit can tell.
SUBTLE = {
    "attention_scale": (0.3740, 2.671, 0.7891, 0.4580),
    "norm_larger": (0.2768, 1.911, 0.7891, 0.4254),
    "softcap": (0.2595, 1.717, 0.8242, 0.4123),
    "no_positions": (0.2579, 1.892, 0.7773, 0.4160),
    "rotary_of_another_base": (0.2494, 1.641, 0.8047, 0.4102),
    "layer_larger": (0.2231, 1.471, 0.8203, 0.4118),
}
# The divergence for the long text: of the first two ways, and of faults in a small model, which has
# 0.002 without one.
LONG_HEALTHY = (0.0717, 0.1264)
LONG_SPOILT = {
    "embedding_smaller": 0.687,
    "epsilon": 1.104,
    "gate": 0.561,
    "no_positions": 0.492,
    "attention_scale": 0.997,
    "zero_points": 0.306,
}
# By how much the figures of a healthy build may grow for another model.
ROOM = 1.8

Figures = tuple[float, float, float, float]


def missed(figures: Figures, bits: int, room: float = 1.0) -> set[str]:
    """Return the limits that figures miss, if each were so much nearer."""
    limits, combined = quantization._BY_BITS[bits], conversion._BY_BITS[bits]
    mean, p99, agreement, error = figures
    found = {
        "mean_kl": mean * room > limits.mean_kl,
        "p99_kl": p99 * room > limits.p99_kl,
        "top1_agreement": 1 - (1 - agreement) * room < limits.agreement,
        "logits_error": error * room > combined.error,
    }
    return {name for name, is_missed in found.items() if is_missed}


@pytest.mark.parametrize("way", HEALTHY)
def test_a_healthy_build_stays_away_from_the_limits(way: str) -> None:
    assert not missed(HEALTHY[way], 4, ROOM)


def test_one_in_int8_does_too() -> None:
    assert not missed(HEALTHY_INT8, 8, ROOM)


@pytest.mark.parametrize("fault", SPOILT)
def test_a_spoilt_model_misses_all_of_them(fault: str) -> None:
    assert missed(SPOILT[fault], 4) == {"mean_kl", "p99_kl", "top1_agreement", "logits_error"}


@pytest.mark.parametrize("fault", HARMED)
def test_a_model_that_is_harmed_misses_the_nearest(fault: str) -> None:
    assert missed(HARMED[fault], 4) == {"mean_kl", "p99_kl"}


def test_the_limit_for_a_long_text_stands_between_too() -> None:
    limit = quantization._BY_BITS[4].long_mean_kl
    assert max(LONG_HEALTHY) * ROOM < limit < min(LONG_SPOILT.values())


@pytest.mark.parametrize("fault", SUBTLE)
def test_a_subtle_fault_is_left_to_exact_checks(fault: str) -> None:
    """``tests/integration/test_artifact_faults.py`` shows that those find it."""
    worst = [max(figures[number] for figures in HEALTHY.values()) for number in (0, 1, 3)]
    mean, p99, _, error = SUBTLE[fault]
    assert mean < 1.5 * worst[0]
    assert p99 < 1.5 * worst[1]
    assert error < 1.5 * worst[2]
