"""A stand-in for the modules `time` and `threading` inside a driver: time passes only when somebody waits."""

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

    class Event:
        """Nobody else is there to set it."""

        def set(self) -> None: ...

        def clear(self) -> None: ...

        def wait(self, seconds: float) -> bool:
            FakeTime.sleep(seconds)
            return False
