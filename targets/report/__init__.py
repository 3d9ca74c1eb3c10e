"""The report of a build: JSON for programs, HTML and Markdown for people."""
