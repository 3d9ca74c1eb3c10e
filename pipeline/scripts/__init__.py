"""The user's own Python functions: files beside the config, loaded where the steps run."""
