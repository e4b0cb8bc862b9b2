"""Objects of the SDK are accepted in place of ours."""

# pyright reads the types from the code of the SDK; mypy finds none.
# pyright: reportUnnecessaryTypeIgnoreComment=false
from __future__ import annotations

from tensorlake.sandbox import AsyncSandbox as SDKAsyncSandbox  # type: ignore[import-untyped,unused-ignore]
from tensorlake.sandbox import Sandbox as SDKSandbox

from pytest_tlsandbox import AsyncSandbox, Sandbox


def processes_of_the_sdk_are_processes(tlsandbox: Sandbox, sdk: SDKSandbox) -> None:
    started = sdk.start_process("python", ["train.py"])
    tlsandbox.wait_for_exit(started)
    tlsandbox.wait_for_exit(started.value)
    for listed in sdk.list_processes():
        tlsandbox.assert_process(listed, status="running")
        tlsandbox.assert_no_oom(listed, started)


async def processes_of_the_async_sdk_are_processes(
    tlsandbox_async: AsyncSandbox, sdk: SDKAsyncSandbox
) -> None:
    started = await sdk.start_process("python", ["train.py"])
    await tlsandbox_async.wait_for_exit(started)
    for listed in await sdk.list_processes():
        await tlsandbox_async.kill_process(listed)
