"""The units that tell a system update whether it has proved itself: good, failed, or not good in time."""

from __future__ import annotations

from edge_runtime.deploy.places import EDGE, HEALTHY
from edge_runtime.deploy.update.layout import GIVE_UP as GIVE_UP_PROGRAM

GOOD_PATH, GOOD = "edge-runtime-good.path", "edge-runtime-good.service"
FAILED = "edge-runtime-failed.service"
GIVE_UP = "edge-runtime-give-up.service"
TRIAL_TIMER, TRIAL = "edge-runtime-trial.timer", "edge-runtime-trial.service"
TRIAL_TIME = "1h"
"""From power-on to healthy, a first compile of every engine included."""

_GOOD_PATH = f"""\
[Unit]
Description=Whether this system has proved itself

[Path]
# Written by the service after enough ticks in time, with accuracy and latency as asked.
PathExists={HEALTHY}

[Install]
WantedBy=multi-user.target
"""

_GOOD = f"""\
[Unit]
Description=Keep this system: it has proved itself

[Service]
Type=oneshot
# Stays active, or the path, which is still there, would start it again at once.
RemainAfterExit=yes
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

[Install]
WantedBy=timers.target
"""

_TRIAL = f"""\
[Unit]
Description=Go back to the system before, where this one is not healthy by now
OnFailure={GIVE_UP}

[Service]
Type=oneshot
ExecStart={EDGE} update failed --unless-healthy
"""

UNITS = {
    GOOD_PATH: _GOOD_PATH,
    GOOD: _GOOD,
    FAILED: _FAILED,
    GIVE_UP: _GIVE_UP,
    TRIAL_TIMER: _TRIAL_TIMER,
    TRIAL: _TRIAL,
}
ENABLED = (GOOD_PATH, TRIAL_TIMER)
"""Those that start by themselves."""
