"""What every test shares: quiet threads, deterministic random examples, and the reference data beside the checkout."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent

if importlib.util.find_spec("hypothesis"):
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "edge", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("edge")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference checkpoints and footage beside the checkout; tests skip where it is absent."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} is not there")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """Tests run side by side on small machines; torch's own threads would only get in each other's way."""
    import sys

    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)
