"""Headers of GGUF files: what they say, and that nothing they say is believed."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from pipeline.contract.errors import StepError
from pipeline.gguf.header import read_header
from tests.support.gguf_files import LLAMA, TOKENS, Tensor, gguf, text, typed, write_llama, zeros


def test_what_a_file_says_is_read(tmp_path: Path) -> None:
    header = read_header(write_llama(tmp_path / "m.gguf"))
    assert header.architecture == "llama"
    assert header.items("tokenizer.ggml.tokens") == TOKENS
    assert header.number("llama.rope.freq_base") == 50000
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert header.number("tokenizer.ggml.add_bos_token") is None
    assert header.tensors["blk.1.ffn_down.weight"].shape == (64, 96)
    assert [header.tensors[name].format for name in ("output_norm.weight", "blk.0.attn_k.weight")]
    assert header.main_format is not None
    assert (header.main_format.name, header.main_format.bits) == ("Q4_1", 4)


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    whole = gguf(LLAMA, zeros())
    path = tmp_path / "cut.gguf"
    for size in (0, 3, *random.Random(0).sample(range(4, len(whole) - 32), 200)):  # noqa: S311
        path.write_bytes(whole[:size])
        with pytest.raises(StepError) as caught:
            read_header(path)
        assert caught.value.cause == "bad_input"


def test_changed_bytes_are_refused_or_read_but_never_break_the_reader(tmp_path: Path) -> None:
    small = {key: LLAMA[key] for key in list(LLAMA)[:12]}
    whole = gguf(small, {"a": Tensor((32, 2), 8, bytes(68))})
    chance = random.Random(1)  # noqa: S311
    path = tmp_path / "changed.gguf"
    for _ in range(2000):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.choice((0, 1, 127, 128, 255))
        path.write_bytes(changed)
        try:
            read_header(path)
        except StepError as error:
            assert error.cause == "bad_input"


def headed(tensors: int, entries: int, rest: bytes = b"") -> bytes:
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + rest


ARRAY = struct.pack("<II", 9, 0)
FAULTS = {
    "another format": (b"\x80PK\x03 and so on", "not a GGUF file"),
    "version 1": (b"GGUF" + struct.pack("<III", 1, 0, 0), "version is 1"),
    "big-endian": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "version is 50331648"),
    "many tensors": (headed(1 << 60, 0), "things follow"),
    "many entries": (headed(0, 1 << 40), "things follow"),
    "a long key": (headed(0, 1, struct.pack("<Q", 1 << 50) + bytes(99)), "things follow"),
    "a long array": (
        headed(0, 1, text("a") + ARRAY + struct.pack("<Q", 1 << 62) + bytes(99)),
        "things follow",
    ),
    "an unknown type": (headed(0, 1, text("a") + struct.pack("<I", 77) + bytes(99)), "type 77"),
    "arrays in arrays": (
        headed(0, 1, text("a") + struct.pack("<IIQ", 9, 9, 1) + bytes(99)),
        "type 9",
    ),
    "two values": (headed(0, 2, 2 * (text("a") + typed("b"))), "two values of a"),
    "no dimension": (headed(1, 0, text("t") + struct.pack("<I", 0) + bytes(99)), "0 dimensions"),
    "half a block": (
        headed(1, 0, text("t") + struct.pack("<IQIQ", 1, 31, 8, 0) + bytes(99)),
        "sizes [31]",
    ),
    "a tensor beyond the end": (
        headed(1, 0, text("t") + struct.pack("<IQIQ", 1, 32, 8, 1 << 62) + bytes(99)),
        "cut short",
    ),
    "two tensors of a name": (
        headed(2, 0, 2 * (text("t") + struct.pack("<IQIQ", 1, 32, 8, 0)) + bytes(99)),
        "two tensors",
    ),
    "alignment": (headed(0, 1, text("general.alignment") + typed(0)), "general.alignment is 0"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(fault: str, tmp_path: Path) -> None:
    content, message = FAULTS[fault]
    path = tmp_path / "wrong.gguf"
    path.write_bytes(content)
    with pytest.raises(StepError, match=message.replace("[", r"\[").replace("]", r"\]")):
        read_header(path)
