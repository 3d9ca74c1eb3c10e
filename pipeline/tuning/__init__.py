"""Which of several artifacts and sessions answers fastest here, within the limits of the config."""
