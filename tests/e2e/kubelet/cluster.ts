/** A cluster of one node with a kubelet on crio. Start it with `scripts/kubelet-test cluster`. */
import { ALL_CHECKS } from "./all_checks.ts";
import { runChecks } from "./checks.ts";
import { TestNode } from "./node.ts";

Deno.test("a cluster of one node", async (t) => {
  await using node = await TestNode.start({ mode: "cluster" });
  await runChecks(t, node, ALL_CHECKS);
});
