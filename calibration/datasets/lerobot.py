"""LeRobotDataset v2.1 and v3.0, read without LeRobot. Needs pyarrow, and av where cameras are stored as video.

State is `observation.state`, action is `action`, the instruction is the task of an episode's first step. Cameras are
the RGB features, under their own names ("observation.images.base"), stored as video or as images in the rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from calibration.datasets.base import Damage, Dataset, Episode, refuse
from calibration.lerobot.info import ACTION, STATE, read_info


class Reader(Dataset):
    """A LeRobotDataset on disk; `path` is the folder that holds `meta`."""

    rate_hz: float

    def __init__(self, path: str | Path) -> None:
        from calibration.lerobot.content import Content

        folder = Path(path)
        info = read_info(folder)
        self._content = Content(folder, info)
        self.name = folder.absolute().name
        self.rate_hz = info.fps
        self.cameras = tuple(info.image_shapes)
        self.vectors = info.vectors
        self.state_names = info.features[STATE].dim_names
        self.action_names = info.features[ACTION].dim_names
        self._version = info.codebase_version

    @property
    def format(self) -> str:
        return f"lerobot {self._version}"

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return (path / "meta" / "info.json").is_file()

    def __len__(self) -> int:
        return len(self._content)

    def episodes(self, damage: Damage = refuse) -> Iterator[Episode]:
        return self._content.episodes(damage)
