"""One training run: state, step, loop, checkpoints, folder and progress."""
