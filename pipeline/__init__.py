"""The container side: the pass chain, the checks and the data preparation.

``python -m pipeline PLAN`` is the only interface to run it. The modules that the host uses too
(``contract``, ``data``, and the parameters of passes and checks) import no machine-learning library
at their top.
"""
