"""Run the memory tests of the embedded sandbox on cgroup v2 of a Debian kernel, in QEMU.

The virtual machine mounts the root directory of this machine, read-only, through virtiofs. So the
tests use the checkout and the Python of this machine, and no disk image is necessary. They run as
the user who runs this script. QEMU emulates the processor, so neither KVM nor root is necessary.

The environment variable KERNEL can name another kernel, which needs CONFIG_VIRTIO_FS=y. With the
option --skip-if-missing, the script succeeds if QEMU, virtiofsd or the kernel is missing.
"""

from __future__ import annotations

import compileall
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
INIT = Path(__file__).with_name("kernel_init.sh")
MEMORY = "768M"
TIMEOUT = 170
"""The timeout for the virtual machine, in seconds."""


def newest_kernel() -> str | None:
    """Return the newest installed kernel that can mount its root directory through virtiofs."""
    kernels = sorted(Path("/boot").glob("vmlinuz-*"), key=lambda kernel: kernel.stat().st_mtime)
    for kernel in reversed(kernels):
        config = kernel.with_name(kernel.name.replace("vmlinuz", "config"))
        if config.exists() and "\nCONFIG_VIRTIO_FS=y\n" in config.read_text():
            return str(kernel)
    return None


def run_tests(qemu: str, virtiofsd: str, kernel: str) -> int:
    """Run the tests in a virtual machine, and return the exit status of pytest."""
    # Python cannot write compiled files there, and would compile the package for each sandbox.
    compileall.compile_dir(ROOT / "pytest_tlsandbox", quiet=1)
    arguments = f"{ROOT} {sys.executable} {os.getuid()} {os.getgid()}"
    boot = f"root=host rootfstype=virtiofs ro console=ttyS0 loglevel=1 panic=-1 init={INIT}"
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        files, status = f"{folder}/files", Path(folder, "status")
        listener.bind(files)
        listener.listen()
        share = [virtiofsd, "--fd", str(listener.fileno()), "--shared-dir", "/", "--readonly"]
        share += ["--sandbox", "none", "--cache", "always", "--log-level", "error"]
        machine = [qemu, "-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", MEMORY, "-no-reboot"]
        machine += ["-nodefaults", "-display", "none", "-machine", "q35,memory-backend=memory"]
        machine += ["-object", f"memory-backend-memfd,id=memory,size={MEMORY},share=on"]
        machine += ["-chardev", f"socket,id=files,path={files}"]
        machine += ["-device", "vhost-user-fs-pci,chardev=files,tag=host"]
        machine += ["-serial", "stdio", "-serial", f"file:{status}"]
        machine += ["-kernel", kernel, "-append", f"{boot} -- {arguments}"]
        with subprocess.Popen(share, pass_fds=[listener.fileno()]) as server:
            listener.close()  # if virtiofsd fails, QEMU must not wait for an answer
            try:
                subprocess.run(machine, stdin=subprocess.DEVNULL, timeout=TIMEOUT, check=False)
            except subprocess.TimeoutExpired:
                sys.exit(f"make kernel: the tests did not end within {TIMEOUT} s")
            finally:
                server.terminate()
        if not (status.exists() and status.read_text().strip()):
            sys.exit(f"make kernel: QEMU with {kernel} ended before the tests ended")
        return int(status.read_text())


def main() -> int:
    """Run the tests, or name the packages that are missing."""
    needed = {
        "qemu-system-x86": shutil.which("qemu-system-x86_64"),
        "virtiofsd": shutil.which("virtiofsd") or shutil.which("/usr/libexec/virtiofsd"),
        "linux-image-cloud-amd64": os.environ.get("KERNEL") or newest_kernel(),
    }
    missing = [package for package, file in needed.items() if file is None]
    if not missing:
        return run_tests(*map(str, needed.values()))
    install = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if "--skip-if-missing" in sys.argv:
        print(f"skipped: make kernel needs Debian packages: {install}")
        return 0
    sys.exit(f"make kernel needs Debian packages: {install}")


if __name__ == "__main__":
    sys.exit(main())
