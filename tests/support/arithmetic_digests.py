"""Computes the same products by the libraries and by Quern. Run by a toolchain's Python.

Writes one JSON object: a digest per result.
"""

from __future__ import annotations

import hashlib
import json

import torch

from pipeline.weights.arithmetic import SameBits


def main() -> None:
    """Compute with MKL's kernels, and in their place."""
    draw = torch.Generator().manual_seed(0)
    left, right, angle = (torch.randn(64, 64, generator=draw) for _ in range(3))
    angle *= 1000
    digests = {}
    for name, own in (("library", False), ("own", True)):
        if own:
            with SameBits():
                results = [left @ right, angle.cos(), angle.sin(), left.exp()]
        else:
            results = [left @ right]
        digest = hashlib.sha256(b"".join(result.numpy().tobytes() for result in results))
        digests[name] = digest.hexdigest()
    print(json.dumps(digests))  # noqa: T201


if __name__ == "__main__":
    main()
