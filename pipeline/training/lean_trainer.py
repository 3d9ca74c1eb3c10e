"""transformers' ``Trainer``, imported without ``datasets`` and pandas.

Its module imports ``datasets`` if that is installed, only to recognize its data sets, of which
Quern's trainings have none: a tenth of all that a training imports.
"""

from __future__ import annotations

from transformers import utils

_available = utils.is_datasets_available
utils.is_datasets_available = lambda: False
try:
    from transformers import Trainer
finally:
    utils.is_datasets_available = _available

__all__ = ["Trainer"]
