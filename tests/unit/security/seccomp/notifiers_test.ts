import assert from "node:assert/strict";
import { silentLogger } from "../../../../src/base/logger.ts";
import { withSeccompNotifier } from "../../../../src/container/seccomp_watch.ts";
import { callName } from "../../../../src/linux/seccomp_notify.ts";
import { openLibraries } from "../../../../src/linux/warm_up.ts";
import type { OciSpec } from "../../../../src/oci/spec/types.ts";
import { SeccompNotifiers } from "../../../../src/security/seccomp/notifiers.ts";

openLibraries();
// Opens libseccomp, which stays.
callName({ arch: 0, number: 0 });

const PROFILE = {
  defaultAction: "SCMP_ACT_ALLOW",
  syscalls: [
    { names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 1 },
    { names: ["chmod"], action: "SCMP_ACT_KILL_PROCESS" },
    { names: ["read"], action: "SCMP_ACT_ALLOW" },
    { names: ["write"], action: "SCMP_ACT_LOG" },
  ],
};

async function withNotifiers(
  body: (notifiers: SeccompNotifiers, bench: { directory: string; warned: Promise<string> }) => Promise<void>,
): Promise<void> {
  const parent = await Deno.makeTempDir();
  const warning = Promise.withResolvers<string>();
  const directory = `${parent}/seccomp`;
  const log = { ...silentLogger, warn: (message: string): void => warning.resolve(message) };
  using notifiers = new SeccompNotifiers({ directory, log, onCall: () => {}, onStop: () => {} });
  try {
    await body(notifiers, { directory, warned: warning.promise });
  } finally {
    notifiers[Symbol.dispose]();
    await Deno.remove(parent, { recursive: true });
  }
}

Deno.test("SeccompNotifiers.watch() turns rules that forbid into questions, and leaves the others", async () => {
  await withNotifiers(async (notifiers, { directory }) => {
    const watched = notifiers.watch("one", PROFILE, { stops: true });
    assert.deepEqual(watched, {
      defaultAction: "SCMP_ACT_ALLOW",
      listenerPath: `${directory}/one`,
      syscalls: [
        { names: ["mkdir"], action: "SCMP_ACT_NOTIFY" },
        { names: ["chmod"], action: "SCMP_ACT_NOTIFY" },
        { names: ["read"], action: "SCMP_ACT_ALLOW" },
        { names: ["write"], action: "SCMP_ACT_LOG" },
      ],
    });
    assert.ok((await Deno.lstat(`${directory}/one`)).isSocket);
    notifiers.close("one");
    notifiers.close("never");
    assert.deepEqual(await Array.fromAsync(Deno.readDir(directory)), []);
  });
});

Deno.test("SeccompNotifiers passes over messages that are none of a runtime, and goes on watching", async () => {
  await withNotifiers(async (notifiers, { directory, warned }) => {
    notifiers.watch("one", PROFILE, { stops: false });
    using connection = await Deno.connect({ transport: "unix", path: `${directory}/one` });
    await connection.write(new TextEncoder().encode("{}"));
    // The look itself does not keep a test running.
    const awake = setInterval(() => {}, 10);
    assert.match(await warned, /of no use/);
    clearInterval(awake);
    (await Deno.connect({ transport: "unix", path: `${directory}/one` })).close();
  });
});

Deno.test("withSeccompNotifier() watches only what has a filter and asks for it", async () => {
  await withNotifiers(async (notifiers) => {
    const linux = { namespaces: [], seccomp: PROFILE };
    const oci = { linux } as unknown as OciSpec;
    const annotations = { "io.kubernetes.cri-o.seccompNotifierAction": "stop" };
    const rest = { id: "one", annotations, notifiers };
    assert.match(JSON.stringify(withSeccompNotifier(oci, rest).linux.seccomp), /SCMP_ACT_NOTIFY/);
    assert.equal(withSeccompNotifier(oci, { ...rest, annotations: {} }), oci);
    assert.equal(withSeccompNotifier(oci, { ...rest, notifiers: undefined }), oci);
    const unconfined = { linux: { namespaces: [] } } as unknown as OciSpec;
    assert.equal(withSeccompNotifier(unconfined, rest), unconfined);
    await Promise.resolve();
  });
});

Deno.test("callName() knows calls by architecture and number, or gives the number", () => {
  const x86 = 0xc000003e;
  assert.match(callName({ arch: x86, number: 83 }), /^(mkdir|syscall 83)$/);
  assert.match(callName({ arch: x86, number: 99_999 }), /^syscall 99999$/);
});
