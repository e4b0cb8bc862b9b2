"""The guard: fails the test in which an OOM kill, a crash, a restart ... happens in a sandbox."""
