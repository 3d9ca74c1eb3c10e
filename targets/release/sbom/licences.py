"""Normalizes the names of licences: to an SPDX expression if possible, else unchanged."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

_CLASSIFIER = "License :: "
_NOTHING = frozenset({"", "unknown", "none", "n/a"})
"""Placeholders that old build tools write if there is no licence."""

_NAMES = {
    "3-clause bsd license": "BSD-3-Clause",
    "2-clause bsd license": "BSD-2-Clause",
    "apache 2.0": "Apache-2.0",
    "apache 2.0 license": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "bsd 2-clause license": "BSD-2-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "boost software license 1.0": "BSL-1.0",
    "isc license": "ISC",
    "mit license": "MIT",
    "mit no attribution license": "MIT-0",
    "the mit license": "MIT",
    "the unlicense": "Unlicense",
}
"""Unambiguous names of licences. Others, such as "BSD" and "Apache Software License", may mean
several, and PEP 639 forbids guessing."""


@dataclass(frozen=True)
class Licence:
    """Either ``expression``, in SPDX's canonical form, or ``name`` and possibly ``text``."""

    expression: str = ""
    name: str = ""
    text: str = ""


def licence_of(words: str) -> Licence | None:
    """Return the licence for ``words``: an SPDX expression, a name, or a whole text. ``None`` if
    empty."""
    words = words.strip()
    if words.casefold() in _NOTHING:
        return None
    expression = _spdx(words)
    if expression is not None:
        return Licence(expression=expression)
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return Licence(name=lines[0], text=words if len(lines) > 1 else "")


def licence_in_metadata(
    expression: str, licence: str, classifiers: Iterable[str]
) -> Licence | None:
    """Return the licence in core metadata; ``None`` if there is none.

    In order of preference: ``License-Expression`` (PEP 639); a ``License``, then classifiers, that
    can be converted to SPDX; the text of ``License`` or, if that is a whole licence text or
    missing, the classifiers.
    """
    stated = licence_of(expression)
    if stated is not None:
        return stated
    field = licence_of(licence)
    names = sorted({line.split(" :: ")[-1] for line in classifiers if line.startswith(_CLASSIFIER)})
    names = [name for name in names if name != "OSI Approved"]
    if field is not None and field.expression:
        return field
    known = [_spdx(_without_short_name(name)) for name in names]
    if len(known) == 1 and known[0] is not None:  # several: nothing says whether AND or OR
        return Licence(expression=known[0])
    if names and (field is None or field.text):
        return Licence(name=", ".join(names), text=field.text if field else "")
    return field


def _spdx(words: str) -> str | None:
    known = _NAMES.get(words.casefold())
    if known is not None:
        return known
    try:
        return str(canonicalize_license_expression(words))
    except InvalidLicenseExpression:
        return None


def _without_short_name(name: str) -> str:
    """Return ``ISC License`` for the classifier's ``ISC License (ISCL)``."""
    return name.partition(" (")[0]
