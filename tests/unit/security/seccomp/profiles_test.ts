import assert from "node:assert/strict";
import { FailedPreconditionError } from "../../../../src/base/errors.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import type { ProfileChoice } from "../../../../src/security/choices.ts";
import { type SeccompFiles, SeccompProfiles, type SeccompRequest } from "../../../../src/security/seccomp/profiles.ts";

const machine = { arch: "x86_64", kernel: { major: 6, minor: 1 } };
const NOTHING: SeccompFiles = { seccompProfile: "", privilegedSeccompProfile: "", handlers: new Map() };

function profiles(files: Partial<SeccompFiles> = {}, { supported = true } = {}): SeccompProfiles {
  return new SeccompProfiles({ ...NOTHING, ...files }, { machine, supported, log: silentLogger });
}

function request(
  choice: ProfileChoice | undefined,
  more: { privileged?: boolean; handler?: string } = {},
): SeccompRequest {
  return { choice, privileged: false, handler: "crun", capabilities: ["CAP_CHOWN"], ...more };
}

const DEFAULT = request({ kind: "runtimeDefault" });

async function withFile(text: string, body: (path: string) => Promise<void>): Promise<void> {
  const path = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(path, text);
    await body(path);
  } finally {
    await Deno.remove(path);
  }
}

const profile = (action: string): string => JSON.stringify({ defaultAction: `SCMP_ACT_${action}` });

Deno.test("SeccompProfiles.apply() filters nothing when nothing or Unconfined is asked for", async () => {
  assert.deepEqual(await profiles().apply(request(undefined)), { ref: "Unconfined" });
  assert.deepEqual(await profiles().apply(request({ kind: "unconfined" })), { ref: "Unconfined" });
});

Deno.test("SeccompProfiles.apply() takes the built-in profile for RuntimeDefault, resolved once for a set", async () => {
  const all = profiles({ seccompProfile: "/no/such/file" });
  const one = await all.apply(DEFAULT);
  assert.equal(one.ref, "RuntimeDefault");
  assert.equal(one.profile?.defaultAction, "SCMP_ACT_ERRNO");
  assert.equal((await all.apply(DEFAULT)).profile, one.profile);
  assert.notEqual((await all.apply({ ...DEFAULT, capabilities: ["CAP_SYS_ADMIN"] })).profile, one.profile);
});

Deno.test("SeccompProfiles.apply() takes the configuration's profile, the handler's before it", async () => {
  await withFile(profile("LOG"), async (seccompProfile) => {
    await withFile(profile("TRAP"), async (own) => {
      const all = profiles({ seccompProfile, handlers: new Map([["kata", own], ["crun", ""]]) });
      assert.equal((await all.apply(DEFAULT)).profile?.defaultAction, "SCMP_ACT_LOG");
      assert.equal((await all.apply({ ...DEFAULT, handler: "kata" })).profile?.defaultAction, "SCMP_ACT_TRAP");
    });
  });
});

Deno.test("SeccompProfiles.apply() sees a change of a file, and other files after use()", async () => {
  await withFile(profile("LOG"), async (path) => {
    const all = profiles({ seccompProfile: path });
    assert.equal((await all.apply(DEFAULT)).profile?.defaultAction, "SCMP_ACT_LOG");
    await Deno.writeTextFile(path, profile("KILL"));
    assert.equal((await all.apply(DEFAULT)).profile?.defaultAction, "SCMP_ACT_KILL");
    all.use(NOTHING);
    assert.equal((await all.apply(DEFAULT)).profile?.defaultAction, "SCMP_ACT_ERRNO");
  });
});

Deno.test("SeccompProfiles.apply() reads a profile by its path, and says what is wrong with it", async () => {
  await withFile(profile("TRACE"), async (ref) => {
    const applied = await profiles().apply(request({ kind: "localhost", ref }));
    assert.deepEqual(applied, { ref, profile: { defaultAction: "SCMP_ACT_TRACE" } });
    await Deno.writeTextFile(ref, profile("FOO"));
    await assert.rejects(profiles().apply(request({ kind: "localhost", ref })), (error: Error) => {
      assert.ok(error instanceof FailedPreconditionError);
      assert.equal(
        error.message,
        `seccomp profile ${ref} is not a valid profile: defaultAction "SCMP_ACT_FOO" is not an action`,
      );
      return true;
    });
  });
  await assert.rejects(
    profiles().apply(request({ kind: "localhost", ref: "/no/such.json" })),
    /seccomp profile \/no\/such\.json is not on this node: put the file there/,
  );
  await assert.rejects(profiles().apply(request({ kind: "localhost", ref: "/dev/zero" })), /is not a file/);
});

Deno.test("SeccompProfiles.apply() gives a privileged container the filter of crio.conf or none", async () => {
  const asked = request({ kind: "localhost", ref: "/no/such.json" }, { privileged: true });
  assert.deepEqual(await profiles().apply(asked), { ref: "Unconfined" });
  await withFile(profile("LOG"), async (privilegedSeccompProfile) => {
    const applied = await profiles({ privilegedSeccompProfile }).apply(asked);
    assert.deepEqual(applied, { ref: privilegedSeccompProfile, profile: { defaultAction: "SCMP_ACT_LOG" } });
  });
});

Deno.test("SeccompProfiles.apply() refuses a profile by name where the kernel has no filters, and lets the default be", async () => {
  const all = profiles({}, { supported: false });
  assert.deepEqual(await all.apply(DEFAULT), { ref: "Unconfined" });
  await assert.rejects(all.apply(request({ kind: "localhost", ref: "/a.json" })), /this kernel has no seccomp filters/);
});

Deno.test("SeccompProfiles.check() fails for a broken file, and not for one that is missing", async () => {
  await profiles({ seccompProfile: "/no/such", privilegedSeccompProfile: "/no/such" }).check();
  await withFile("{}", async (path) => {
    await assert.rejects(profiles({ seccompProfile: path }).check(), /seccomp_profile .* defaultAction is missing/);
    await assert.rejects(profiles({ handlers: new Map([["kata", path]]) }).check(), /defaultAction is missing/);
    await assert.rejects(
      profiles({ privilegedSeccompProfile: path }).check(),
      /privileged_seccomp_profile .* defaultAction is missing/,
    );
    await profiles({ seccompProfile: path }, { supported: false }).check();
  });
});

Deno.test("SeccompProfiles.applyText() takes a profile that is no file, and names it in what fails", async () => {
  const given = (text: string): { ref: string; text: string } => ({ ref: "example.com/profile:1", text });
  const applied = await profiles().applyText(given(profile("ERRNO")), []);
  assert.deepEqual([applied.ref, applied.profile?.defaultAction], ["example.com/profile:1", "SCMP_ACT_ERRNO"]);
  await assert.rejects(
    profiles().applyText(given("{"), []),
    (error) => error instanceof FailedPreconditionError && /example\.com\/profile:1 is not a valid/.test(error.message),
  );
  await assert.rejects(profiles({}, { supported: false }).applyText(given(profile("ERRNO")), []), /no seccomp filters/);
});
