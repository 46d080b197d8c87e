"""One file per published result; its docstring has the published and our own scores."""
