"""``python -m targets COMMAND``: what every nox session calls."""

import atexit
import gc
import os

try:
    from targets.runtimes.interrupts import heeding_first_signal
except KeyboardInterrupt:  # nobody heeds signals yet; the code is that of `targets.errors`
    raise SystemExit(130) from None


def main(program: str) -> None:
    """Run the command line of this process; ``program`` is its name in messages."""
    # Imports make many objects that stay: looking for rubbish among them again and again took a
    # tenth of a command's time.
    gc.set_threshold(100_000)
    # At the end, all of them would be looked at once more.
    atexit.register(gc.freeze)
    with heeding_first_signal():
        # Looking for plugins of pydantic takes a while, and one could change what a config means.
        os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        # Most of the time before a command begins goes into these imports.
        from targets.cli.front_door import end_with_front_door
        from targets.cli.main import run

        end_with_front_door()
        run(program)


if __name__ == "__main__":
    main("python -m targets")
