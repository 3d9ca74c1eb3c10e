"""The command line: options, commands, errors as messages and exit codes."""
