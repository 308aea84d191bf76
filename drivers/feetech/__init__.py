"""Feetech STS and SMS servos: packets and registers."""
