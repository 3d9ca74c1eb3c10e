"""The benchmark: targets side by side, and what moved since an earlier one.

``model`` is what ``bench.json`` holds. ``measure`` and ``collect`` fill it, ``compare`` holds it
against an earlier one, ``markdown``, ``html`` and ``plots`` show it. Only modules that
the bench command imports late may use Matplotlib or SciPy: nothing else of the host has them.
"""
