"""Hardware: the mesh of devices, processes, compiler options, and what a run was made on."""
