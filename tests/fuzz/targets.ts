import { ARCHIVE } from "./archive_target.ts";
import { BROKEN } from "./broken_target.ts";
import { MANIFEST } from "./manifest_target.ts";
import { POLICY } from "./policy_target.ts";
import { REFERENCE } from "./reference_target.ts";
import { REGISTRIES } from "./registries_target.ts";
import { TAR } from "./tar_target.ts";
import type { FuzzTarget } from "./target.ts";

/** The least share of the cases that has to get past the first parser. */
export const MIN_PAST_SHARE = 0.3;

/** Share of the cases of a run that each target gets. */
export const TARGETS: readonly { readonly target: FuzzTarget; readonly share: number }[] = [
  { target: TAR, share: 0.3 },
  { target: MANIFEST, share: 0.15 },
  { target: ARCHIVE, share: 0.1 },
  { target: REFERENCE, share: 0.2 },
  { target: REGISTRIES, share: 0.2 },
  { target: POLICY, share: 0.15 },
];

/** @throws Error naming the targets that there are */
export function targetNamed(name: string): FuzzTarget {
  if (name === BROKEN.name) return BROKEN;
  const found = TARGETS.find(({ target }) => target.name === name);
  if (found !== undefined) return found.target;
  throw new Error(`no target ${name}: ${TARGETS.map(({ target }) => target.name).join(", ")}`);
}
