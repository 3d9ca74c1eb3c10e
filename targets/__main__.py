"""``python -m targets COMMAND``: what every nox session calls."""

from targets.runtimes.interrupts import heeding_first_signal

if __name__ == "__main__":
    with heeding_first_signal():
        # Most of the time before a command begins goes into these imports.
        from targets.cli.front_door import end_with_front_door
        from targets.cli.main import run

        end_with_front_door()
        run()
