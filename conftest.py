import os

pytest_plugins = ["pytester"]

# What pytest prints depends on these: the width of a line, and how much of a message a summary shows.
os.environ["COLUMNS"] = "80"
for name in [*os.environ]:
    if name in {"CI", "BUILD_NUMBER", "PYTEST_ADDOPTS", "TLSANDBOX"} or name.startswith(
        ("GITHUB_", "TENSORLAKE_", "TLSANDBOX_")
    ):
        del os.environ[name]
