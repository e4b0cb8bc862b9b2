"""Sleep between two polls, and wake up early if the processes may have changed."""

from __future__ import annotations

import threading

from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.end_notice import EndNotice
from pytest_tlsandbox.history.snapshot import ProcessSnapshot
from pytest_tlsandbox.models import ProcessInfo
from pytest_tlsandbox.types import Identity

_MOST_FALSE_NOTICES = 2
"""After this many consecutive false notices, a wait does not open any more streams."""
_INSTANT = 1e-6


class Wakeup:
    """Sleeps until the next poll is due, unless there is a reason to wake up earlier.

    The sleep ends early if a process seems to have ended, or if another wait has polled.

    Args:
        client: the client of the sandbox.
        evaluated: the time at which the last evaluated snapshot was requested, in seconds on the
            clock.

    Attributes:
        evaluated: the argument of the same name.
        noticed: whether the last sleep ended because the followed process seems to have ended.

    """

    def __init__(self, client: SandboxClient, evaluated: float) -> None:
        self.evaluated = self._last_heard = evaluated
        self.noticed = False
        self._client = client
        self._event = threading.Event()
        self._notice: EndNotice | None = None
        self._followed: Identity | None = None
        self._false_notices = 0
        self._thread = threading.get_ident()
        client.history.observers.append(self._hear)

    def close(self) -> None:
        """End the stream, and stop listening for snapshots."""
        self._client.history.observers.remove(self._hear)
        self._stop_following()

    @property
    def following(self) -> bool:
        """Whether a stream is open, so that the sleep will end early when the process ends."""
        return self._notice is not None and self._notice.live

    def follow(self, process: ProcessInfo | None, limit: float) -> None:
        """Follow a process for up to ``limit`` seconds.

        If ``process`` is None, stop following the previous process.
        """
        identity = None if process is None else process.identity
        if identity != self._followed:
            self._stop_following()
            self._followed, self._false_notices = identity, 0
        may_follow = self._notice is None and self._false_notices < _MOST_FALSE_NOTICES
        if process is not None and may_follow:
            self._notice = self._client.notice_end(process.pid, limit, self._event.set)

    def sleep(self, seconds: float) -> None:
        """Sleep for at most ``seconds``."""
        self.noticed = False
        clock, left = self._client.clock, seconds
        end = clock.monotonic() + seconds
        while left > _INSTANT:
            # Clear the event before checking the reasons, so that no reason is missed.
            self._event.clear()
            if self.heard or self._has_notice():
                return
            clock.wait(self._event, left)
            left = end - clock.monotonic()

    @property
    def heard(self) -> bool:
        """Whether another wait has requested a snapshot after the last evaluated snapshot."""
        return self._last_heard > self.evaluated

    def _hear(self, snapshot: ProcessSnapshot, _changed: object) -> None:
        if threading.get_ident() != self._thread:
            self._last_heard = snapshot.begun
            self._event.set()

    def _has_notice(self) -> bool:
        self.noticed = self._notice is not None and self._notice.came
        if self.noticed:
            # Consider the notice false until a poll shows that the process is no longer alive.
            self._false_notices += 1
            self._stop_following()
        return self.noticed

    def _stop_following(self) -> None:
        if self._notice is not None:
            self._notice.close()
            self._notice = None
