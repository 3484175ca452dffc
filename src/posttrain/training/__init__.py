"""What SFT, RL and preference learning share: batches, aggregation, optimizer, checkpoints, validation."""
