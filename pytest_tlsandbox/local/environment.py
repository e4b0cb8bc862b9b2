"""Build the environment of the programs in the sandbox."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MARK = "TLSANDBOX_PROCESS"
"""Variable that identifies the sandbox and the process of a program (see ``process_tree``)."""

WRITABLE = "TLSANDBOX_LOCAL_WRITABLE"
"""Variable with more folders below which the sandbox may write and delete files (see ``files``)."""

# Matches the names of variables that hold a secret, by the end of a word in the name. The first
# line matches whole words only, because MONKEY ends in KEY. ASKPASS is a program, PWD is a folder.
_SECRET_NAME = re.compile(
    r"(?:(?:^|[\W_])(?:O?AUTH|CRED(?:ENTIAL)?S?|KEY|PAT)"
    r"|(?:ACCESS|API|AUTH|PRIVATE|SECRET)_?KEYS?|AUTHORIZATION|PASSPHRASE|PASSWD|PASSWORDS?"
    r"|SECRETS?|TOKENS?|(?<!ASK)(?<!BY)(?<!COM)PASS|(?<=.)(?<!OLD)PWD)\d*(?:[\W_]|$)"
    r"|^(?:TENSORLAKE|TLSANDBOX)_",
    re.IGNORECASE,
)
_NO_SECRET = {"SSH_AUTH_SOCK"}
# pytest stores the name of the test here; no program can start if the name is very long.
_LEFT_OUT = {"PYTEST_CURRENT_TEST"}


def without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of an environment, but leave out the secrets.

    The copy also omits the name of the test, the variables of Tensorlake, and the variables of this
    plugin. A program in a cloud sandbox cannot see the secrets of the test machine, so a program in
    the embedded sandbox must not see these secrets either.
    """
    return {
        name: value
        for name, value in environment.items()
        if name in _NO_SECRET or not (name in _LEFT_OUT or _SECRET_NAME.search(name))
    }


def program_environment(requested: Mapping[str, str], mark: str) -> dict[str, str]:
    """Return the environment of a program, including the requested variables and the mark.

    The folder of the running interpreter comes first in PATH, so that ``python`` is the interpreter
    that runs the tests. If ``requested`` contains a PATH, the program gets this PATH unchanged.
    """
    interpreter = os.path.dirname(sys.executable)
    path = os.pathsep.join([interpreter, os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, **requested, MARK: mark}
