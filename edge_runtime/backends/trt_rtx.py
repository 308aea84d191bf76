"""TensorRT-RTX: the same as TensorRT in every call, with engines that were built ahead of time for a kind of GPU."""

from __future__ import annotations

from edge_runtime.backends import trt


class Engine(trt.Engine):
    """Loads the engines of `edge compile BUNDLE --backend trt-rtx`."""

    backend = "trt_rtx"
