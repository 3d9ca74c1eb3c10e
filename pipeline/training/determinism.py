"""Makes PyTorch deterministic: the same seed gives the same bytes."""

from __future__ import annotations

import os


def prepare(seed: int, threads: int) -> None:
    """Seed every generator and make PyTorch deterministic, with ``threads`` CPU threads.

    Call it before any weight is made: initialising an adapter draws random numbers.
    """
    # cuBLAS reads this when it is first used (docs.nvidia.com/cuda/cublas, "Reproducibility").
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch
    import transformers

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    transformers.set_seed(seed)
