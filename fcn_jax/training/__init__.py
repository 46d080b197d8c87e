"""The training state, step, loop and checkpoints."""
