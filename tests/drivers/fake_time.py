"""A stand-in for the `time` module inside a driver: it passes only when somebody sleeps."""

from __future__ import annotations


class FakeTime:
    """`now_ns` is the time; set it before use."""

    now_ns = 0

    @classmethod
    def monotonic_ns(cls) -> int:
        return cls.now_ns

    @classmethod
    def sleep(cls, seconds: float) -> None:
        assert seconds >= 0
        cls.now_ns += round(seconds * 1e9)
