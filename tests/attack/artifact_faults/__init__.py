"""A catalogue of ways in which an artifact can differ from the checkpoint that it claims to be.

Each entry of :data:`FAULTS` plants one into an ONNX Runtime GenAI model folder, or raises
:class:`~.model_folder.InapplicableError` where there is nothing of that kind. The pass ``Plant`` of
``tests/support/planted.py``, as a user's own after ``model_builder``, applies one in a build; as a
program, ``python -m tests.attack.artifact_faults WORK NAME...`` plants each into
``WORK/NAME/output``.
"""

from __future__ import annotations

from collections.abc import Mapping

from .checkpoint import CHECKPOINT
from .files import FILES
from .graph import GRAPH
from .model_folder import Fault, InapplicableError
from .settings import SETTINGS
from .tokenizer import TOKENIZER
from .weights import WEIGHTS

__all__ = [
    "CHECKPOINT",
    "FAULTS",
    "FILES",
    "GRAPH",
    "SETTINGS",
    "TOKENIZER",
    "WEIGHTS",
    "InapplicableError",
]

FAULTS: Mapping[str, Fault] = {**SETTINGS, **TOKENIZER, **WEIGHTS, **GRAPH, **FILES}
