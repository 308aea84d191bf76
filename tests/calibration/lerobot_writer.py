"""Tiny LeRobotDatasets on disk, v2.1 and v3.0, written by code that shares nothing with the reader.

The layouts are those that lerobot 0.3.3 and 0.4.4 were seen to write.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

av = pytest.importorskip("av", reason="LeRobot's videos need av")
pa = pytest.importorskip("pyarrow", reason="LeRobot's tables need pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

HEIGHT, WIDTH, FPS, STEPS = 24, 32, 10, 8
BASE, WRIST = "observation.images.base", "observation.images.wrist"
CAMERAS = (BASE, WRIST)
TASKS = ("put the cup down", "pick the cup up")
PATHS = {
    "v2.1": (
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    ),
    "v3.0": (
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    ),
}

Picture = np.ndarray[Any, Any]


def picture(episode: int, step: int, camera: str) -> Picture:
    """A flat picture that no other step has, as far as a lossy codec can tell: red by step, green by episode."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[..., 0], rgb[..., 1] = 25 * step + 30, 60 * episode + 40
    rgb[..., 2] = 200 if camera == WRIST else 60
    return rgb


def pictures(episode: int, camera: str, steps: int = STEPS) -> list[Picture]:
    return [picture(episode, step, camera) for step in range(steps)]


def state(episode: int, steps: int = STEPS) -> Picture:
    """[steps, 3]: the step, the episode, a half."""
    return np.stack([np.arange(steps), np.full(steps, episode), np.full(steps, 0.5)], axis=1).astype(np.float32)


def action(episode: int, steps: int = STEPS) -> Picture:
    """[steps, 2]"""
    return -state(episode, steps)[:, :2]


def write_video(path: Path, frames: Iterable[Picture], *, codec: str = "mpeg4", gop: int = 4, fps: int = FPS) -> None:
    """An mp4 file with a key frame every `gop` frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.gop_size = gop
        if codec == "mpeg4":
            stream.bit_rate = 2_000_000
        for number, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def png(rgb: Picture) -> bytes:
    return bytes(cv2.imencode(".png", rgb[..., ::-1])[1])


def rows(episode: int, first: int, cameras_in_rows: Sequence[str], steps: int = STEPS) -> dict[str, pa.Array]:
    """The columns of one episode whose first row is number `first` of the dataset."""
    columns = {
        "observation.state": pa.array(state(episode, steps).tolist(), pa.list_(pa.float32(), 3)),
        "action": pa.array(action(episode, steps).tolist(), pa.list_(pa.float32(), 2)),
        "observation.grip": pa.array([0.25 * step for step in range(steps)], pa.float32()),
    }
    for camera in cameras_in_rows:
        stored = [
            {"bytes": png(p), "path": f"frame-{i:06d}.png"} for i, p in enumerate(pictures(episode, camera, steps))
        ]
        columns[camera] = pa.array(stored, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    return {
        **columns,
        "timestamp": pa.array(np.arange(steps, dtype=np.float32) / FPS),
        "frame_index": pa.array(np.arange(steps)),
        "episode_index": pa.array(np.full(steps, episode)),
        "index": pa.array(np.arange(first, first + steps)),
        "task_index": pa.array(np.full(steps, episode % len(TASKS))),
    }


def info(version: str, episodes: int, stored: str) -> dict[str, Any]:
    """meta/info.json"""
    image = {"dtype": stored, "shape": [HEIGHT, WIDTH, 3], "names": ["height", "width", "channels"]}
    return {
        "codebase_version": version,
        "robot_type": None,
        "total_episodes": episodes,
        "total_frames": episodes * STEPS,
        "total_tasks": len(TASKS),
        "chunks_size": 1000,
        "fps": FPS,
        "splits": {"train": f"0:{episodes}"},
        "data_path": PATHS[version][0],
        "video_path": PATHS[version][1] if stored == "video" else None,
        "features": {
            "observation.state": {"dtype": "float32", "shape": [3], "names": {"motors": ["step", "episode", "half"]}},
            "action": {"dtype": "float32", "shape": [2], "names": ["left", "right"]},
            "observation.grip": {"dtype": "float32", "shape": [1], "names": None},
            BASE: image,
            WRIST: {**image, "shape": [3, HEIGHT, WIDTH], "names": ["channels", "height", "width"]},
            "observation.depth": {**image, "info": {"video.is_depth_map": True}},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        },
    }


def write_dataset(
    folder: Path,
    version: str = "v2.1",
    *,
    episodes: int = 3,
    stored: str = "video",
    codec: str = "mpeg4",
    gop: int = 4,
    row_groups: bool = True,
) -> Path:
    """A dataset of `episodes` in `folder`; v3.0 has all rows and all frames of a camera in one file.

    `row_groups`: a row group of parquet for each episode, as LeRobot records; otherwise one for all, as it converts.
    """
    (folder / "meta").mkdir(parents=True)
    (folder / "meta" / "info.json").write_text(json.dumps(info(version, episodes, stored), indent=4))
    in_rows = CAMERAS if stored == "image" else ()
    tables = [pa.table(rows(e, e * STEPS, in_rows)) for e in range(episodes)]
    if version == "v2.1":
        _write_v21(folder, tables, stored, codec, gop)
    else:
        _write_v30(folder, tables, stored, codec, gop, row_groups)
    return folder


def _write_v21(folder: Path, tables: list[pa.Table], stored: str, codec: str, gop: int) -> None:
    lines = [{"episode_index": e, "tasks": [TASKS[e % 2]], "length": STEPS} for e in range(len(tables))]
    (folder / "meta" / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tasks = [{"task_index": i, "task": task} for i, task in enumerate(TASKS)]
    (folder / "meta" / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    for e, table in enumerate(tables):
        _write_parquet(folder / f"data/chunk-000/episode_{e:06d}.parquet", [table])
        for camera in CAMERAS if stored == "video" else ():
            write_video(
                folder / f"videos/chunk-000/{camera}/episode_{e:06d}.mp4", pictures(e, camera), codec=codec, gop=gop
            )


def _write_v30(folder: Path, tables: list[pa.Table], stored: str, codec: str, gop: int, row_groups: bool) -> None:
    count = len(tables)
    zeros = [0] * count
    listed: dict[str, Any] = {
        "episode_index": list(range(count)),
        "tasks": [[TASKS[e % 2]] for e in range(count)],
        "length": [STEPS] * count,
        "data/chunk_index": zeros,
        "data/file_index": zeros,
        "dataset_from_index": [e * STEPS for e in range(count)],
        "dataset_to_index": [(e + 1) * STEPS for e in range(count)],
        "stats/action/max": [[0.0, 0.0]] * count,
        "meta/episodes/chunk_index": zeros,
        "meta/episodes/file_index": zeros,
    }
    for camera in CAMERAS if stored == "video" else ():
        frames = (picture(e, step, camera) for e in range(count) for step in range(STEPS))
        write_video(folder / f"videos/{camera}/chunk-000/file-000.mp4", frames, codec=codec, gop=gop)
        listed[f"videos/{camera}/chunk_index"] = listed[f"videos/{camera}/file_index"] = zeros
        listed[f"videos/{camera}/from_timestamp"] = [e * STEPS / FPS for e in range(count)]
        listed[f"videos/{camera}/to_timestamp"] = [(e + 1) * STEPS / FPS for e in range(count)]
    _write_parquet(folder / "meta/episodes/chunk-000/file-000.parquet", [pa.table(listed)])
    tasks = pa.table({"task_index": list(range(len(TASKS))), "__index_level_0__": pa.array(TASKS, pa.large_string())})
    _write_parquet(folder / "meta/tasks.parquet", [tasks])
    data = tables if row_groups else [pa.concat_tables(tables).combine_chunks()]
    _write_parquet(folder / "data/chunk-000/file-000.parquet", data)


def _write_parquet(path: Path, groups: list[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
