import { atStage, DataLossError } from "../base/errors.ts";
import { isErrno } from "../linux/errno.ts";
import { mountOverlay, type OverlayRequest } from "../linux/mount.ts";
import { mapLowers } from "./_id_maps.ts";
import type { LayerRoot, Layout } from "./layout.ts";
import type { Places } from "./_places.ts";
import type { StoreRoot } from "./_root.ts";
import { codeOf, makeDirectory, settleAll } from "./_trees.ts";

/** Length and alphabet of the short names below `overlay/l`, as containers/storage makes them. */
const LINK_CHARACTERS = 26;
const LINK_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** Of a layer's root directory without a parent. */
const DEFAULT_ROOT: RootAttributes = { mode: 0o555, uid: 0, gid: 0 };
const PERMISSION_BITS = 0o7777;
const DEPTH_LIMIT = 500;

/** Mode and owner of a layer's root directory. */
export interface RootAttributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** What a layer gives to those on top of it. */
export interface ParentLayer {
  readonly root: RootAttributes;
  /** Content of a child's `lower` file; undefined for a base layer. */
  readonly lower: string | undefined;
}

/** What a base layer has below it. */
export const NO_PARENT: ParentLayer = { root: DEFAULT_ROOT, lower: undefined };

/** A layer directory that is complete but not in its place yet. */
export interface PreparedLayer {
  readonly directory: string;
  readonly link: string;
}

/**
 * Reads what a child of this layer needs. Nothing is remembered: another program may delete a layer and make it anew
 * with the same id and another short name.
 *
 * @throws DataLossError when the layer's directory is not there or has no short name
 */
export async function parentLayer(places: Places, id: string): Promise<ParentLayer> {
  const directory = await places.layer(id);
  try {
    const [info, link, lower] = await Promise.all([
      Deno.lstat(`${directory}/diff`),
      Deno.readTextFile(`${directory}/link`),
      readOptional(`${directory}/lower`),
    ]);
    const below = lower === undefined || lower === "" ? "" : `:${lower}`;
    return { root: attributes(info), lower: `l/${link.trim()}${below}` };
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    throw new DataLossError(
      `layer ${id} is in the index of the store, but its directory is incomplete: pull the image anew`,
      {
        cause: error,
      },
    );
  }
}

/**
 * Completes a layer directory: `diff` unless it is there, `work`, `merged`, `link`, and `lower` or `empty`.
 *
 * @param options.root what `diff` is set to; undefined leaves an existing one as it is
 */
export async function prepareLayer(
  directory: string,
  options: { readonly parent: ParentLayer; readonly root: RootAttributes | undefined; readonly makeDiff: boolean },
): Promise<PreparedLayer> {
  const { parent, root, makeDiff } = options;
  const link = newLink();
  const diff = `${directory}/diff`;
  if (makeDiff) await makeDirectory(directory, 0o700);
  await settleAll([
    makeDiff ? Deno.mkdir(diff, { mode: 0o700 }).then(() => setRoot(diff, root)) : setRoot(diff, root),
    makeDirectory(`${directory}/work`, 0o700),
    makeDirectory(`${directory}/merged`, 0o700),
    Deno.writeTextFile(`${directory}/link`, link, { mode: 0o644 }),
    parent.lower === undefined
      ? makeDirectory(`${directory}/empty`, 0o700)
      : Deno.writeTextFile(`${directory}/lower`, parent.lower, { mode: 0o644 }),
  ]);
  return { directory, link };
}

/** Puts a prepared layer in its place, with its short name. */
export async function installLayer(
  area: { readonly place: LayerRoot; readonly root: StoreRoot },
  id: string,
  prepared: PreparedLayer,
): Promise<void> {
  const { place, root } = area;
  await settleAll([
    Deno.symlink(`../${id}/diff`, `${place.links}/${prepared.link}`),
    root.rename(prepared.directory, `${place.overlay}/${id}`),
  ]);
}

/** Removes the short name of a layer whose directory is still in place. */
export async function removeLink(place: LayerRoot, id: string): Promise<void> {
  const link = await readOptional(`${place.overlay}/${id}/link`);
  if (link === undefined || !/^[A-Z0-9]{1,64}$/.test(link.trim())) return;
  await Deno.remove(`${place.links}/${link.trim()}`).catch((error) => {
    if (codeOf(error) !== "ENOENT") throw error;
  });
}

/** Whether an overlay is mounted on the directory's `merged`: it has a device number of its own then. */
export async function isLayerMounted(directory: string): Promise<boolean> {
  try {
    const [merged, layer] = await Promise.all([Deno.lstat(`${directory}/merged`), Deno.lstat(directory)]);
    return merged.dev !== layer.dev;
  } catch (error) {
    if (codeOf(error) === "ENOENT") return false;
    throw error;
  }
}

/** What a layer stands on, the upper ones first. */
export async function lowerDirectories(places: Places, id: string): Promise<string[]> {
  const lower = await readOptional(`${await places.layer(id)}/lower`) ?? "";
  return await Promise.all(lower.trim().split(":").filter((link) => link !== "").map((link) => places.lower(link)));
}

/** What mounting needs of the store. */
interface MountStore {
  readonly layout: Layout;
  readonly places: Places;
}

export interface LayerMountOptions {
  readonly readonly: boolean;
  readonly volatile: boolean;
  readonly mountLabel: string;
  readonly mountOptions: readonly string[];
  /** A user namespace by whose maps the lower layers are shown; absent: as they are. */
  readonly userNamespace?: string;
}

/**
 * Mounts the layer on its `merged` directory.
 *
 * @returns the path, and whether ids are shown as asked
 */
export async function mountLayer(
  store: MountStore,
  id: string,
  options: LayerMountOptions,
): Promise<{ readonly path: string; readonly mapped: boolean }> {
  const { layout, places } = store;
  const directory = await places.layer(id);
  const lowers = await lowersOf(places, id);
  const { userNamespace } = options;
  await using mapped = userNamespace === undefined
    ? undefined
    : await mapLowers(lowers, { place: `${directory}/mapped`, userNamespace });
  const path = `${await places.mountDirectory(id)}/merged`;
  if (!places.isOwn(path)) await Deno.mkdir(path, { recursive: true, mode: 0o700 });
  const parts = options.readonly ? { lower: [`${directory}/diff`, ...lowers] } : {
    lower: mapped?.paths ?? lowers,
    upper: `${directory}/diff`,
    work: `${directory}/work`,
  };
  const base = mapped === undefined ? layout.overlay : directory;
  await mountChecked({ target: path, base, ...parts }, { ...options, layout, id });
  return { path, mapped: userNamespace === undefined || mapped !== undefined };
}

/**
 * Mounts the layer with those below it read-only on `target`, shown by the maps of a user namespace.
 *
 * @returns whether ids are shown as asked
 */
export async function mountMappedView(
  { layout, places }: MountStore,
  id: string,
  { target, userNamespace, mountOptions }: {
    readonly target: string;
    readonly userNamespace: string;
    readonly mountOptions: readonly string[];
  },
): Promise<boolean> {
  const layers = [`${await places.layer(id)}/diff`, ...await lowersOf(places, id)];
  await using mapped = await mapLowers(layers, { place: `${target}.mapped`, userNamespace });
  const base = mapped === undefined ? layout.overlay : `${target}.mapped`;
  const request = { target, base, lower: mapped?.paths ?? layers };
  await mountChecked(request, { layout, id, readonly: true, volatile: false, mountLabel: "", mountOptions });
  return mapped !== undefined;
}

/** The directories below a layer, topmost first; at least one. */
async function lowersOf(places: Places, id: string): Promise<string[]> {
  const lower = await lowerDirectories(places, id);
  if (lower.length > DEPTH_LIMIT) throw new DataLossError(`layer ${id} has more than ${DEPTH_LIMIT} layers below it`);
  if (lower.length > 0) return lower;
  // A layer of a read-only store has no room for it.
  const empty = `${await places.mountDirectory(id)}/empty`;
  await Deno.mkdir(empty, { mode: 0o700, recursive: true });
  return [empty];
}

async function mountChecked(
  request: Omit<OverlayRequest, "options">,
  choice: LayerMountOptions & { readonly layout: Layout; readonly id: string },
): Promise<void> {
  const { layout, id } = choice;
  const extra = [...choice.mountOptions];
  if (choice.mountLabel !== "") extra.push(`context="${choice.mountLabel}"`);
  if (choice.readonly) extra.unshift("ro");
  else if (choice.volatile && !extra.includes("volatile")) extra.push("volatile");
  try {
    await mountTolerant({ ...request, options: extra }, `${layout.layer(id)}/work/work/incompat`);
  } catch (error) {
    throw atStage(
      `mount the overlay of layer ${id} (needs a file system below ${layout.graphRoot} that can hold overlays, ` +
        "such as ext4, or xfs with ftype=1, but not another overlay)",
      error,
    );
  }
}

async function mountTolerant(request: Parameters<typeof mountOverlay>[0], mark: string): Promise<void> {
  try {
    mountOverlay(request);
  } catch (error) {
    if (!isErrno(error, "EINVAL") || request.options?.includes("volatile") !== true) throw error;
    // The kernel refuses a work directory that a volatile mount has used; a container's layer may be mounted again.
    // Kernels before 5.10 do not know the option at all.
    await clearVolatileMark(mark);
    try {
      mountOverlay(request);
    } catch (second) {
      if (!isErrno(second, "EINVAL")) throw second;
      mountOverlay({ ...request, options: request.options.filter((option) => option !== "volatile") });
    }
  }
}

/** Removes what a volatile mount leaves in its work directory, so that others can mount the layer. */
export async function clearVolatileMark(mark: string): Promise<void> {
  await Deno.remove(mark, { recursive: true }).catch((error) => {
    if (codeOf(error) !== "ENOENT") throw error;
  });
}

async function setRoot(diff: string, root: RootAttributes | undefined): Promise<void> {
  if (root === undefined) return;
  if (root.uid !== 0 || root.gid !== 0) await Deno.chown(diff, root.uid, root.gid);
  await Deno.chmod(diff, root.mode);
}

function attributes(info: Deno.FileInfo): RootAttributes {
  return { mode: (info.mode ?? DEFAULT_ROOT.mode) & PERMISSION_BITS, uid: info.uid ?? 0, gid: info.gid ?? 0 };
}

async function readOptional(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function newLink(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(LINK_CHARACTERS));
  return Array.from(bytes, (byte) => LINK_ALPHABET[byte % LINK_ALPHABET.length]).join("");
}
