"""Parameters in and out: our file format, surgery between nets, and other formats."""
