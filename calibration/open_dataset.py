"""A dataset by its path: the format files in `calibration/datasets` are asked which of them recognises it."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

from calibration import datasets
from calibration.datasets.base import Dataset, DatasetError


def formats() -> tuple[str, ...]:
    """Names of the format files."""
    found = (module.name for module in pkgutil.iter_modules(datasets.__path__) if not module.ispkg)
    return tuple(sorted(name for name in found if name != "base" and not name.startswith("_")))


def open_dataset(path: str | Path) -> Dataset:
    """The dataset at `path`, its description read.

    Raises `DatasetError` where no format recognises it, where several do, where the description is damaged, and where a
    library is missing that its format needs.
    """
    path = Path(path)
    if not path.exists():
        raise DatasetError(f"{path}: no such folder")
    readers = {name: importlib.import_module(f"{datasets.__name__}.{name}").Reader for name in formats()}
    fitting = [name for name, reader in readers.items() if reader.recognises(path)]
    if len(fitting) != 1:
        what = f"is of several formats ({', '.join(fitting)})" if fitting else "is of no known format"
        raise DatasetError(f"{path}: {what}; name the folder of a dataset, known: {', '.join(readers)}")
    try:
        dataset: Dataset = readers[fitting[0]](path)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == __package__:
            raise
        raise DatasetError(
            f'{path}: {fitting[0]} data need "{error.name}", which is not installed: '
            "pip install '.[datasets]' in the checkout"
        ) from error
    return dataset
