import assert from "node:assert/strict";
import { FailedPreconditionError } from "../../../../src/base/errors.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { defaultProfileText } from "../../../../src/security/apparmor/default_profile.ts";
import { AppArmorProfiles } from "../../../../src/security/apparmor/profiles.ts";

interface Kernel {
  readonly list: string;
  /** Names that were loaded by this program. */
  readonly loads: string[];
  fail: boolean;
}

async function withProfiles(
  options: { loaded?: string; configured?: string; enabled?: boolean },
  body: (profiles: AppArmorProfiles, kernel: Kernel) => Promise<void>,
): Promise<void> {
  const { loaded = "", configured = "crio-default", enabled = true } = options;
  const list = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(list, loaded);
    const kernel: Kernel = { list, loads: [], fail: false };
    const load = async (text: string): Promise<void> => {
      if (kernel.fail) throw new Error("no parser");
      const name = /^profile (\S+)/m.exec(text)?.[1] ?? "";
      kernel.loads.push(name);
      await Deno.writeTextFile(list, `${name} (enforce)\n`, { append: true });
    };
    const profiles = new AppArmorProfiles(configured, { enabled, log: silentLogger, load, loadedProfiles: list });
    await body(profiles, kernel);
  } finally {
    await Deno.remove(list);
  }
}

const asks = (kind: "runtimeDefault" | "unconfined") => ({ choice: { kind }, privileged: false });
const names = (ref: string) => ({ choice: { kind: "localhost" as const, ref }, privileged: false });

Deno.test("AppArmorProfiles.apply() sets nothing where AppArmor is off, and refuses a profile by name", async () => {
  await withProfiles({ enabled: false }, async (profiles, kernel) => {
    profiles.start();
    assert.equal(await profiles.apply(asks("runtimeDefault")), undefined);
    assert.equal(await profiles.apply({ choice: undefined, privileged: false }), undefined);
    await assert.rejects(profiles.apply(names("mine")), (error: Error) => {
      assert.ok(error instanceof FailedPreconditionError);
      assert.match(error.message, /AppArmor profile mine: AppArmor is not enabled on this node/);
      return true;
    });
    assert.equal(await profiles.apply({ ...names("mine"), privileged: true }), undefined);
    assert.deepEqual(kernel.loads, []);
  });
});

Deno.test("AppArmorProfiles.apply() loads the built-in profile once, and again when somebody took it away", async () => {
  await withProfiles({ loaded: "other (complain)\n" }, async (profiles, kernel) => {
    profiles.start();
    const both = await Promise.all([
      profiles.apply(asks("runtimeDefault")),
      profiles.apply({ choice: undefined, privileged: false }),
    ]);
    assert.deepEqual([both, kernel.loads], [["crio-default", "crio-default"], ["crio-default"]]);
    await Deno.writeTextFile(kernel.list, "");
    assert.equal(await profiles.apply(names("crio-default")), "crio-default");
    assert.equal(kernel.loads.length, 2);
  });
});

Deno.test("AppArmorProfiles.apply() lets a profile by name pass only when it is loaded", async () => {
  await withProfiles({ loaded: "deny write (enforce)\nmine (complain)\n" }, async (profiles) => {
    assert.equal(await profiles.apply(names("mine")), "mine");
    assert.equal(await profiles.apply(names("deny write")), "deny write");
    await assert.rejects(
      profiles.apply(names("deny")),
      /AppArmor profile deny is not loaded: load it by apparmor_parser/,
    );
  });
});

Deno.test("AppArmorProfiles.apply() leaves privileged containers and those that ask for it unconfined", async () => {
  await withProfiles({}, async (profiles) => {
    assert.equal(await profiles.apply({ ...asks("runtimeDefault"), privileged: true }), undefined);
    assert.equal(await profiles.apply(asks("unconfined")), "unconfined");
  });
});

Deno.test("AppArmorProfiles.apply() takes the default of crio.conf, and another after use()", async () => {
  await withProfiles({ loaded: "node (enforce)\n", configured: "node" }, async (profiles, kernel) => {
    assert.equal(await profiles.apply(asks("runtimeDefault")), "node");
    profiles.use("unconfined");
    assert.equal(await profiles.apply(asks("runtimeDefault")), "unconfined");
    profiles.use("");
    assert.equal(await profiles.apply(asks("runtimeDefault")), "crio-default");
    assert.deepEqual(kernel.loads, ["crio-default"]);
  });
});

Deno.test("AppArmorProfiles.apply() refuses who asks for a default that cannot be loaded, not who asks for nothing", async () => {
  await withProfiles({}, async (profiles, kernel) => {
    kernel.fail = true;
    await assert.rejects(profiles.apply(asks("runtimeDefault")), /crio-default is not loaded: no parser; load it/);
    assert.equal(await profiles.apply({ choice: undefined, privileged: false }), undefined);
    kernel.fail = false;
    assert.equal(await profiles.apply(asks("runtimeDefault")), "crio-default");
  });
});

Deno.test("AppArmorProfiles.apply() leaves it to the runtime where the kernel's list cannot be read", async () => {
  const deps = { enabled: true, log: silentLogger, loadedProfiles: "/no/such/list" };
  assert.equal(await new AppArmorProfiles("", deps).apply(names("mine")), "mine");
});

Deno.test("defaultProfileText() names itself as the peer that may signal and trace", () => {
  const text = defaultProfileText("some-name");
  for (const line of ["profile some-name flags=", "signal (send, receive) peer=some-name,", "deny mount,"]) {
    assert.ok(text.includes(line), line);
  }
});
