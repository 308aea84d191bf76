"""The units that judge a system: proven before, good, failed, or not good in time."""

from __future__ import annotations

from edge_runtime.deploy.places import EDGE, HEALTHY, UNITS
from edge_runtime.deploy.update.layout import GIVE_UP as GIVE_UP_PROGRAM
from edge_runtime.deploy.update.layout import RECORDS, SYSTEM_CONFIG

PROVEN = "edge-runtime-proven.service"
GOOD_PATH, GOOD = "edge-runtime-good.path", "edge-runtime-good.service"
FAILED = "edge-runtime-failed.service"
GIVE_UP = "edge-runtime-give-up.service"
TRIAL_TIMER, TRIAL = "edge-runtime-trial.timer", "edge-runtime-trial.service"
TRIAL_TIME = "1h"
"""From power-on to healthy, a first compile of every engine included."""

_PROVEN = f"""\
[Unit]
Description=Confirm the system slot that runs, unless it is on trial
ConditionPathExists={SYSTEM_CONFIG}
RequiresMountsFor={RECORDS}

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={EDGE} update good --unless-trial
"""

_GOOD_PATH = f"""\
[Unit]
Description=Whether this system has proved itself
# On a disk without two slots this is not there, and nothing is waited for.
RequiresMountsFor={RECORDS}

[Path]
# Written by the service after enough ticks in time, with accuracy and latency as asked.
PathExists={HEALTHY}
"""

_GOOD = f"""\
[Unit]
Description=Keep this system: it has proved itself
# The path is still there when this has failed, and would start it again at once, for ever. It does so neither while
# this waits for its next try nor after the last one (systemd.path(5), StartLimitBurst= of systemd.unit(5)).
StartLimitIntervalSec=1h
StartLimitBurst=5

[Service]
Type=oneshot
# Nor after it has ended well.
RemainAfterExit=yes
Restart=on-failure
RestartSec=30
ExecStart={EDGE} update good
"""

_FAILED = f"""\
[Unit]
Description=Go back to the system before, where this one has not proved itself
OnFailure={GIVE_UP}

[Service]
Type=oneshot
ExecStart={EDGE} update failed
"""

_GIVE_UP = f"""\
[Unit]
Description=Go back to the system before, where this one cannot even be asked

[Service]
Type=oneshot
ExecStart=/bin/sh {GIVE_UP_PROGRAM}
"""

_TRIAL_TIMER = f"""\
[Unit]
Description=How long a new system may take to prove itself

[Timer]
OnBootSec={TRIAL_TIME}
"""

_TRIAL = f"""\
[Unit]
Description=Go back to the system before, where this one is not healthy by now
OnFailure={GIVE_UP}

[Service]
Type=oneshot
ExecStart={EDGE} update failed --unless-healthy
"""

_UNITS = {
    PROVEN: _PROVEN,
    GOOD_PATH: _GOOD_PATH,
    GOOD: _GOOD,
    FAILED: _FAILED,
    GIVE_UP: _GIVE_UP,
    TRIAL_TIMER: _TRIAL_TIMER,
    TRIAL: _TRIAL,
}


def files() -> dict[str, str]:
    """Absolute path on the robot → text."""
    made = {str(UNITS / name): text for name, text in _UNITS.items()}
    return {**made, **wanted("multi-user.target", PROVEN, GOOD_PATH, TRIAL_TIMER)}


def wanted(target: str, *units: str) -> dict[str, str]:
    """`target` brings the units up with it, in every start: no command switches them off."""
    return {str(UNITS / f"{target}.d/edge-runtime.conf"): f"[Unit]\nWants={' '.join(units)}\n"}
