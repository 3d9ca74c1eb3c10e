"""What the passes that touch weights share: loading, seeding, training, asking. Needs PyTorch."""
