"""What a model of full size costs: measured on purpose with nox -s bench-scale."""
