/** Programs that kill and trace containers where the distribution confines them by profiles of their own. */
const RUNTIMES = ["crun*", "runc", "conmon", "crio"];

/**
 * The text of the default profile, apparmor.d(5): everything but mounts and writes to what belongs to the kernel and the
 * machine. It stands alone: no file of /etc/apparmor.d is needed to load it.
 *
 * @param name under which it is loaded, and by which containers may signal and trace each other
 */
export function defaultProfileText(name: string): string {
  const runtimes = RUNTIMES.map((program) =>
    `  signal (receive) peer={/usr/bin/,/usr/sbin/,/usr/local/bin/,}${program},\n`
  );
  return `# Loaded by crio at its start. Another profile is named by apparmor_profile in crio.conf.
profile ${name} flags=(attach_disconnected,mediate_deleted) {
  capability,
  file,
  network,
  umount,
  unix,

  signal (receive) peer=unconfined,
${runtimes.join("")}  signal (send, receive) peer=${name},
  ptrace (trace, tracedby, read, readby) peer=${name},

  deny mount,

  # Files right below /proc, and all directories there but those of processes and sys.
  deny /proc/* w,
  deny /proc/{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}/** w,
  # Of the settings, kernel.shm* may be written.
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # Everything in /sys but its cgroups; some of it may not even be read.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}
`;
}
