"""The guard fails a test during which an OOM kill, a crash, a restart ... happens in a sandbox."""
