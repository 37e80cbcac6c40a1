import { REFERENCE } from "./reference_target.ts";
import { TAR } from "./tar_target.ts";
import type { FuzzTarget } from "./target.ts";

/** Share of the cases of a run that each target gets. */
export const TARGETS: readonly { readonly target: FuzzTarget; readonly share: number }[] = [
  { target: TAR, share: 0.3 },
  { target: REFERENCE, share: 0.2 },
];

/** @throws Error naming the targets that there are */
export function targetNamed(name: string): FuzzTarget {
  const found = TARGETS.find(({ target }) => target.name === name);
  if (found !== undefined) return found.target;
  throw new Error(`no target ${name}: ${TARGETS.map(({ target }) => target.name).join(", ")}`);
}
