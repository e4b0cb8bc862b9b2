"""Build the environment of the programs in the sandbox."""

import os
import re

MARK = "TLSANDBOX_PROCESS"
"""Variable that identifies the sandbox and the process of a program (see ``process_tree``)."""

WRITABLE = "TLSANDBOX_LOCAL_WRITABLE"
"""Variable with more folders below which the sandbox may write and delete files (see ``files``)."""

# Matches the names of variables that hold a secret, by the end of a word in the name. The first
# line matches whole words only, because MONKEY ends in KEY. ASKPASS is a program, PWD is a folder.
# pytest stores the name of the test in the last one; if it is very long, no program can start.
_SECRET_NAME = re.compile(
    r"(?:(?:^|[\W_])(?:O?AUTH|CRED(?:ENTIAL)?S?|KEY|PAT)"
    r"|(?:ACCESS|API|AUTH|PRIVATE|SECRET)_?KEYS?|AUTHORIZATION|PASSPHRASE|PASSWD|PASSWORDS?"
    r"|SECRETS?|TOKENS?|(?<!ASK)(?<!BY)(?<!COM)PASS|(?<=.)(?<!OLD)PWD)\d*(?:[\W_]|$)"
    r"|^(?:TENSORLAKE|TLSANDBOX)_|^PYTEST_CURRENT_TEST$",
    re.IGNORECASE,
)


def environment_without_secrets() -> dict[str, str]:
    """Return a copy of this process's environment without its secrets.

    The copy also omits the name of the test, the variables of Tensorlake, and the variables of this
    plugin. A program in a cloud sandbox cannot see the secrets of the test machine, so a program in
    the embedded sandbox must not see these secrets either.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name == "SSH_AUTH_SOCK" or not _SECRET_NAME.search(name)
    }
