#!/bin/sh
# The head of dist/crio in its portable form; scripts/build fills in the names between @ and puts a tar.gz behind it.
#
# The first start unpacks into a directory named by the hash of the payload; later starts only exec. The directory is
# complete as soon as it exists (a rename puts it there), belongs to the user who runs this, and is closed to others.
set -u
hash=@HASH@
skip=@SKIP@

fail() {
  echo "crio: $*" >&2
  exit 1
}

if [ -n "${CRIO_PORTABLE_DIR:-}" ]; then
  bases=$CRIO_PORTABLE_DIR
elif [ "$(id -u)" = 0 ]; then
  bases='/var/lib/crio/portable /run/crio/portable'
else
  bases=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/crio-portable
fi

dir=
for base in $bases; do
  if [ -O "$base/$hash" ] && [ -x "$base/$hash/crio" ]; then
    dir=$base/$hash
    break
  fi
done

unpack() {
  base=$1
  old_umask=$(umask)
  umask 022
  mkdir -p "$base" 2> /dev/null || return 1
  work=$(mktemp -d "$base/unpacking.XXXXXX" 2> /dev/null) || return 1
  trap 'rm -rf "$work"' EXIT
  trap 'exit 130' INT TERM HUP
  sum=$(tail -c "+$skip" "$0" | sha256sum) || return 1
  [ "${sum%% *}" = "$hash" ] || fail "$0 is damaged: its content does not have the hash that it names"
  tail -c "+$skip" "$0" | tar -xzf - -C "$work" || return 1
  # The files must be on the disk before the name is.
  sync "$work/crio" "$work"/app/* 2> /dev/null || sync
  mv -T "$work" "$base/$hash" 2> /dev/null || [ -x "$base/$hash/crio" ] || return 1
  rm -rf "$work"
  trap - EXIT INT TERM HUP
  umask "$old_umask"
  dir=$base/$hash
  forget_unused
}

# Directories of other versions go when no process runs from them.
forget_unused() {
  running=$(readlink /proc/[0-9]*/exe 2> /dev/null)
  for other in "$base"/*; do
    case $other in
      "$dir" | "$base"/unpacking.*) continue ;;
    esac
    case $running in
      *"$other/crio"*) ;;
      *) rm -rf "$other" ;;
    esac
  done
}

if [ -z "$dir" ]; then
  for base in $bases; do
    unpack "$base" && break
    rm -rf "${work:-/nonexistent}"
  done
  [ -n "$dir" ] || fail "cannot unpack into $bases: make it writable, with 150 MB free, or set CRIO_PORTABLE_DIR"
fi

case $dir in
  *[\"\\]*) fail "the path $dir must have no quotes or backslashes" ;;
esac
DENO_DIR=$dir/cache
DENO_NO_UPDATE_CHECK=1
CRIO_SELF="[\"$dir/crio\",\"run\",\"-A\",\"--quiet\",\"--no-config\",\"--no-remote\",\"--no-npm\",\"--cached-only\",\
\"--v8-flags=@V8_FLAGS@\",\"$dir/app/main.js\"]"
export CRIO_SELF DENO_DIR DENO_NO_UPDATE_CHECK
case $0 in
  */crio-status | crio-status) export CRIO_CALLED_AS=crio-status ;;
esac
exec "$dir/crio" run -A --quiet --no-config --no-remote --no-npm --cached-only --v8-flags=@V8_FLAGS@ "$dir/app/main.js" "$@"
