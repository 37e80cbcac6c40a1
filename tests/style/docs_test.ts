import { deepStrictEqual, ok } from "node:assert/strict";
import * as api from "../../src/cri/gen/api.ts";
import { documented } from "../e2e/fields/document.ts";
import { FIELDS } from "../e2e/fields/all.ts";
import { WITHOUT_EFFECT } from "../e2e/fields/security.ts";
import { ROOT } from "./_tree.ts";

const text = await Deno.readTextFile(`${ROOT}docs/cri.md`);

Deno.test("docs/cri.md has a row for each RPC, and each row's test exists", async () => {
  const rows = [...text.matchAll(/^\| (\w+) \| [^|]+ \| `(tests\/[^`]+)`: ([^|]+) \|$/gm)];
  const services = [api.RuntimeServiceDefinition, api.ImageServiceDefinition];
  const rpcs = services.flatMap(({ methods }) => Object.values(methods).map(({ name }) => name));
  deepStrictEqual(rows.map(([, rpc]) => rpc).toSorted(), rpcs.toSorted());
  for (const [, rpc, file, test = ""] of rows) {
    ok((await Deno.readTextFile(`${ROOT}${file}`)).includes(test), `${rpc}: ${file} has no test "${test}"`);
  }
});

Deno.test("docs/cri.md has the fields that are checked: `deno task docs` makes the table", () => {
  deepStrictEqual(documented(text), text);
});

Deno.test("each field of the security contexts and the resources is checked, or is said to have no effect", () => {
  const known = new Set([...FIELDS.map(({ field }) => field), ...Object.keys(WITHOUT_EFFECT)]);
  const codecs = {
    LinuxContainerSecurityContext: api.LinuxContainerSecurityContext,
    LinuxSandboxSecurityContext: api.LinuxSandboxSecurityContext,
    NamespaceOption: api.NamespaceOption,
    UserNamespace: api.UserNamespace,
    Capability: api.Capability,
    SecurityProfile: api.SecurityProfile,
    LinuxContainerResources: api.LinuxContainerResources,
    HugepageLimit: api.HugepageLimit,
  };
  const fields = Object.entries(codecs).flatMap(([name, codec]) =>
    Object.keys(codec.decode(new Uint8Array())).map((field) => `${name}.${field}`)
  );
  deepStrictEqual(fields.filter((field) => !known.has(field)), []);
});
