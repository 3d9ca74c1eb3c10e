"""Releases: what can be shipped and audited, and the proof that it can be made again.

``layout`` names the files; ``archive``, ``sums``, ``report``, ``card``, ``trained`` and ``sbom``
are what is in them; ``compose`` makes all of them from finished builds. ``statement`` is what
``provenance`` fills and ``envelope`` and ``signing`` seal. ``run`` makes a release; ``read`` checks
one, ``rebuild`` makes it again, ``differences`` says where the two differ. Only the commands
``release`` and ``verify`` import this package: nothing else of the host has the libraries it needs.
"""
