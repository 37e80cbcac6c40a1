/** A kubelet without an API server: static pods on crio. Start it with `scripts/kubelet-test standalone`. */
import { ALL_CHECKS } from "./all_checks.ts";
import { runChecks } from "./checks.ts";
import { TestNode } from "./node.ts";

Deno.test("a kubelet with static pods", async (t) => {
  await using node = await TestNode.start({ mode: "standalone" });
  await runChecks(t, node, ALL_CHECKS);
});
