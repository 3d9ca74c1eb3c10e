"""The benchmark: compares targets, and the changes since an earlier benchmark.

``model`` defines ``bench.json``. ``measure`` and ``collect`` fill it, ``compare`` compares it with
an earlier one, ``markdown``, ``html`` and ``plots`` show it. Only modules that the ``bench``
command imports late may use Matplotlib or SciPy, which are not installed for the other commands.
"""
