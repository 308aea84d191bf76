"""Other programs: each has a deadline, and what it says last is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_runtime.deploy import tools
from edge_runtime.errors import EdgeError
from tests.edge_runtime.deploy.update.programs import first, program

FAILS = """\
#!/bin/sh
echo " 40% Verifying"
echo "LastError: no \x1b[31mspace"
echo "Installing failed" >&2
exit 1
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "rauc", FAILS)
    program(tmp_path / "hangs", "#!/bin/sh\necho begun\nexec sleep 60\n")
    program(tmp_path / "quiet", "#!/bin/sh\nexit 3\n")
    first(tmp_path, monkeypatch)


@pytest.mark.usefixtures("programs")
def test_what_rauc_calls_its_last_error_is_said() -> None:
    lines: list[str] = []
    with pytest.raises(EdgeError) as caught:
        tools.follow(["rauc"], lines.append, timeout_s=10, what="x.raucb")
    assert str(caught.value) == "x.raucb: no ?[31mspace"
    assert lines[0] == " 40% Verifying\n"


@pytest.mark.usefixtures("programs")
def test_or_the_last_thing_that_was_said_or_the_exit_code() -> None:
    with pytest.raises(EdgeError, match=r"^x: Installing failed$"):
        tools.run(["rauc"], timeout_s=10, what="x")
    with pytest.raises(EdgeError, match=r"^x: exit code 3$"):
        tools.run(["quiet"], timeout_s=10, what="x")
    with pytest.raises(EdgeError, match=r"^x: exit code 3$"):
        tools.follow(["quiet"], print, timeout_s=10, what="x")


@pytest.mark.usefixtures("programs")
def test_no_program_is_waited_for_for_ever() -> None:
    with pytest.raises(EdgeError, match=r"^x: hangs was not done after 0 s$"):
        tools.run(["hangs"], timeout_s=0.2, what="x")
    with pytest.raises(EdgeError, match=r"^x: hangs was not done after 0 s$"):
        tools.follow(["hangs"], lambda _line: None, timeout_s=0.2, what="x")


def test_what_is_missing_is_named_with_its_package() -> None:
    with pytest.raises(EdgeError, match=r"^no-such-tool: not installed here: apt-get install no-such-tool$"):
        tools.run(["no-such-tool"], timeout_s=1, what="x")
