"""Where a device is, without the passwords in it: for messages, and for whatever leaves the machine."""

from __future__ import annotations

import re

_IN_ADDRESS = re.compile(r"(://[^/\s:@]*):.*@")
"""Up to the last "@": a password may have anything in it."""
_BY_NAME = re.compile(
    r"""((?:pw|pwd|pass|passwd|password|passphrase|secret|token|api[_-]?key)\s*=\s*)("[^"]*"|'[^']*'|[^\s&"']+)""", re.I
)
"""As in GStreamer's `user-pw=…` and in addresses such as `…/live?password=…&channel=1`."""


def masked(text: str) -> str:
    """`text`, such as a camera's `device`, with `***` for each password: rather too much goes than too little."""
    return _BY_NAME.sub(r"\1***", _IN_ADDRESS.sub(r"\1:***@", text))
