import { InvalidArgumentError } from "../base/errors.ts";
import { mountOf, readMounts } from "../linux/mountinfo.ts";
import type { Mount } from "../nri/gen/nri.ts";
import { removedName } from "../nri/message.ts";
import { cleanPath, mergeMounts } from "../oci/spec/mounts.ts";
import type { OciMount, OciSpec } from "../oci/spec/types.ts";

/** Asks for SELinux labels; for the runtime it is no option. */
const RELABEL = "relabel";

/**
 * The runtime specification with mounts added, replaced and taken away, parents before children. The root gets the propagation that
 * they need.
 *
 * @throws InvalidArgumentError for a mount that shares more than its source does
 */
export async function adjustMounts(spec: OciSpec, wanted: readonly Mount[]): Promise<OciSpec> {
  if (wanted.length === 0) return spec;
  const added = wanted.filter(({ destination }) => removedName(destination) === undefined).map(ociMount);
  const removed = new Set(wanted.map(({ destination }) => removedName(destination)));
  const kept = spec.mounts.filter(({ destination }) => !removed.has(destination));
  const propagation = await rootPropagation(added, spec.linux.rootfsPropagation);
  return {
    ...spec,
    mounts: mergeMounts(kept, added),
    linux: { ...spec.linux, ...(propagation === undefined ? {} : { rootfsPropagation: propagation }) },
  };
}

function ociMount({ destination, type, source, options }: Mount): OciMount {
  if (!destination.startsWith("/")) {
    throw new InvalidArgumentError(`a plugin mounts at ${JSON.stringify(destination)}, which is not absolute`);
  }
  return { destination, type, source, options: options.filter((option) => option !== RELABEL) };
}

async function rootPropagation(added: readonly OciMount[], now: string | undefined): Promise<string | undefined> {
  const sharing = added.filter(({ options }) => options.includes("rshared") || options.includes("rslave"));
  if (sharing.length === 0) return now;
  const table = await readMounts();
  let propagation = now;
  for (const { source, options, destination } of sharing) {
    const isShared = options.includes("rshared");
    const holder = mountOf(table, cleanPath(source));
    const fits = holder?.shared !== undefined || (!isShared && holder?.master !== undefined);
    if (!fits) {
      throw new InvalidArgumentError(
        `a plugin mounts ${source} at ${destination} as ${isShared ? "rshared" : "rslave"}, but the mount at ` +
          `${holder?.mountPoint ?? "/"} is private on this node: run "mount --make-rshared" on it`,
      );
    }
    if (isShared) propagation = "rshared";
    else if (propagation !== "rshared") propagation = "rslave";
  }
  return propagation;
}
