"""Feature maps that know where they lie on the image, and the layers between them."""
