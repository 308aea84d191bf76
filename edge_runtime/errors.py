"""Errors that a person can mend: one line that says what is wrong, where, and what to do."""


def one_line(error: object, most: int = 300) -> str:
    """What a library says, printable, without line breaks and no longer than `most`, to stand in an error of ours."""
    return printable(" ".join(str(error).split()))[:most]


def printable(text: str) -> str:
    """`text` with a question mark for what a terminal would obey instead of showing it: escapes, line breaks."""
    return "".join(c if c.isprintable() else "?" for c in text)


class EdgeError(Exception):
    """Base. The command line prints its message on one line and exits with code 2."""


class ConfigError(EdgeError):
    """robot.toml says something impossible."""


class BundleError(EdgeError):
    """A policy bundle is damaged, or is not for this robot or this machine."""


class BackendError(EdgeError):
    """An inference backend is missing or refused a graph."""


class DeviceLost(BackendError):
    """The GPU has failed for good: it takes no more work from this process, which must end as for `InferenceHung`."""


class UpdateError(EdgeError):
    """A system update that cannot be made, or that this robot does not take."""


class InstructionError(EdgeError):
    """An instruction that the policy cannot take."""


class InferenceHung(EdgeError):
    """An inference never ends. So the process must, by `os._exit`: what Python does at its own end, destructors of
    whatever is on the device, may wait for the same device for ever."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"{why}: it hangs, so the process ends: see what dmesg says of its device; "
            "a policy that is only slow needs a longer deadlines.hung_ms"
        )


class ObservationError(EdgeError):
    """A frame or a state is missing that the policy cannot do without."""


class MalformedTokens(EdgeError):
    """The model wrote a sequence of action tokens that means no action."""


class UnreachablePose(EdgeError):
    """A policy asked for a pose of the end effector that the arm gets nowhere near."""


class CommandError(EdgeError):
    """A command that did not reach the running robot, or that it cannot take now."""


def fatal(error: BaseException | None) -> InferenceHung | DeviceLost | None:
    """The error after which the process must end that `error` is, or that was being handled when it was raised."""
    if error is None or isinstance(error, (InferenceHung, DeviceLost)):
        return error
    return fatal(error.__context__)
