"""Downloads the data sets and lays them out as the readers expect; nothing here imports jax."""
