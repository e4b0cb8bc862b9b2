"""What the made-up sandbox lists, as a function of seconds since the test began. Shapes: GET /api/v1/processes."""

T0_MS = 1_790_000_000_000


def proc(pid, args, status="running", exit_code=None, signal=None, handle=None, ended=None, **more):
    return {
        "handle": handle or pid - 40,
        "pid": pid,
        "status": status,
        "exit_code": exit_code,
        "signal": signal,
        "stdin_writable": False,
        "command": "python",
        "args": args.split(),
        "started_at": T0_MS,
        "ended_at": None if status == "running" else T0_MS + int((ended or 0) * 1000),
        **more,
    }


def managed(count, oom):
    last = (
        {"exit_code": None, "signal": 9, "oom_killed": True, "ended_at": T0_MS + 300}
        if oom
        else None
    )
    return {
        "id": "web",
        "name": "web",
        "status": "running",
        "restart_count": count,
        "restart": {
            "policy": "on_failure",
            "max_restarts": None,
            "initial_backoff_ms": 500,
            "max_backoff_ms": 30000,
        },
        "health_check": None,
        "health_status": "disabled",
        "consecutive_health_failures": 0,
        "last_exit": last,
        "last_error": None,
        "next_restart_at": None,
    }


def listing(name, t):
    """The processes, or None: the proxy answers 502."""
    serve = proc(50, "serve.py")
    if name == "1-oom":
        return [
            proc(41, "train.py")
            if t < 0.3
            else proc(41, "train.py", "oom_killed", None, 9, ended=0.3),
            serve,
        ]
    if name == "2-exit3":
        return [
            proc(41, "train.py") if t < 0.3 else proc(41, "train.py", "exited", 3, ended=0.3),
            serve,
        ]
    if name in ("3-typo", "4-running"):
        return [proc(41, "train.py"), serve]
    if name == "5-ended":
        return [proc(41, "server.py", "exited", 0, ended=0.0), serve]
    if name == "6-vanished":
        return [proc(41, "train.py"), serve] if t < 2.1 else [serve]
    if name == "7-several":
        return [
            proc(41, "train.py --lr 0.1")
            if t < 0.3
            else proc(41, "train.py --lr 0.1", "exited", 0, ended=0.3),
            proc(57, "train.py --lr 0.01")
            if t < 0.6
            else proc(57, "train.py --lr 0.01", "exited", 3, ended=0.6),
            serve,
        ]
    if name == "8-502":
        return None
    if name == "9-restart":
        if t < 0.3:
            return [proc(41, "web.py", managed=managed(0, False))]
        if t < 0.8:
            return [
                proc(
                    41,
                    "web.py",
                    "oom_killed",
                    None,
                    9,
                    ended=0.3,
                    managed=managed(0, True) | {"status": "backing_off"},
                )
            ]
        return [proc(58, "web.py", managed=managed(1, True))]
    if name == "10-soft":
        return [
            proc(41, "api.py"),
            proc(42, "worker.py", "exited", 1),
            proc(43, "train.py", "oom_killed", None, 9),
        ]
    raise KeyError(name)
