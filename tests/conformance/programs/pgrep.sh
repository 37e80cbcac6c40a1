#!/bin/sh
# pgrep PATTERN: ids of processes whose name or first argument contains it. Debian's busybox has no pgrep.
for dir in /proc/[0-9]*; do
  pid=${dir#/proc/}
  name=$(cat "$dir/comm" 2>/dev/null)
  arguments=$(tr '\0' ' ' <"$dir/cmdline" 2>/dev/null)
  case "$name ${arguments%% *}" in
    *"$1"*) [ "$pid" = "$$" ] || echo "$pid" ;;
  esac
done
exit 0
