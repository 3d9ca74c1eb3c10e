from __future__ import annotations

import hashlib
import io
from pathlib import Path

from pipeline.contract.sha256 import (
    sha256_of_bytes,
    sha256_of_chunks,
    sha256_of_file,
    sha256_of_stream,
)


def test_all_forms_of_the_same_bytes_have_one_digest(tmp_path: Path) -> None:
    content = bytes(range(256)) * 5_000  # more than is read at once
    file = tmp_path / "file"
    file.write_bytes(content)
    wanted = hashlib.sha256(content).hexdigest()
    assert sha256_of_bytes(content) == wanted
    assert sha256_of_chunks([content[:7], b"", content[7:]]) == wanted
    assert sha256_of_file(file) == wanted
    stream = io.BytesIO(b"head" + content)
    stream.seek(4)
    assert sha256_of_stream(stream) == wanted
