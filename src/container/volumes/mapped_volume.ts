import { FailedPreconditionError } from "../../base/errors.ts";
import { type IdMaps, sameIdMaps } from "../../base/id_maps.ts";
import { isErrno } from "../../linux/errno.ts";
import { bindIdMapped } from "../../linux/id_mapped_mount.ts";
import { openUserNamespace } from "../../linux/user_namespace.ts";
import type { PodUserNamespace } from "../user_namespace.ts";

/**
 * Binds a volume on `place` with the owners that a user namespace sees, for any runtime to take from there.
 *
 * @param options.place in the container's run directory, where the store unmounts what it finds
 * @param options.user the pod's, which is used when its maps are the volume's
 * @throws FailedPreconditionError when the volume's file system cannot do that
 */
export async function bindMappedVolume(
  { source, maps, containerPath }: { readonly source: string; readonly maps: IdMaps; readonly containerPath: string },
  options: { readonly place: string; readonly user: PodUserNamespace | undefined; readonly signal: AbortSignal },
): Promise<string> {
  const { place, user } = options;
  const isDirectory = (await Deno.stat(source)).isDirectory;
  await Deno.mkdir(isDirectory ? place : place.slice(0, place.lastIndexOf("/")), { recursive: true, mode: 0o700 });
  if (!isDirectory) await Deno.writeTextFile(place, "", { createNew: true });
  await using own = user !== undefined && sameIdMaps(user.maps, maps)
    ? undefined
    : await openUserNamespace(maps, options);
  try {
    bindIdMapped({ source, target: place, userNamespace: own?.path ?? user?.path ?? "", recursive: true });
  } catch (error) {
    if (!isErrno(error, "EINVAL", "EPERM", "ENOSYS")) throw error;
    throw new FailedPreconditionError(
      `volume ${containerPath}: the file system of ${source} cannot be mounted with mapped ids: use another one, or a ` +
        "pod without a user namespace",
      { cause: error },
    );
  }
  return place;
}
