"""Use pydantic to parse request bodies.

Like the daemon, a body ignores unknown keys. ``restart`` and ``health_check`` reject unknown keys,
to report a misspelt limit.

Import this module only when the first body arrives, because importing pydantic takes 90 ms.
"""

import re
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from pytest_tlsandbox.local.asgi import ApiError, PlainTextError, Request

_UInt32 = Annotated[int, Field(ge=0, lt=2**32)]
# For the kernel, 2**32 - 1 means "keep the current user", which may be root.
_Id = Annotated[int, Field(ge=0, lt=2**32 - 1)]

Body = TypeVar("Body", bound=BaseModel)


class Restart(BaseModel, strict=True, extra="forbid"):
    """The restart policy of a managed process."""

    policy: Literal["on_failure", "never", "always"] = "on_failure"
    max_restarts: _UInt32 | None = None
    initial_backoff_ms: _UInt32 = 500
    max_backoff_ms: _UInt32 = 30_000


class HealthCheck(BaseModel, strict=True, extra="forbid"):
    """The health check of a managed process."""

    type: Literal["http", "tcp"]
    port: Annotated[int, Field(ge=0, lt=2**16)]
    path: str | None = None
    initial_delay_ms: _UInt32 = 5000
    interval_ms: _UInt32 = 1000
    timeout_ms: _UInt32 = 500
    failure_threshold: _UInt32 = 3


class UserSpec(BaseModel, strict=True):
    """The value of ``user`` as an object with a name or a uid, and possibly a gid."""

    name: str | None = None
    uid: _Id | None = None
    gid: _Id | None = None


class Program(BaseModel, strict=True):
    """The program to run.

    The user is a name, ``uid``, ``uid:gid`` or an object.
    """

    command: str
    args: list[str] = []
    env: dict[str, str] | None = None
    working_dir: str | None = None
    user: str | UserSpec | None = None


class StartRequest(Program):
    """The body of ``POST /processes``."""

    stdin_mode: Literal["closed", "pipe"] = "closed"
    stdout_mode: Literal["capture", "discard"] = "capture"
    stderr_mode: Literal["capture", "discard"] = "capture"
    name: str | None = None
    restart: Restart | None = None
    health_check: HealthCheck | None = None
    stop_grace_ms: _UInt32 = 10_000

    def model_post_init(self, _context: object) -> None:
        """Raise ``ApiError`` (400) if the name is invalid."""
        if self.name is not None and re.fullmatch(r"[0-9]*|.*/.*", self.name, re.DOTALL):
            error = f"Invalid process name '{self.name}': not empty, no '/', and not digits only"
            raise ApiError(400, error, "INVALID_PROCESS_NAME")

    @property
    def restart_rules(self) -> Restart:
        """The requested restart policy, or the default policy if the request does not set one."""
        return self.restart or Restart()


class RunRequest(Program):
    """The body of ``POST /processes/run``, with an optional timeout in seconds."""

    timeout: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class SignalRequest(BaseModel, strict=True):
    """The body of ``POST /processes/{p}/signal``."""

    signal: Annotated[int, Field(ge=-(2**31), lt=2**31)]


async def parse_body(model: type[Body], request: Request) -> Body:
    """Read and parse a JSON body.

    Args:
        model: the class of the result.
        request: the request.

    Returns:
        The object.

    Raises:
        PlainTextError: 413 if the body is too long, 415 if the content type is not JSON, 400 if the
            body is not JSON, 422 if a field is missing or has an invalid value, or if ``restart``
            or ``health_check`` contains an unknown key.
        ApiError: 400 if the name is invalid.

    """
    body = await request.body()
    content_type = request.headers.get(b"content-type", b"")
    if not re.match(rb"\s*application/(.+\+)?json\s*(;|$)", content_type, re.IGNORECASE):
        raise PlainTextError(415, "Expected request with `Content-Type: application/json`")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        problems = error.errors()
    if problems[0]["type"] == "json_invalid":
        reason = problems[0]["ctx"]["error"]
        raise PlainTextError(400, f"Failed to parse the request body as JSON: {reason}")
    text = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems)
    raise PlainTextError(422, f"Failed to deserialize the JSON body into the target type: {text}")
