"""``python -m targets COMMAND``: what every nox session calls."""

from targets.cli.front_door import end_with_front_door
from targets.cli.main import run
from targets.runtimes.interrupts import heed_first_signal

if __name__ == "__main__":
    heed_first_signal()
    end_with_front_door()
    run()
