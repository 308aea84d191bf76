"""What the serial servos of every protocol have in common: the bus, its line, goals, and registers."""
