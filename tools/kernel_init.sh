#!/bin/sh
# The first program in the virtual machine of kernel.py. It prepares cgroup v2, runs the memory tests, and writes
# the exit status of pytest to the second serial port. Arguments: the checkout, its Python, uid and gid.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs dev /dev
mkdir /dev/shm
mount -t tmpfs tmp /dev/shm
ip link set lo up

# systemd delegates a cgroup in the same way: the slice belongs to the user, and the processes are in a scope.
slice=/sys/fs/cgroup/tests.slice
mkdir -p $slice/tests.scope
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo +memory >$slice/cgroup.subtree_control
chown "$3:$4" $slice $slice/cgroup.procs $slice/cgroup.subtree_control

echo "memory tests on cgroup v2 of Linux $(uname -r)"
cd "$1" || exit
# The root directory is read-only. Each plugin that pytest does not load saves seconds of emulation.
export PATH HOME=/dev/shm TMPDIR=/dev/shm PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
(
  echo 0 >$slice/tests.scope/cgroup.procs
  TEST_CGROUP="cgroup v2" exec setpriv --reuid "$3" --regid "$4" --clear-groups \
    "$2" -m pytest -p pytest_tlsandbox -p no:cacheprovider -m "" -k v2 tests/local/test_memory.py tests/test_unlisted_kills.py
)
echo $? >/dev/ttyS1
echo b >/proc/sysrq-trigger
