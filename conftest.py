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

# A shell's background job has Ctrl-C ignored, one under nohup the hang-up too, and what is started
# inherits that. What is handled here, if by doing nothing, is back to its default there.
for number in (signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)):  # Windows has no SIGHUP
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

# The embedded sandbox is isolated from coverage's .pth; the programs in it are not measured.
if "COVERAGE_PROCESS_CONFIG" in os.environ:
    from pytest_tlsandbox.local import sandbox

    start = (
        "import coverage, os; coverage.process_startup(); del os.environ['COVERAGE_PROCESS_CONFIG']"
    )
    sandbox._BOOTSTRAP = sandbox._BOOTSTRAP.replace("from ", f"{start}\nfrom ", 1)
