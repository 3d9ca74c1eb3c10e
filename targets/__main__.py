"""``python -m targets COMMAND``: what every nox session calls."""

from targets.cli.main import run

if __name__ == "__main__":
    run()
