"""Which episodes of a dataset are whole, images included."""

from __future__ import annotations

from calibration.datasets.base import Dataset, DatasetError, Episode


def decode_all(episode: Episode) -> None:
    """Decode every image once; raises the `DatasetError` of the first that fails."""
    for frames in episode.frames.values():
        for step in range(len(frames)):
            frames[step]


def whole_episodes(dataset: Dataset) -> tuple[list[int], list[DatasetError]]:
    """Their indices, and what was said of the others."""
    errors: list[DatasetError] = []
    whole = []
    for episode in dataset.episodes(errors.append):
        try:
            decode_all(episode)
        except DatasetError as error:
            errors.append(error)
        else:
            whole.append(episode.index)
    return whole, errors
