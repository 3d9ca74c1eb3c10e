"""Functions of the user's own: Python files beside the config, run where the steps run."""
