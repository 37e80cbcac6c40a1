/**
 * Takes one field after the other out of the daemon (see `fields/mutant.ts`) and demands that its check in
 * `fields_test.ts` then fails: a check that passes all the same proves nothing. `scripts/mutation` runs it.
 */
import assert from "node:assert/strict";
import { fieldHost, FIELDS } from "./fields/all.ts";
import { FieldBench } from "./fields/check.ts";
import { fieldLab } from "./fields/lab.ts";
import { PROJECT_ROOT } from "./harness/crio.ts";

const MUTANT = `${PROJECT_ROOT}/tests/e2e/fields/mutant.ts`;

const only = Deno.env.get("MUTATION_FIELDS")?.split(",");

Deno.test("each field's check fails without the field", async (t) => {
  await using lab = await fieldLab("crun");
  const host = await fieldHost(lab);
  const { spec } = lab.daemon;
  const argv = spec.argv.map((argument) => argument === `${PROJECT_ROOT}/main.ts` ? MUTANT : argument);
  assert.notDeepEqual(argv, spec.argv, "mutants are made of the source tree");
  for (const check of FIELDS) {
    if (only !== undefined && !only.includes(check.field)) continue;
    const reason = check.skip?.(host);
    const name = reason === undefined ? check.field : `${check.field} (not here: ${reason})`;
    await t.step({
      name,
      ignore: reason !== undefined,
      fn: async () => {
        await lab.daemon.stop();
        lab.daemon.spec = { ...spec, argv, env: { ...spec.env, MUTANT: check.field } };
        await lab.daemon.start();
        await using bench = new FieldBench(lab, host, "");
        await assert.rejects(check.prove(bench), `the check passes without ${check.field}`);
      },
    });
  }
});
