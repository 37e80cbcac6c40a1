import { deepEqual, equal, match, ok } from "node:assert/strict";
import type { HostFacts } from "../../../src/cli/host/facts.ts";
import { findings } from "../../../src/cli/host/findings.ts";
import { buildConfig } from "../../../src/config/build.ts";
import { ConfigValues } from "../../../src/config/values.ts";
import { inspectHost } from "../../../src/linux/host.ts";

const CAPABILITIES = ("CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP SYS_ADMIN SYS_CHROOT SYS_PTRACE " +
  "NET_ADMIN NET_BIND_SERVICE MKNOD SETFCAP SYS_RESOURCE").split(" ").map((name) => `CAP_${name}`);

/** A node that lacks nothing. */
async function goodFacts(): Promise<HostFacts> {
  return {
    host: {
      ...await inspectHost({ root: "/nonexistent" }),
      kernel: { release: "6.18.0", major: 6, minor: 18 },
      cgroup: {
        mode: "v2",
        v1: {},
        unified: "/sys/fs/cgroup",
        unifiedControllers: ["cpuset", "cpu", "io", "memory", "hugetlb", "pids"],
      },
      ...{ systemd: true, seccomp: true, overlay: true, userNamespaces: true, apparmor: true },
      ...{ recursiveReadOnly: true, idMappedMounts: true, idMappedOverlay: true, swapAccounting: true },
      capabilities: { effective: CAPABILITIES, bounding: CAPABILITIES },
      programs: { nft: "/usr/sbin/nft" },
    },
    config: buildConfig(new ConfigValues()),
    configProblem: "",
    warnings: [],
    programs: [{ role: "runtime crun", path: "/usr/bin/crun", version: "crun version 1" }],
    networks: { names: ["net"], problems: [], missingPlugins: [] },
    sysctls: {
      "net/ipv4/ip_forward": "1",
      "net/ipv6/conf/all/forwarding": "1",
      "net/bridge/bridge-nf-call-iptables": "1",
      "vm/overcommit_memory": "1",
      "vm/panic_on_oom": "0",
      "kernel/panic": "10",
      "kernel/panic_on_oops": "1",
      "fs/inotify/max_user_instances": "8192",
      "fs/inotify/max_user_watches": "524288",
      "user/max_user_namespaces": "65536",
    },
    store: {
      filesystem: "ext4",
      stats: { type: 0, totalBytes: 100, freeBytes: 90, availableBytes: 90, totalInodes: 100, freeInodes: 90 },
    },
    clock: { synchronized: true, year: 2026 },
    policy: { path: "/etc/containers/policy.json", exists: true },
    ...{ swap: false, rootIsShared: true, openFiles: Infinity, glibc: "2.36", isal: true, zstd: true },
    ...{ apparmorParser: true, criu: true },
  };
}

Deno.test("findings() has nothing to say of a good node, and a line for each thing", async () => {
  const found = findings(await goodFacts());
  deepEqual(found.filter(({ level }) => level !== "ok"), []);
  ok(found.length >= 24);
});

Deno.test("findings() tells each lack on its own, at the right level and with a remedy", async () => {
  const good = await goodFacts();
  const { host, config } = good;
  ok(config !== undefined && good.store !== undefined);
  const cgroup = (change: Partial<typeof host.cgroup>): Partial<HostFacts> => ({
    host: { ...host, cgroup: { ...host.cgroup, ...change } },
  });
  const on = (change: Partial<typeof host>): Partial<HostFacts> => ({ host: { ...host, ...change } });
  const sysctl = (name: string, value: string): Partial<HostFacts> => ({ sysctls: { ...good.sysctls, [name]: value } });
  const without = (name: string): Partial<HostFacts> => ({
    host: { ...host, capabilities: { ...host.capabilities, effective: CAPABILITIES.filter((one) => one !== name) } },
  });
  const cases: ReadonlyArray<readonly [Partial<HostFacts>, string, RegExp]> = [
    [on({ kernel: { release: "5.10.0", major: 5, minor: 10 } }), "missing kernel", /Linux 5\.10\.0.*5\.11 or newer/],
    [on({ idMappedOverlay: false }), "note kernel", /id-mapped overlay mounts \(5\.19\)/],
    [{ glibc: "2.31" }, "missing glibc", /2\.31.*2\.34/],
    [{ glibc: "" }, "note glibc", /not known/],
    [without("CAP_SYS_ADMIN"), "missing capabilities", /without CAP_SYS_ADMIN.*root/],
    [without("CAP_SYS_RESOURCE"), "note capabilities", /oom_score_adj/],
    [cgroup({ unifiedControllers: ["cpu", "pids"] }), "missing cgroups", /without the controllers memory/],
    [cgroup({ unifiedControllers: ["cpu", "pids", "memory"] }), "note cgroups", /without cpuset, io, hugetlb/],
    [cgroup({ mode: "hybrid" }), "note cgroups", /systemd\.unified_cgroup_hierarchy=1/],
    [on({ systemd: false }), "missing cgroup manager", /cgroup_manager = "cgroupfs"/],
    [on({ overlay: false }), "missing overlayfs", /modprobe overlay/],
    [{ store: { ...good.store, filesystem: "overlay" } }, "missing store", /is on overlay/],
    [{ store: { ...good.store, filesystem: "fuse.sshfs" } }, "missing store", /is on fuse\.sshfs/],
    [{ store: { ...good.store, stats: { ...good.store.stats, freeInodes: 5 } } }, "note store", /less than a tenth/],
    [{ warnings: ["crio.x: unknown"] }, "note configuration", /crio\.x: unknown/],
    [{ programs: [{ role: "monitor", path: "/c", version: undefined }] }, "missing monitor", /\/c cannot be run/],
    [{ networks: { ...good.networks, names: [] } }, "note networks", /none in \/etc\/cni\/net\.d/],
    [
      { networks: { ...good.networks, missingPlugins: ["bridge"] } },
      "missing networks",
      /the plugins bridge are not in/,
    ],
    [on({ programs: {} }), "note host ports", /install nftables/],
    [on({ seccomp: false }), "missing seccomp", /CONFIG_SECCOMP_FILTER/],
    [{ apparmorParser: false }, "note AppArmor", /apparmor_parser/],
    [{ policy: { path: "/p", exists: false } }, "missing signature policy", /\/p is not there/],
    [sysctl("net/ipv4/ip_forward", "0"), "note forwarding", /ip_forward=1/],
    [sysctl("vm/panic_on_oom", "1"), "note kubelet sysctls", /not vm\.panic_on_oom=0/],
    [sysctl("fs/inotify/max_user_instances", "128"), "note inotify", /^128 instances/],
    [{ openFiles: 1024 }, "note open files", /LimitNOFILE/],
    [sysctl("user/max_user_namespaces", "0"), "note user namespaces", /hostUsers: false/],
    [{ rootIsShared: false }, "note mount propagation", /--make-rshared/],
    [{ swap: true }, "note swap", /failSwapOn/],
    [{ clock: { synchronized: false, year: 2026 } }, "note clock", /chrony/],
    [{ clock: { synchronized: true, year: 1970 } }, "missing clock", /it says 1970/],
    [{ isal: false }, "note decompression", /libisal2 for gzip/],
    [{ criu: false }, "note checkpoints", /install criu/],
  ];
  for (const [change, expected, text] of cases) {
    const bad = findings({ ...good, ...change }).filter(({ level }) => level !== "ok");
    deepEqual(bad.map(({ level, subject }) => `${level} ${subject}`), [expected], expected);
    match(`${bad[0]?.detail}: ${bad[0]?.remedy}`, text);
  }
  const broken = findings({ ...good, config: undefined, configProblem: "no crun" });
  equal(broken.find(({ subject }) => subject === "configuration")?.level, "missing");
});
