"""Serves nothing: takes too much memory the first time, and is well from then on."""

import os
import pathlib
import time

marker = pathlib.Path(os.environ["STATE"], "started")
if not marker.exists():
    marker.touch()
    taken = [bytearray(10_000_000) for _ in range(300)]
print("listening", flush=True)
time.sleep(600)
