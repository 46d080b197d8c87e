"""Training: the state, the step, the loop, and what a run leaves on disk."""

from fcn_jax.training.state import State, create_state, initial_variables
from fcn_jax.training.step import make_train_step

__all__ = ["State", "create_state", "initial_variables", "make_train_step"]
