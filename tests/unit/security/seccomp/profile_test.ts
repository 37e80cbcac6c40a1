import assert from "node:assert/strict";
import { builtInProfile } from "../../../../src/security/seccomp/default_profile.ts";
import { parseSeccompProfile, SeccompSyntaxError } from "../../../../src/security/seccomp/profile.ts";
import { type OciSeccomp, resolveSeccomp } from "../../../../src/security/seccomp/resolve.ts";

const machine = { arch: "x86_64", kernel: { major: 6, minor: 1 } };

function resolved(
  profile: object,
  options: { caps?: string[]; arch?: string; kernel?: [number, number] } = {},
): OciSeccomp {
  const { caps = [], arch = "x86_64", kernel: [major, minor] = [6, 1] } = options;
  const capabilities = new Set(caps);
  return resolveSeccomp(parseSeccompProfile(JSON.stringify(profile)), {
    capabilities,
    machine: { arch, kernel: { major, minor } },
  });
}

function names(profile: OciSeccomp): string[] {
  return (profile.syscalls ?? []).flatMap((rule) => rule.names);
}

const allow = (name: string, more: object = {}): object => ({ names: [name], action: "SCMP_ACT_ALLOW", ...more });

Deno.test("parseSeccompProfile() reads the plain form of the runtime specification and loses nothing of it", () => {
  const plain = {
    defaultAction: "SCMP_ACT_ALLOW",
    defaultErrnoRet: 5,
    architectures: ["SCMP_ARCH_X86_64"],
    flags: ["SECCOMP_FILTER_FLAG_LOG"],
    listenerPath: "/run/agent.sock",
    listenerMetadata: "words",
    syscalls: [{
      names: ["chmod"],
      action: "SCMP_ACT_ERRNO",
      errnoRet: 13,
      args: [{ index: 1, value: 7, valueTwo: 1, op: "SCMP_CMP_MASKED_EQ" }],
    }],
  };
  assert.deepEqual(JSON.parse(JSON.stringify(resolved(plain))), plain);
});

Deno.test("parseSeccompProfile() keeps all 64 bits of an argument", () => {
  const text =
    '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"name":"ioctl","action":"SCMP_ACT_ERRNO","errno":"EACCES",' +
    '"args":[{"index":1,"value":18446744073709551615,"valueTwo":9007199254740993,"op":"SCMP_CMP_MASKED_EQ"}]}]}';
  const profile = resolveSeccomp(parseSeccompProfile(text), { capabilities: new Set(), machine });
  const written = JSON.stringify(profile);
  assert.match(written, /"value":18446744073709551615,/);
  assert.match(written, /"valueTwo":9007199254740993\b/);
  assert.match(written, /"errnoRet":13\b/);
});

for (
  const [what, change, message] of [
    ["no default action", { defaultAction: undefined }, /^defaultAction is missing$/],
    ["an unknown action", { defaultAction: "ALLOW" }, /^defaultAction "ALLOW" is not an action$/],
    ["a rule without names", { syscalls: [{ action: "SCMP_ACT_ALLOW" }] }, /^syscalls\[0\]\.names is empty$/],
    ["a rule's action", { syscalls: [{ name: "a", action: "x" }] }, /^syscalls\[0\]\.action "x" is not an action$/],
    ["name and names", { syscalls: [allow("a", { name: "b" })] }, /^syscalls\[0\]\.name and names are both given$/],
    ["an operator", { syscalls: [allow("a", { args: [{ index: 0, op: "EQ" }] })] }, /args\[0\]\.op "EQ" is not known$/],
    ["an index", { syscalls: [allow("a", { args: [{ index: 6, op: "SCMP_CMP_EQ" }] })] }, /index is not 0 to 5$/],
    [
      "a value",
      { syscalls: [allow("a", { args: [{ index: 0, value: -1, op: "SCMP_CMP_EQ" }] })] },
      /value is not an unsigned integer of 64 bits$/,
    ],
    ["an error's name", { syscalls: [allow("a", { errno: "EWHAT" })] }, /errno "EWHAT" is not an error/],
    ["both lists of architectures", { architectures: ["a"], archMap: [{ architecture: "b" }] }, /^architectures and/],
    [
      "a kernel version",
      { syscalls: [allow("a", { includes: { minKernel: "new" } })] },
      /"new" is not a kernel version/,
    ],
    ["a list that is none", { syscalls: {} }, /^syscalls is not a list$/],
  ] as const
) {
  Deno.test(`parseSeccompProfile() refuses ${what}, and says where`, () => {
    const profile = { defaultAction: "SCMP_ACT_ALLOW", ...change };
    assert.throws(() => parseSeccompProfile(JSON.stringify(profile)), (error: Error) => {
      assert.ok(error instanceof SeccompSyntaxError);
      assert.match(error.message, message);
      return true;
    });
  });
}

Deno.test("parseSeccompProfile() refuses what is not JSON, and JSON that is not an object", () => {
  assert.throws(() => parseSeccompProfile("{"), /^SeccompSyntaxError: not JSON: |not JSON/);
  assert.throws(() => parseSeccompProfile("[]"), /profile is not an object/);
});

Deno.test("resolveSeccomp() keeps rules whose capabilities are all there, and drops those that one excludes", () => {
  const profile = {
    defaultAction: "SCMP_ACT_ERRNO",
    syscalls: [
      allow("both", { includes: { caps: ["CAP_A", "CAP_B"] } }),
      allow("one", { includes: { caps: ["CAP_A"] } }),
      allow("without", { excludes: { caps: ["CAP_A", "CAP_B"] } }),
      allow("always"),
    ],
  };
  assert.deepEqual(names(resolved(profile)), ["without", "always"]);
  assert.deepEqual(names(resolved(profile, { caps: ["CAP_A"] })), ["one", "always"]);
  assert.deepEqual(names(resolved(profile, { caps: ["CAP_A", "CAP_B"] })), ["both", "one", "always"]);
});

Deno.test("resolveSeccomp() goes by architecture and kernel", () => {
  const profile = {
    defaultAction: "SCMP_ACT_ERRNO",
    archMap: [
      { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"] },
      { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
    ],
    syscalls: [
      allow("intel", { includes: { arches: ["amd64", "x32"] } }),
      allow("not-intel", { excludes: { arches: ["amd64"] } }),
      allow("new", { includes: { minKernel: "5.11" } }),
      allow("old", { excludes: { minKernel: "5.11" } }),
    ],
  };
  const here = resolved(profile);
  assert.deepEqual(here.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
  assert.deepEqual(names(here), ["intel", "new"]);
  const there = resolved(profile, { arch: "aarch64", kernel: [5, 10] });
  assert.deepEqual(there.architectures, ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
  assert.deepEqual(names(there), ["not-intel", "old"]);
});

function actionsFor(profile: OciSeccomp, name: string): string[] {
  return (profile.syscalls ?? []).filter((rule) => rule.names.includes(name)).map((rule) => rule.action);
}

Deno.test("builtInProfile() gives namespaces, mounts and the rest of the kernel only to capabilities for them", () => {
  const plain = resolveSeccomp(builtInProfile(), { capabilities: new Set(), machine });
  assert.deepEqual([plain.defaultAction, plain.defaultErrnoRet], ["SCMP_ACT_ERRNO", 38]);
  const gates: ReadonlyArray<readonly [string, string]> = [
    ["unshare", "CAP_SYS_ADMIN"],
    ["mount", "CAP_SYS_ADMIN"],
    ["setns", "CAP_SYS_ADMIN"],
    ["sethostname", "CAP_SYS_ADMIN"],
    ["bpf", "CAP_BPF"],
    ["perf_event_open", "CAP_PERFMON"],
    ["open_by_handle_at", "CAP_DAC_READ_SEARCH"],
    ["chroot", "CAP_SYS_CHROOT"],
    ["init_module", "CAP_SYS_MODULE"],
    ["clock_settime", "CAP_SYS_TIME"],
    ["reboot", "CAP_SYS_BOOT"],
    ["iopl", "CAP_SYS_RAWIO"],
  ];
  for (const [name, capability] of gates) {
    assert.deepEqual(actionsFor(plain, name), ["SCMP_ACT_ERRNO"], name);
    const raised = resolveSeccomp(builtInProfile(), { capabilities: new Set([capability]), machine });
    assert.deepEqual(actionsFor(raised, name), ["SCMP_ACT_ALLOW"], name);
  }
  assert.deepEqual(actionsFor(plain, "clone3"), []);
  assert.deepEqual(actionsFor(plain, "io_uring_setup"), []);
  assert.deepEqual(actionsFor(plain, "kexec_load"), ["SCMP_ACT_ERRNO"]);
});

/** Which rules of `socket` fit a call; the runtime's filter is only clear where one fits. */
function socketActions(profile: OciSeccomp, family: number, protocol: number): string[] {
  const args = [family, 0, protocol];
  return (profile.syscalls ?? []).filter((rule) => rule.names.includes("socket")).filter((rule) =>
    (rule.args ?? []).every(({ index, value, valueTwo }) =>
      (BigInt(args[index] ?? 0) & BigInt(Number(value))) === BigInt(Number(valueTwo))
    )
  ).map((rule) => rule.action);
}

Deno.test("builtInProfile() has exactly one answer for each kind of socket", () => {
  for (const caps of [[], ["CAP_AUDIT_WRITE"]]) {
    const profile = resolveSeccomp(builtInProfile(), { capabilities: new Set(caps), machine });
    for (let family = 0; family < 64; family++) {
      for (let protocol = 0; protocol < 32; protocol++) {
        const isAudit = family === 16 && protocol === 9 && caps.length === 0;
        const wanted = family === 38 || family === 40 || isAudit ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW";
        assert.deepEqual(socketActions(profile, family, protocol), [wanted], `family ${family}, protocol ${protocol}`);
      }
    }
    // The kernel takes the lower half of the register only.
    assert.deepEqual(socketActions(profile, 2 ** 32 + 40, 0), ["SCMP_ACT_ERRNO"]);
  }
});
