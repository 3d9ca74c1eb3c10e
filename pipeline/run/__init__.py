"""What runs a plan: finds passes and checks, runs them in order, and keeps what they make."""
