"""Did you mean, for everything above the drivers; they have it first, because they know names that nobody else does."""

from __future__ import annotations

from drivers.suggest import did_you_mean

__all__ = ["did_you_mean"]
