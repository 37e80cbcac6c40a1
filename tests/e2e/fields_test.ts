/**
 * Every field of the security context, the resources, mounts, devices and configurations: set, and seen in the kernel.
 * `tests/e2e/fields_mutation.ts` shows that each of these checks fails when the field is taken out of the daemon.
 */
import { FieldBench } from "./fields/check.ts";
import { fieldHost, FIELDS } from "./fields/all.ts";
import { fieldLab } from "./fields/lab.ts";

for (const runtime of ["crun", "runc"] as const) {
  Deno.test(`${runtime}: each field of the CRI has its effect`, async (t) => {
    await using lab = await fieldLab(runtime);
    const host = await fieldHost(lab);
    for (const check of FIELDS) {
      const reason = check.skip?.(host);
      const name = reason === undefined ? check.field : `${check.field} (not here: ${reason})`;
      await t.step({
        name,
        ignore: reason !== undefined,
        fn: async () => {
          await using bench = new FieldBench(lab, host, "");
          await check.prove(bench);
        },
      });
    }
  });
}
