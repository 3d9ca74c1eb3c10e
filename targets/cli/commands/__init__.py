"""One module per command, named as the command; each has a click command named ``command``.

``REQUIREMENTS`` names the lock of a command that needs more than ``requirements.lock``.
"""
