"""Errors of the export that a person can mend: one line that says what is wrong, where, and what to do."""

from edge_runtime.errors import EdgeError


class CheckpointError(EdgeError):
    """A checkpoint is missing, damaged, or of a kind that this export does not know."""


class ExportError(EdgeError):
    """A bundle could not be made, or what was made is not what the checkpoint computes."""
