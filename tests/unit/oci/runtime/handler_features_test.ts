import assert from "node:assert/strict";
import { handlerFeatures } from "../../../../src/oci/runtime/handler_features.ts";
import { parseFeatures, parseVersion } from "../../../../src/oci/runtime/version.ts";

const host = { recursiveReadOnly: true, userNamespaces: true, idMappedMounts: true };

function featuresOf(version: string, features?: object): ReturnType<typeof handlerFeatures> {
  return handlerFeatures({
    version: parseVersion(version),
    features: features === undefined ? undefined : parseFeatures(JSON.stringify(features)),
    host,
  });
}

Deno.test("handlerFeatures() believes what the runtime says", () => {
  const said = { ociVersionMax: "1.2.1", mountOptions: ["rro"] };
  const { ociVersion, recursiveReadOnly, readonlySysfs } = featuresOf("runc version 1.3.0", said);
  assert.deepEqual([ociVersion, recursiveReadOnly, readonlySysfs], ["1.2.1", true, "path"]);
  assert.ok(!featuresOf("runc version 1.3.0", { ...said, mountOptions: [] }).recursiveReadOnly);
});

Deno.test("handlerFeatures() never asks for more than we write, nor for a version that is not one", () => {
  const of = (ociVersionMax: string): string => featuresOf("runc version 9.0.0", { ociVersionMax }).ociVersion;
  assert.deepEqual(["1.10.0", "1.0.2-dev", "", "new"].map(of), ["1.3.0", "1.0.2", "1.0.2", "1.0.2"]);
});

Deno.test("handlerFeatures() goes by the version of a crun that has no features command", () => {
  assert.deepEqual(["1.8.1", "1.4", "1.3"].map((v) => featuresOf(`crun version ${v}`).recursiveReadOnly), [
    true,
    true,
    false,
  ]);
  assert.equal(featuresOf("crun version 1.8.1").readonlySysfs, "mount");
});

Deno.test("handlerFeatures() offers no recursive read-only on a kernel without it", () => {
  const version = parseVersion("crun version 1.8.1");
  assert.ok(
    !handlerFeatures({ version, features: undefined, host: { ...host, recursiveReadOnly: false } }).recursiveReadOnly,
  );
});

Deno.test("handlerFeatures() offers user namespaces by runtime and kernel, with maps for runtimes that want them", () => {
  const of = (text: string): boolean[] => {
    const { userNamespaces, wantsIdMappings } = featuresOf(text);
    return [userNamespaces, wantsIdMappings];
  };
  assert.deepEqual(["crun version 1.8.1", "crun version 1.4", "runc version 1.1.5", "runc version 1.5.3"].map(of), [
    [true, false],
    [false, false],
    [true, true],
    [true, false],
  ]);
  const version = parseVersion("crun version 1.8.1");
  for (const lack of [{ userNamespaces: false }, { idMappedMounts: false }]) {
    assert.ok(!handlerFeatures({ version, features: undefined, host: { ...host, ...lack } }).userNamespaces);
  }
});
