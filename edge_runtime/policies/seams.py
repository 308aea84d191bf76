"""Which bundles can be run as a robot.toml wants it: said before any graph is loaded."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from edge_runtime.bundle_spec import GUIDE, FlowSpec, Manifest
from edge_runtime.errors import BundleError
from edge_runtime.policies.base import Seam


def probed(manifest: Manifest) -> Seam:
    """The seam with which a bundle answers its own probes: what it can do beyond a chunk that begins afresh.

    One that can do both is probed with committed actions: they go through the graphs that it runs otherwise too.
    """
    head = manifest.spec.head
    if isinstance(head, FlowSpec) and head.committed:
        return "committed"
    return "guided" if GUIDE in manifest.graphs else "none"


def refuse(path: Path, manifest: Manifest, seam: Seam, prefix_every: int = 1) -> None:
    """Raise `BundleError`, one line, where the bundle at `path` cannot be run with these settings of robot.toml."""
    head = manifest.spec.head
    if not isinstance(head, FlowSpec):
        if seam in ("committed", "guided"):
            raise BundleError(f'{path}: its head has no flow for motion.seam = "{seam}": set that to "blend"')
        if prefix_every > 1:
            raise BundleError(f"{path}: its head has no prefix for policy.prefix_every = {prefix_every}: leave it out")
    elif seam == "committed" and not head.committed:
        raise BundleError(
            f'{path}: motion.seam is "committed", and its checkpoint was not trained to be given actions: train it so '
            '(docs/rtc.md), export it with --guided and set that to "guided", or set it to "blend"'
        )
    elif seam == "guided" and GUIDE not in manifest.graphs:
        raise BundleError(
            f'{path}: motion.seam is "guided", and it has no guide graph: export its checkpoint with --guided, or set '
            'that to "blend"'
        )


def refuse_sharing(path: Path, prefix_every: int, inputs: Container[str]) -> None:
    """Raise `BundleError` where a prefix cannot serve several chunks; `inputs` are those of the step graph."""
    if prefix_every > 1 and "state" not in inputs:
        raise BundleError(
            f"{path}: its flow steps take no state, so chunks of one prefix would know nothing new: set "
            f"policy.prefix_every to 1, not {prefix_every}"
        )
