import type { OciMount } from "../../oci/spec/types.ts";

/** Whether a command line starts systemd: it wants a writable `/run` and its own cgroups, and is told so. */
export function runsSystemd(args: readonly string[]): boolean {
  const program = args[0] ?? "";
  return program.endsWith("/sbin/init") || program.slice(program.lastIndexOf("/") + 1) === "systemd";
}

/** systemd.io/CONTAINER_INTERFACE: tells systemd that it runs in a container, and in whose. */
export const SYSTEMD_ENVIRONMENT = "container=crio";

/** Mounts that systemd expects, in the place of those that other programs get. */
export function systemdMounts({ cgroupV2 }: { readonly cgroupV2: boolean }): OciMount[] {
  const tmpfs = (destination: string, ...options: string[]): OciMount => ({
    destination,
    type: "tmpfs",
    source: "tmpfs",
    options: ["rw", "rprivate", "nosuid", "nodev", ...options],
  });
  return [
    tmpfs("/run", "mode=0755", "tmpcopyup"),
    tmpfs("/run/lock", "noexec"),
    tmpfs("/tmp", "mode=1777", "tmpcopyup"),
    tmpfs("/var/log/journal", "tmpcopyup"),
    cgroupV2
      ? {
        destination: "/sys/fs/cgroup",
        type: "cgroup",
        source: "cgroup",
        options: ["private", "rw", "nosuid", "noexec", "nodev"],
      }
      : {
        destination: "/sys/fs/cgroup/systemd",
        type: "bind",
        source: "/sys/fs/cgroup/systemd",
        options: ["bind", "nodev", "noexec", "nosuid", "rprivate"],
      },
  ];
}
