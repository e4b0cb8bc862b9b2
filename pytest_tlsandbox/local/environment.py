"""The environment that programs in the sandbox find."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "TLSANDBOX_PROCESS"
"""The variable that tells which process of which sandbox a program belongs to (see ``process_tree``)."""

# The end of a word in the name of a variable that tells that its value is a secret. The first four
# must be the whole word (MONKEY); ASKPASS is a program, OLDPWD and PWD are folders.
_SECRET_NAME = re.compile(
    r"(?:(?:^|[\W_])(?:O?AUTH|CRED(?:ENTIAL)?S?|KEY|PAT)"
    r"|(?:ACCESS|API|AUTH|PRIVATE|SECRET)_?KEYS?|AUTHORIZATION|PASSPHRASE|PASSWD|PASSWORDS?"
    r"|SECRETS?|TOKENS?|(?<!ASK)(?<!BY)(?<!COM)PASS|(?<=.)(?<!OLD)PWD)\d*(?:[\W_]|$)"
    r"|^(?:TENSORLAKE|TLSANDBOX)_",
    re.IGNORECASE,
)
_NO_SECRET = {"SSH_AUTH_SOCK"}
# The name of the running test: it may be longer than what a program can be started with.
_LEFT_OUT = {"PYTEST_CURRENT_TEST"}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out every variable whose name tells of a secret, all of Tensorlake's, the test's name.

    In a sandbox of the service, too, a program has nothing of the machine that runs the tests.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _NO_SECRET or not (name in _LEFT_OUT or _SECRET_NAME.search(name))
    }


def program_environment(requested: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return our own environment, with what a start asks for, and the mark.

    The folder of the running interpreter stands first in PATH, so that ``python`` is the one that
    runs the tests; a PATH that was asked for replaces all of it.
    """
    interpreter = os.path.dirname(sys.executable)
    path = os.pathsep.join([interpreter, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, **requested, MARK: mark}
