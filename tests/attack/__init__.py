"""Attacks Quern with hostile input, through its command line: configs, data, models, answers of a
hub, archives. `./nox -s attack` goes on for as long as one asks."""
