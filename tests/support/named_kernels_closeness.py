"""Computes products with and without the named kernels. Run by a toolchain's Python.

Writes one JSON object: for each product its error, relative to fp64, whether any number of threads
gives the same bytes, whether PyTorch's own kernels do in one thread, and a digest of the bytes; and
what is said of a model with a convolution, and of one without.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable

import torch

from pipeline.training.named_kernels import named_kernels, unheld


def main() -> None:
    """Compute forward and backward with operands of all layouts."""
    draw = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draw)

    wide, tall, vector = random(70, 300), random(300, 37), random(300)
    batch, factors = random(6, 33, 40), random(6, 40, 21)
    cases: dict[str, tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]] = {
        "matrices": (torch.matmul, (wide, tall)),
        "turned": (lambda a, b: a.t() @ b.t(), (random(300, 70), random(37, 300))),
        "every other column": (lambda a, b: a[:, ::2] @ b, (random(70, 600), tall)),
        "one row spread": (lambda a, b: a.expand(5, 300) @ b, (random(1, 300), tall)),
        "in pieces": (torch.matmul, (random(515, 100), random(100, 130))),
        "rows of a prime": (torch.matmul, (random(397, 200), random(200, 67))),
        "rows in fp64": (torch.matmul, (random(385, 90).double(), random(90, 130).double())),
        "few columns": (torch.matmul, (random(1153, 769), random(769, 3))),
        "rows of many columns": (torch.matmul, (random(300, 70), random(70, 1801))),
        "many columns": (torch.matmul, (random(100, 130), random(130, 515))),
        "bias": (torch.nn.functional.linear, (wide, random(37, 300), random(37))),
        "batch": (torch.bmm, (batch, factors)),
        "turned batch": (
            lambda a, b: a.mT @ b.mT,
            (random(6, 40, 33), random(6, 21, 40)),
        ),
        "added batch": (
            lambda c, a, b: torch.baddbmm(c, a, b, beta=0.5, alpha=2),
            (random(6, 33, 21), batch, factors),
        ),
        "einsum": (lambda a, b: torch.einsum("bij,bjk->bik", a, b), (batch, factors)),
        "vector": (torch.mv, (wide, vector)),
        "dot": (torch.dot, (vector, random(300))),
        "softmax": (lambda a: torch.log_softmax(a, -1) + torch.softmax(a, 1), (random(515, 600),)),
        "softmax of attention": (lambda a: torch.softmax(a, -1), (random(3, 5, 67, 67),)),
        "silu": (torch.nn.functional.silu, (random(517, 133),)),
        "silu of what is turned": (lambda a: torch.nn.functional.silu(a.t()), (random(517, 133),)),
        "gelu": (torch.nn.functional.gelu, (random(517, 133),)),
        "gelu by tanh": (
            lambda a: torch.nn.functional.gelu(a, approximate="tanh"),
            (random(517, 133),),
        ),
        "short rows": (lambda a: torch.log_softmax(a, -1), (random(264, 9),)),
        "not of rows": (lambda a: torch.log_softmax(a, 0), (random(515, 9),)),
        "attention": (
            torch.nn.functional.scaled_dot_product_attention,
            (random(2, 4, 33, 16), random(2, 4, 33, 16), random(2, 4, 33, 16)),
        ),
    }
    found = {}
    for name, (function, operands) in cases.items():
        right = _results(function, [value.double() for value in operands])
        torch.set_num_threads(1)
        own = _results(function, operands)
        with named_kernels(1):
            one = _results(function, operands)
        others = []
        for threads in (2, 3, 5):
            with named_kernels(threads):
                others.append(_results(function, operands))
        found[name] = {
            "error": max(
                float((own.double() - exact).norm() / exact.norm())
                for own, exact in zip(one, right, strict=True)
            ),
            "same": all(all(map(torch.equal, one, other)) for other in others),
            "as PyTorch": all(map(torch.equal, own, one)),
            "digest": hashlib.sha256(b"".join(map(_bytes, one))).hexdigest(),
        }
    said = {
        "plain": list(unheld(torch.nn.Sequential(torch.nn.Linear(2, 2)))),
        "convolution": list(unheld(torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1)))),
    }
    print(json.dumps({"products": found, "said": said}))  # noqa: T201


def _results(
    function: Callable[..., torch.Tensor], operands: Iterable[torch.Tensor]
) -> list[torch.Tensor]:
    """Return the result and the gradients of all operands."""
    leaves = [value.clone().requires_grad_() for value in operands]
    result = function(*leaves)
    (result * result).sum().backward()
    return [result.detach(), *(leaf.grad for leaf in leaves)]


def _bytes(result: torch.Tensor) -> bytes:
    return bytes(result.contiguous().numpy().tobytes())


if __name__ == "__main__":
    main()
