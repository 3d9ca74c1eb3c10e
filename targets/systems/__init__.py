"""Systems: other places than this machine where steps run, each behind the same interface."""
