"""Train nothing: load some shards, and end as the arguments say."""

import os
import signal
import sys
import time

end = sys.argv[1]

for shard in range(1, 7):
    print(f"shard {shard}/8 loaded", file=sys.stderr, flush=True)
time.sleep(0.3)
if end == "--too-big":
    taken = [bytearray(10_000_000) for _ in range(300)]
if end == "--corrupt":
    sys.exit("error: shard 7/8: checksum differs")
if end == "--crash":
    os.kill(os.getpid(), signal.SIGSEGV)
if end == "--endless":
    time.sleep(600)
