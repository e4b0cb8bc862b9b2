"""Run the plugin for the driver of the model: helpers and guard on a simulated daemon."""

import json as encoder
from math import inf
from types import SimpleNamespace

from pytest_tlsandbox.client import retry
from pytest_tlsandbox.client.address import Address
from pytest_tlsandbox.client.api import SandboxClient
from pytest_tlsandbox.client.transport import Answer
from pytest_tlsandbox.connections import Connection
from pytest_tlsandbox.errors import AuthenticationFailed, RequestRefused, SandboxUnreachable
from pytest_tlsandbox.guard.plugin import Guard
from pytest_tlsandbox.monitoring.monitor import Monitor
from pytest_tlsandbox.sandbox import Sandbox
from pytest_tlsandbox.settings import Settings
from pytest_tlsandbox.types import Screen
from tests.fakes.streams import AlarmClock, FakeNotice

KINDS = ("oom", "suspected_oom", "crash", "gave_up", "restart", "unseen_end", "lost_end")
MOST_REQUESTS = 4000
STREAMS = ("off", "on", "early", "missing")


class Transport:
    """Sends requests to the simulated daemon, and shows its answers to the oracle.

    ``follow``: whether the stream of a process ends with the process ("on"), earlier, because it is
    forged or cut ("early"), never ("missing"), or is not available ("off").
    """

    address = Address("my-sandbox", "model:")

    def __init__(self, daemon, history, follow):
        self.clock = AlarmClock(0.0)
        self.follow = follow
        self.daemon, self.history = daemon, history
        self.failed_polls = []
        self.asked = []  # the time of each request
        self.refuses_from = inf  # when the sandbox begins to reject the key

    def request(self, method, path, *, limit=5.0, json=None):
        """Answer a request, which takes 2 ms, or raise the error of the plugin."""
        self.clock.now += 0.002
        daemon, history, now = self.daemon, self.history, self.clock.now
        self.asked.append(now)
        assert len(self.asked) < MOST_REQUESTS, f"more than {MOST_REQUESTS} requests"
        if now >= self.refuses_from:
            raise AuthenticationFailed("my-sandbox rejected the API key (401)", label="401")
        lists = (method, path) == ("GET", "/processes")
        if not daemon.advance(now) or (lists and daemon.is_faulty(now)):
            if lists:
                self.failed_polls.append(f"{now:.3f}")
            history.failing = now if history.failing is None else history.failing
            raise _unreachable()
        history.failing = None
        if lists:
            history.see(now, daemon.listed(), full=True)
        elif method != "GET" and path != "/processes":
            history.act(daemon.find(path.split("/")[2]))
        status, document = daemon.request(method, path, json)
        if "lines" in (document or ()):
            # The wait reads first; the message of a failure may read more later.
            history.probes.setdefault(("output", len(history.views) - 1), bool(document["lines"]))
        if status >= 400:
            code = " NOT_FOUND" if status == 404 else ""
            raise RequestRefused(f"{status} {document}", label=f"{status}{code}")
        if method == "POST" and "pid" in document:
            shown = next(shown for shown in daemon.listed() if shown.row is document)
            history.see(now, [shown], full=False)
        body = b"" if document is None else encoder.dumps(document).encode()
        return Answer(200, body, announced=True)

    def probe_port(self, process, _port, *, limit):
        """Probe the port that a process opens 0.1 s after its start."""
        self.clock.now += 0.002
        if not self.daemon.advance(self.clock.now):
            raise _unreachable()
        run = self.daemon.find(str(process.pid))
        is_open = run is not None and run.ended is None and self.daemon.world - run.began >= 100
        self.history.probes["port", len(self.history.views) - 1] = is_open
        return "open" if is_open else "closed"

    def notice_end(self, pid, _limit, wake):
        """Follow a process; the stream of an unknown pid ends immediately."""
        run = self.daemon.find(str(pid))
        early = self.clock.now + 0.3 if self.follow == "early" else None
        notice = FakeNotice(self.clock, early, wake, live=self.follow != "off")

        def check():
            if self.daemon.advance(self.clock.now) and (run is None or run.ended is not None):
                notice.come()
            elif not notice.closed:
                self.clock.alarms.append((self.clock.now + 0.005, check))

        if self.follow == "on":
            check()
        return notice


class Plugin:
    """One sandbox, its helpers, and the guard that monitors it."""

    def __init__(self, transport):
        retry._jitter.seed(0)
        self.client = SandboxClient(transport)
        self.client.notice_end, self.client.probe_port = transport.notice_end, transport.probe_port
        self.box = Sandbox(self.client)
        self.monitor = Monitor(self.client.clock)
        self.guard = Guard(Settings(), self.monitor, Screen)
        self._connection = Connection(self.client, shared=False)

    def begin_test(self, rules, allowed):
        """Begin the setup of a test and take its baseline."""
        self.guard._settings = Settings(guard=tuple(rules))
        self.guard.begin_test(rules, allowed)
        self.monitor.begin_test("test", 1)
        if not self.monitor.sandboxes:
            self.monitor.add(self._connection)
        self._reported()  # incidents that this list call shows happened between two tests
        self.box = Sandbox(self.client).from_now(self._connection.baseline)

    def end_phase(self, phase):
        """End "call", "teardown" or, if ``phase`` is "", the session; return the findings."""
        if phase:
            self.monitor.end_phase(phase)
        else:
            self.monitor.end_session()
        return self._reported()

    def end_test(self):
        self.monitor.end_test()
        self.guard.end_test()

    def incidents(self):
        """Return all incidents so far, each with its run, its view and whether we caused it."""
        history = self.client.history
        for incident in history.incidents(0):
            run = incident.run
            if run.assumed or incident.kind not in KINDS:
                continue
            # The model identifies a restart by the run that it started.
            if incident.kind == "restart":
                run = run.successor or run
                while run.successor is not None and run.assumed:
                    run = run.successor
            view, ours = incident.position - 1, incident.caused_here
            yield _about(run, kind=incident.kind, view=view, ours=ours)

    def _reported(self):
        found, self.guard._findings = self.guard._findings, []
        return [
            _about(
                it.incident.run, rule=it.rule, observed=not it.inconclusive,
                allowed=it.allowed is not None, of_test=it.reported_in == "test",
            ) for it in found
        ]  # fmt: skip


def _unreachable():
    return SandboxUnreachable("it answered 503", label="503", transient=True, delivered=False)


def _about(run, **facts):
    """Return facts about a run, and what identifies the run."""
    handle, pid, began = run.row.identity if run.row else (None, None, None)
    started_at, managed_id = began and round(began.timestamp() * 1000), run.generation.id
    shown = {"handle": handle, "pid": pid, "started_at": started_at, "managed_id": managed_id}
    return SimpleNamespace(**facts, **shown)
