"""Damiao motors in MIT mode: CAN frames, registers, and how they are found and asked."""
