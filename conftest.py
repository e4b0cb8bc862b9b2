import os
import signal

pytest_plugins = ["pytester"]

# What pytest prints depends on these: the width of a line, and how much of a message a summary shows.
os.environ["COLUMNS"] = "80"
for name in [*os.environ]:
    if name in {"CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "TLSANDBOX"} or name.startswith(
        ("GITHUB_", "TENSORLAKE_", "TLSANDBOX_")
    ):
        del os.environ[name]

# A shell that runs this in the background has Ctrl-C ignored, and what is started here inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
