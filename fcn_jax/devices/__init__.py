"""Hardware: the mesh of devices, processes, compiler options, and the environment of a run."""
