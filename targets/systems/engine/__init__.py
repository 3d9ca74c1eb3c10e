"""Another machine's Docker Engine as a system: nothing of this machine is mounted there."""
