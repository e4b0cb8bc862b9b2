"""Serve nothing: use too much memory in the first run, and little in later ones."""

import os
import pathlib
import time

marker = pathlib.Path(os.environ["STATE"], "started")
if not marker.exists():
    marker.touch()
    taken = [bytearray(10_000_000) for _ in range(300)]
print("listening", flush=True)
time.sleep(600)
