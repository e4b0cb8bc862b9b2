"""Strategies for random worlds and random calls of helpers."""

import math
from typing import NamedTuple

from hypothesis import strategies as st

from .world import End, Life, Run, World

# Times are tenths of a second, so that a poll and an end may coincide.
TENTH = 0.1
PIDS = (41, 42, 43)
COMMANDS = ("python train.py", "python train.py --lr 1", "web")

ends = st.one_of(
    st.builds(End, code=st.sampled_from([0, 0, 0, 1, 3, 137])),
    st.builds(End, signal=st.sampled_from([15, 9, 1, 11, 6])),
    st.builds(End, signal=st.just(9), oom=st.sampled_from(["status", "flag", "child"])),
    st.builds(
        End, code=st.sampled_from([0, 1, 137]), lost_for=st.sampled_from([0.3, 0.9, 3.0, math.inf])
    ),
    st.just(End()),
)


class Call(NamedTuple):
    """A call of a helper: the process, how to select it, the time, and the timeout.

    ``long_list``: whether the list is so long that a wait for one process requests only its row.
    """

    life: int
    how: str
    at: float
    timeout: float
    code: int | None
    seconds: float
    long_list: bool


@st.composite
def lives(draw, number):
    """Draw a life that starts before or during the test; a managed one may have several runs."""
    managed = draw(st.booleans())
    t = draw(st.integers(-30, 40))
    runs = []
    for turn in range(draw(st.integers(1, 4)) if managed else 1):
        length = draw(st.none() | st.integers(1, 60))
        how = draw(ends)
        if runs and runs[-1].how.lost_for:  # no correction after a restart
            runs[-1] = runs[-1]._replace(how=End(code=runs[-1].how.code))
        end = math.inf if length is None else (t + length) * TENTH
        handle = 100 * (number + 1) + turn
        runs.append(Run(draw(st.sampled_from(PIDS)), handle, t * TENTH, end, how))
        if length is None:
            break
        t += length + draw(st.integers(1, 20))
    reaped = math.inf
    if runs[-1].end < math.inf and draw(st.integers(0, 3)) == 0:
        reaped = runs[-1].end + draw(st.integers(0, 40)) * TENTH
    command = "web" if managed else draw(st.sampled_from(COMMANDS))
    most = draw(st.none() | st.just(len(runs) - 1)) if managed else None
    return Life(number, command, tuple(runs), managed, reaped, most)


@st.composite
def worlds(draw):
    """Draw one to three lives that share three pids, but never use one at the same time."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        life = draw(lives(number))
        runs = [run for one in made for run in one.runs]
        if not any(_clash(run, other) for run in life.runs for other in runs):
            made.append(life)
    outages, t = [], 0
    for _ in range(draw(st.integers(0, 2))):
        start = t + draw(st.integers(0, 50))
        t = start + draw(st.one_of(st.integers(1, 15), st.integers(20, 400)))
        outages.append((start * TENTH, t * TENTH))
    return World(
        tuple(made),
        tuple(outages),
        refused=draw(st.integers(0, 80)) * TENTH if draw(st.integers(0, 9)) == 9 else math.inf,
        offset=draw(st.sampled_from([0.0, -7.0, 13.0])),
        latency=draw(st.sampled_from([0.0, 0.01, 0.2])),
        handles=draw(st.booleans()),
    )


def _clash(one, other):
    """Return whether two runs use the same pid at the same time, which a kernel rules out."""
    return one.pid == other.pid and one.start <= other.end and other.start <= one.end


calls = st.builds(
    Call,
    life=st.integers(0, 2),
    how=st.sampled_from(["object", "pid", "text", "name"]),
    at=st.integers(0, 30).map(lambda tenths: tenths * TENTH),
    timeout=st.sampled_from([0.0, 0.5, 2.0, 6.0, 12.0]),
    code=st.sampled_from([0, 0, 1, None]),
    seconds=st.sampled_from([0.5, 1.5, 4.0]),
    long_list=st.booleans(),
)
