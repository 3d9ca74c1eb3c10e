"""Releases that can be shipped and audited, and their verification by rebuilding them.

``layout`` names the files; ``archive``, ``sums``, ``report``, ``card``, ``trained`` and ``sbom``
make their contents; ``compose`` makes all files from finished builds. ``statement`` defines the
provenance, which ``provenance`` fills, and ``envelope`` and ``signing`` wrap and sign. ``run``
makes a release, ``read`` checks one, ``rebuild`` rebuilds it, and ``differences`` compares two.
Only the commands ``release`` and ``verify`` import this package, because the libraries it needs are
not installed for the others.
"""
