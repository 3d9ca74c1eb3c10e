"""The report of a build: ``report.json`` for programs, ``report.md`` for people."""
