"""What all HTML pages share: their frame and style, colours, and pictures of labels."""
