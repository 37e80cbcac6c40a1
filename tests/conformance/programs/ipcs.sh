#!/bin/sh
# ipcs -m: the shared memory segments of this IPC namespace. Debian's busybox has no ipcs.
echo "------ Shared Memory Segments --------"
exec cat /proc/sysvipc/shm
