"""What a train step needs and takes on chips that need not be there."""
