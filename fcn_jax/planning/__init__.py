"""What a train step needs, and the least time that it takes, without the hardware."""
