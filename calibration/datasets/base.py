"""The dataset contract: recorded robot episodes, whatever file format they came in.

A format file `calibration/datasets/<format>.py` defines one subclass of `Dataset` named `Reader`, constructed with the
path. It imports no optional library at its top, so that any dataset can be recognised without them. Reading raises only
`DatasetError`. Images stay encoded until they are asked for, so that looking for an episode costs no decoding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from edge_runtime.errors import EdgeError

Frame = NDArray[np.uint8]
Floats = NDArray[np.float32]


class DatasetError(EdgeError):
    """A dataset is absent, damaged or of another form than it says: one line with the file and the place in it."""


Damage = Callable[[DatasetError], None]
"""What to do about damage: raise it, or note it and return, and reading goes on behind it."""


def refuse(error: DatasetError) -> NoReturn:
    """The strict answer to damage."""
    raise error


class Frames(Protocol):
    """T frames of one camera, RGB uint8 [height, width, 3], decoded when taken; `DatasetError` where that fails."""

    def __len__(self) -> int: ...

    def __getitem__(self, step: int, /) -> Frame: ...


@dataclass(frozen=True)
class Episode:
    """One recorded episode of T steps."""

    index: int
    """Its place in the split, damaged episodes counted."""
    where: str
    """File and record, for messages."""
    instruction: str
    state: Floats
    """[T, n]"""
    action: Floats
    """[T, m]"""
    frames: Mapping[str, Frames]
    """By camera."""
    vectors: Mapping[str, Floats] = field(default_factory=dict)
    """[T, k] by field of the dataset: other vectors that a policy may have been trained on as its state."""

    def __len__(self) -> int:
        return len(self.action)


class Dataset(ABC):
    """A split of a dataset on disk. Construct (reads its description), then iterate as often as needed."""

    name: str
    cameras: tuple[str, ...]
    rate_hz: float | None
    """Steps a second; None where the format does not record it."""
    state_names: tuple[str, ...] = ()
    """Of each dimension; empty where the format does not record them. So too `action_names`."""
    action_names: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    """What an episode's `vectors` are by name."""

    @property
    def format(self) -> str:
        """Name of the format: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    @abstractmethod
    def recognises(cls, path: Path) -> bool:
        """Whether this looks like a dataset of this format; reads names of files, at most one small file."""

    @abstractmethod
    def __len__(self) -> int:
        """Episodes that the description promises."""

    @abstractmethod
    def episodes(self, damage: Damage = refuse) -> Iterator[Episode]:
        """Every episode in order.

        Damage is reported with its place. With the default the first raises; with a `damage` that returns, damaged
        episodes are left out. Images are not looked at until they are taken.
        """

    def __iter__(self) -> Iterator[Episode]:
        return self.episodes()


def finite(values: Floats, name: str, where: str) -> Floats:
    """`values` [T, n] as they are; `DatasetError` with the step where one is NaN or infinite."""
    whole = np.isfinite(values).all(axis=1)
    if not whole.all():
        raise DatasetError(f"{where}: {name} is not finite in step {np.argmin(whole)}")
    return values
