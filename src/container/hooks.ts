import type { HooksByStage, HookSubject } from "../oci/hooks/hooks.ts";
import type { OciHook, OciSpec } from "../oci/spec/types.ts";
import type { BundleInput } from "./bundle_spec.ts";

/** The hooks that the node has for containers. */
export interface HookSource {
  select(subject: HookSubject): Promise<HooksByStage>;
}

/** The specification with the node's hooks for this container behind those that it has. */
export async function withHooks(
  spec: OciSpec,
  { annotations, spec: request }: Pick<BundleInput, "annotations" | "spec">,
  source: HookSource,
): Promise<OciSpec> {
  const added = await source.select({
    annotations,
    args: spec.process.args,
    hasBindMounts: request.mounts.length > 0,
  });
  const hooks: Record<string, readonly OciHook[]> = { ...spec.hooks };
  for (const [stage, list] of Object.entries(added)) hooks[stage] = [...hooks[stage] ?? [], ...list];
  return Object.keys(hooks).length === 0 ? spec : { ...spec, hooks };
}
