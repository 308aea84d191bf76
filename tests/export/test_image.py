"""Frames become the very pixels that each family's reference gives its vision tower, in torch and in ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from safetensors.numpy import load_file

from export.image import ImageGraph, Preprocess
from export.onnx_file import write_onnx

Array = np.ndarray[Any, Any]

PI_LEROBOT = Preprocess(42, "torch-bilinear", "centre")
SMOLVLA = Preprocess(64, "torch-bilinear", "top-left")
OPENPI = Preprocess(42, "pil-bilinear", "centre")
LEROBOT_BOUND = 1e-6
"""In [-1, 1]: torch interpolates the columns first and we the rows, which drops most of them before any arithmetic."""
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = (0.5, 0.5, 0.5)


def noise(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def run(path: Path, frames: dict[str, Array]) -> Array:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    pixels: Array = session.run(None, {f"image.{name}": frame for name, frame in frames.items()})[0]
    return pixels


def test_cameras_keep_their_order() -> None:
    image = ImageGraph({"b": (4, 4), "a": (9, 5)}, Preprocess(8, "torch-bilinear", "centre"))
    white, black = torch.full((4, 4, 3), 255, dtype=torch.uint8), torch.zeros(9, 5, 3, dtype=torch.uint8)
    pixels = image(white, black)
    assert {name: tuple(x.shape) for name, x in image.signature().inputs.items()} == {
        "image.b": (4, 4, 3),
        "image.a": (9, 5, 3),
    }
    assert pixels.shape == (1, 2, 3, 8, 8)
    assert pixels[0, 0].min() == 1.0
    assert pixels[0, 1].max() == -1.0


def test_one_half_is_lerobots_scaling_to_the_last_bit() -> None:
    frame = torch.arange(256, dtype=torch.uint8).reshape(16, 16, 1).expand(16, 16, 3)
    pixels = ImageGraph({"a": (16, 16)}, Preprocess(16, "torch-bilinear", "centre"))(frame)
    assert torch.equal(pixels[0, 0], (frame / 255.0 * 2.0 - 1.0).permute(2, 0, 1))


def test_each_row_of_means_is_the_frame_once_more() -> None:
    """`ToTensor` and `Normalize` of torchvision: the bytes over 255, less the mean, over the deviation, in float32."""
    frame, (mean, std) = noise(6, 6), IMAGENET
    preprocess = Preprocess(6, "pil-bicubic", "stretch", mean=(mean, HALF), std=(std, HALF))
    x = frame.permute(2, 0, 1) / 255.0
    rows = [
        (x - torch.tensor(m)[:, None, None]) / torch.tensor(s)[:, None, None] for m, s in ((mean, std), (HALF, HALF))
    ]
    assert torch.equal(ImageGraph({"a": (6, 6), "b": (6, 6)}, preprocess)(frame, frame)[0, 1], torch.cat(rows))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"size": 0}, "size is at least 1"),
        ({"crop": 0.0}, "crop"),
        ({"crop": 1.5}, "crop"),
        ({"crop": 0.9, "filter": "torch-bilinear"}, "whole grey levels"),
        ({"mean": (HALF, HALF)}, "2 rows of means and 1"),
        ({"mean": (), "std": ()}, "at least 1"),
        ({"mean": ((0.5,),)}, "three numbers"),
        ({"std": ((0.5, 0.0, 0.5),)}, "no deviation of 0"),
    ],
)
def test_what_cannot_be_a_preprocessing(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Preprocess(**{"size": 8, "filter": "pil-bilinear", "fit": "stretch", **wrong})


@pytest.mark.parametrize("cameras", [{}, {"top": (0, 4)}, {"top": (4, -1)}])
def test_cameras_without_pixels_are_refused(cameras: dict[str, tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="camera"):
        ImageGraph(cameras, PI_LEROBOT)


@pytest.mark.parametrize(
    "preprocess",
    [
        SMOLVLA,
        Preprocess(42, "pil-bicubic", "stretch", crop=0.9, mean=(IMAGENET[0], HALF), std=(IMAGENET[1], HALF)),
    ],
    ids=["torch", "pil"],
)
def test_the_exported_graph_is_the_module(tmp_path: Path, preprocess: Preprocess) -> None:
    """To the last bit: sums of whole numbers are exact in any order, and the rest is done element by element."""
    frames = {"base": noise(90, 120), "wrist": noise(42, 42), "side": noise(37, 23)}
    image = ImageGraph({name: (frame.shape[0], frame.shape[1]) for name, frame in frames.items()}, preprocess)
    write_onnx(image, image.signature(), tmp_path / "image.onnx")
    found = run(tmp_path / "image.onnx", {name: frame.numpy() for name, frame in frames.items()})
    assert np.array_equal(found, image(*frames.values()).numpy())


def golden(shared: Path, name: str) -> tuple[Path, dict[str, Array]]:
    folder = shared / "golden" / "a" / name
    if not folder.is_dir():
        pytest.skip(f"no golden set: {folder} is not there")
    return folder, load_file(folder / "io.safetensors")


def pixels(frames: list[Array], preprocess: Preprocess) -> Array:
    image = ImageGraph({str(i): (frame.shape[0], frame.shape[1]) for i, frame in enumerate(frames)}, preprocess)
    made: Array = image(*map(torch.from_numpy, frames)).numpy()
    return made


@pytest.mark.parametrize(
    ("name", "preprocess", "cameras", "bound"),
    [
        ("pi0_lerobot", PI_LEROBOT, ("base", "wrist"), LEROBOT_BOUND),
        ("pi05_lerobot", PI_LEROBOT, ("base", "wrist"), LEROBOT_BOUND),
        ("pi0_fast_lerobot", PI_LEROBOT, ("base", "wrist"), LEROBOT_BOUND),
        ("smolvla_lerobot", SMOLVLA, ("top", "wrist"), LEROBOT_BOUND),
        ("pi0_openpi", OPENPI, ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"), 0.0),
        ("pi05_openpi", OPENPI, ("base_0_rgb", "left_wrist_0_rgb", "right_wrist_0_rgb"), 0.0),
    ],
)
def test_the_pixels_of_pi_and_smolvla(
    shared: Path, name: str, preprocess: Preprocess, cameras: tuple[str, ...], bound: float
) -> None:
    _, io = golden(shared, name)
    made = pixels([io[f"in.image_u8.{camera}"] for camera in cameras], preprocess)
    assert made.shape == io["in.images"].shape
    assert np.abs(made - io["in.images"]).max() <= bound
    for i, camera in enumerate(cameras):
        if (resized := io.get(f"in.image_u8_resized.{camera}")) is not None:
            assert np.array_equal(np.rint((made[0, i] + 1.0) * 127.5).transpose(1, 2, 0), resized)


@pytest.mark.parametrize(
    ("name", "cameras"), [("openvla_hf", ("in.image_u8",)), ("openvla_oft", ("in.image_u8.0", "in.image_u8.1"))]
)
def test_the_pixels_of_openvla(shared: Path, name: str, cameras: tuple[str, ...]) -> None:
    folder, io = golden(shared, name)
    config = json.loads((folder / "checkpoint" / "preprocessor_config.json").read_text())
    mean, std = (tuple(map(tuple, config[key])) for key in ("means", "stds"))
    preprocess = Preprocess(config["input_sizes"][0][1], "pil-bicubic", "stretch", mean=mean, std=std)
    made = pixels([io[camera] for camera in cameras], preprocess)
    assert np.array_equal(made.reshape(io["in.pixel_values"].shape), io["in.pixel_values"])
