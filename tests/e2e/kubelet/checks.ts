import type { Mode, TestNode } from "./node.ts";

/** One named statement about a node under a real kubelet. */
export interface Check {
  readonly name: string;
  /** Default: both. */
  readonly modes: readonly Mode[];
  /** It stops or restarts something that the others need. */
  readonly alone: boolean;
  /** Why it cannot be made here; undefined: it can. */
  readonly skip: (node: TestNode) => Promise<string | undefined>;
  readonly run: (node: TestNode) => Promise<void>;
}

export interface CheckOptions {
  readonly modes?: readonly Mode[];
  readonly alone?: boolean;
  readonly skip?: (node: TestNode) => Promise<string | undefined>;
}

/** A check for {@link runChecks}. */
export function check(name: string, run: (node: TestNode) => Promise<void>, options: CheckOptions = {}): Check {
  const {
    modes = ["standalone", "cluster"],
    alone = false,
    skip = (): Promise<undefined> => Promise.resolve(undefined),
  } = options;
  return { name, modes, alone, skip, run };
}

/** Most of a check's time is waiting for the kubelet: several at once. */
const AT_ONCE = 4;
const CHECK_LIMIT_MS = 240_000;

/**
 * Makes all checks of the node's mode as steps of a test; those that need the node for themselves come last. CHECKS, a
 * regular expression over names, chooses some of them.
 */
export async function runChecks(t: Deno.TestContext, node: TestNode, checks: readonly Check[]): Promise<void> {
  const chosen = new RegExp(Deno.env.get("CHECKS") ?? "", "i");
  const ours = checks.filter(({ modes, name }) => modes.includes(node.mode) && chosen.test(name));
  const shared = ours.filter(({ alone }) => !alone);
  const worker = async (): Promise<void> => {
    for (let next = shared.shift(); next !== undefined; next = shared.shift()) await step(t, node, next);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  for (const alone of ours.filter(({ alone }) => alone)) await step(t, node, alone);
}

/** A check that waits for what never comes must not keep the others. */
async function limited(work: Promise<void>): Promise<void> {
  const { promise, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`not done after ${CHECK_LIMIT_MS} ms`)), CHECK_LIMIT_MS);
  await Promise.race([work, promise]).finally(() => clearTimeout(timer));
}

async function step(t: Deno.TestContext, node: TestNode, check: Check): Promise<void> {
  const reason = await check.skip(node);
  await t.step({
    name: reason === undefined ? check.name : `${check.name} (${reason})`,
    ignore: reason !== undefined,
    fn: () => limited(check.run(node)),
    // Steps at the same time cannot be told apart by what they open.
    sanitizeOps: false,
    sanitizeResources: false,
    sanitizeExit: false,
  });
}
