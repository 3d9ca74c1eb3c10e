"""Tokens of many rows lie in an Arrow file, of any number the same as in memory; several texts are
encoded as each by itself."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.warm_process import warm_code

ROWS = """
import json, random, resource, sys, tempfile
from pathlib import Path
import pyarrow
from pipeline.data.token_rows import TokenRows
from pipeline.data.tokens import Tokens
own = tempfile.TemporaryDirectory()
tempfile.tempdir = own.name
chance = random.Random(1)
def row():
    ids = tuple(chance.randrange(50_000) for _ in range(chance.randint(2, 300)))
    return Tokens(ids, (-100, *ids[1:]))
written = [row() for _ in range(15_000)]
rows = TokenRows(written[:14_000])
early = rows[5]
for one in written[14_000:]:
    rows.append(one)
(file,) = Path(tempfile.gettempdir()).glob("quern-tokens-*/rows.arrow")
with pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))) as stream:
    stored = stream.read_all()
del stream
found = {
    "same": list(rows) == written and rows[-1] == written[-1] and early == written[5],
    "lengths": list(rows.lengths) == [len(one.ids) for one in written],
    "in_file": stored["ids"].to_pylist() == [list(one.ids) for one in written[: len(stored)]],
    "batches": stored["ids"].num_chunks,
}
del rows
found["gone"] = not file.exists()
print(json.dumps(found))
"""
MAPPED = """
import random, sys
from pathlib import Path
import numpy, pyarrow
from pipeline.data.token_rows import TokenRows
from pipeline.data.tokens import Tokens

def mapped():
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if "RssFile" in line)

file = Path(sys.argv[1]) / "rows.arrow"
ids = tuple(range(1000))
TokenRows((Tokens(ids, ids) for _ in range(20_000)), file).close()
rows = TokenRows.stored(file)
before, chance, most = mapped(), random.Random(1), 0
for _ in range(500):
    assert rows[chance.randrange(len(rows))].ids == ids
    most = max(most, mapped())
print(file.stat().st_size // 1024, most - before)
"""
ENCODED = """
import sys
from pathlib import Path
from pipeline.contract.data_spec import DataSpec
from pipeline.data.examples import make_examples
from pipeline.data.row_store import Row
from pipeline.data.tokenize import Codec, tokenize
from pipeline.data.tokenizer import load_tokenizer
tokenizer = load_tokenizer(Path(sys.argv[1]))
texts = [(f"the sun is {at} steps out", "yes" * (at % 3 + 1)) for at in range(600)]
rows = [Row(at, {"q": asked, "a": said}) for at, (asked, said) in enumerate(texts, start=1)]
chat = DataSpec(path="x", prompt="{q}", completion="{a}")
raw = DataSpec(path="x", template="{q} {a}", completion=" {a}")
made = tokenize(make_examples(rows, chat), Codec(tokenizer), 512).rows
plain = tokenize(make_examples(rows, raw), Codec(tokenizer), 512).rows
for row, of_chat, of_text in zip(rows, made, plain):
    turn = {"role": "user", "content": row.values["q"]}
    answer = {"role": "assistant", "content": row.values["a"]}
    asked = tokenizer.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    whole = tokenizer.apply_chat_template([turn, answer], tokenize=False)
    ids = tokenizer.encode(whole, add_special_tokens=False)
    assert list(of_chat.ids) == ids[: len(of_chat.ids)], row
    assert of_chat.labels.count(-100) == len(tokenizer.encode(asked, add_special_tokens=False))
    text = f"{row.values['q']} {row.values['a']}"
    expected = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
    assert list(of_text.ids)[-len(expected) :] == expected, row
print(len(made), len(plain))
"""


def test_many_rows_are_those_that_were_written(toolchain_python: Path) -> None:
    found = json.loads(warm_code(toolchain_python, ROWS))
    assert found.pop("batches") > 1
    assert all(found.values()), found


@pytest.mark.skipif(sys.platform != "linux", reason="only there a process sees what it has mapped")
def test_what_was_read_of_a_large_file_does_not_stay_in_memory(
    toolchain_python: Path, tmp_path: Path
) -> None:
    kib, most = map(int, warm_code(toolchain_python, MAPPED, tmp_path).split())
    assert kib > 80_000
    assert most < kib / 2


def test_texts_are_encoded_as_transformers_encodes_each(toolchain_python: Path, tiny: Path) -> None:
    assert warm_code(toolchain_python, ENCODED, tiny / "checkpoint").split() == ["600", "600"]
