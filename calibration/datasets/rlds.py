"""RLDS episodes as TensorFlow Datasets stores them (Open X-Embodiment), read without TensorFlow.

`<name>/<version>/{dataset_info.json,features.json,<name>-<split>.tfrecord-*}`: one tf.train.Example an episode, its
steps flattened into one list a feature. Cameras are the RGB images under `steps/observation`. The format records no
rate: whoever replays an episode must know it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from calibration.datasets.base import Damage, Dataset, DatasetError, Episode, Floats, finite, refuse
from calibration.images import EncodedFrames
from calibration.tfds.description import Node, read_features, read_info, shard_paths
from calibration.tfds.example import Feature, WireError, parse_example
from calibration.tfds.records import place, read_records

_OBSERVATION = "steps/observation/"
_STATE = "steps/observation/state"
_ACTION = "steps/action"
_INSTRUCTIONS = ("steps/language_instruction", "steps/observation/natural_language_instruction")


class Reader(Dataset):
    """One split of an RLDS dataset. `path` is its version's folder, or one above that holds no other dataset."""

    rate_hz = None

    def __init__(self, path: str | Path, split: str = "train") -> None:
        self._folder = _version_folder(Path(path))
        info = read_info(self._folder)
        features = read_features(self._folder)
        self.name = info.name
        self._shards = shard_paths(self._folder, info, split)
        self._shapes = {
            name.removeprefix(_OBSERVATION): node.image.shape.dimensions
            for name, node in features.items()
            if name.startswith(_OBSERVATION)
            and node.image is not None
            and node.image.dtype == "uint8"
            and len(node.image.shape.dimensions) == 3
            and node.image.shape.dimensions[2] == 3
        }
        self.cameras = tuple(sorted(self._shapes))
        self._dims = {name: dims for name, node in features.items() if (dims := _vector_dims(node))}
        for name in (_STATE, _ACTION):
            if name not in self._dims:
                raise DatasetError(f"{self._folder}/features.json: {name!r} is not a vector of numbers")
        self.vectors = tuple(sorted(n.removeprefix(_OBSERVATION) for n in self._dims if n.startswith(_OBSERVATION)))
        texts = [name for name in _INSTRUCTIONS if name in features and features[name].text is not None]
        if not texts:
            raise DatasetError(f"{self._folder}/features.json: no instruction, neither of {_INSTRUCTIONS} is text")
        self._instruction = texts[0]

    @classmethod
    def recognises(cls, path: Path) -> bool:
        return bool(_descriptions(path))

    def __len__(self) -> int:
        return sum(count for _, count in self._shards)

    def episodes(self, damage: Damage = refuse) -> Iterator[Episode]:
        first = 0
        for path, count in self._shards:
            for record in read_records(path, count, damage):
                where = place(path, record.index, record.offset)
                try:
                    episode = self._episode(parse_example(record.data), first + record.index, where)
                except WireError as error:
                    damage(DatasetError(f"{where}: {error}"))
                except DatasetError as error:
                    damage(error)
                else:
                    yield episode
            first += count

    def _episode(self, features: Mapping[str, Feature], index: int, where: str) -> Episode:
        texts = _named(features, self._instruction, where).bytes_values()
        if not texts:
            raise DatasetError(f"{where}: an episode without steps")
        try:
            instruction = texts[0].decode()
        except UnicodeDecodeError as error:
            raise DatasetError(f"{where}: {self._instruction!r} is not UTF-8") from error
        frames = {}
        for camera, shape in self._shapes.items():
            encoded = _named(features, _OBSERVATION + camera, where).bytes_values()
            if len(encoded) != len(texts):
                raise DatasetError(f"{where}: {len(encoded)} images of {camera!r} in {len(texts)} steps")
            frames[camera] = EncodedFrames(encoded, shape, f"{where}, {camera!r}")
        return Episode(
            index=index,
            where=where,
            instruction=instruction,
            state=finite(self._vectors(features, _STATE, len(texts), where), repr(_STATE), where),
            action=finite(self._vectors(features, _ACTION, len(texts), where), repr(_ACTION), where),
            frames=frames,
            vectors={name: self._vectors(features, _OBSERVATION + name, len(texts), where) for name in self.vectors},
        )

    def _vectors(self, features: Mapping[str, Feature], name: str, steps: int, where: str) -> Floats:
        """[steps, dims] of a feature that is a vector in each step."""
        values = _named(features, name, where).float_values()
        dims = self._dims[name]
        if len(values) != steps * dims:
            raise DatasetError(f"{where}: {name!r} has {len(values)} values, not {steps} steps of {dims}")
        return values.reshape(steps, dims)


def _named(features: Mapping[str, Feature], name: str, where: str) -> Feature:
    if name not in features:
        raise DatasetError(f"{where}: no feature {name!r}")
    return features[name]


def _vector_dims(node: Node) -> int:
    """Dimensions of a vector of floats in each step; 0 for anything else."""
    tensor = node.tensor
    if tensor is None or tensor.encoding != "none" or not tensor.dtype.startswith("float"):
        return 0
    return max(0, tensor.shape.dimensions[0]) if len(tensor.shape.dimensions) == 1 else 0


def _descriptions(path: Path) -> list[Path]:
    """Every features.json: that of `path`, or those within two levels below it."""
    here = path / "features.json"
    return [here] if here.is_file() else sorted(path.glob("*/features.json")) or sorted(path.glob("*/*/features.json"))


def _version_folder(path: Path) -> Path:
    """The folder with the one features.json."""
    found = _descriptions(path)
    if not found:
        raise DatasetError(f"{path}: no RLDS dataset: no features.json there or in <name>/<version> below it")
    if len(found) > 1:
        raise DatasetError(f"{path}: several datasets, name one: {', '.join(str(f.parent) for f in found)}")
    return found[0].parent
