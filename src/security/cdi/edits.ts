import {
  arrayOf,
  CdiFormatError,
  type Fields,
  fieldsOf,
  optional,
  optionalCount,
  optionalSwitch,
  optionalText,
  placeOf,
  text,
  texts,
} from "./_fields.ts";

/** What a device changes in a container, as its file says it; a field that changes nothing is absent. */
export interface ContainerEdits {
  readonly env?: readonly string[];
  readonly deviceNodes?: readonly CdiDeviceNode[];
  readonly netDevices?: readonly CdiNetDevice[];
  readonly mounts?: readonly CdiMount[];
  readonly hooks?: readonly CdiHook[];
  readonly additionalGids?: readonly number[];
  readonly intelRdt?: CdiIntelRdt;
}

export interface CdiDeviceNode {
  /** In the container. */
  readonly path: string;
  readonly hostPath?: string;
  /** `b`, `c`, `u` or `p`. */
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly fileMode?: number;
  /** Some of `r`, `w`, `m`; `none`. */
  readonly permissions?: string;
  readonly uid?: number;
  readonly gid?: number;
}

/** A network interface of the node that moves into the container. */
export interface CdiNetDevice {
  readonly hostInterfaceName: string;
  readonly name: string;
}

export interface CdiMount {
  readonly hostPath: string;
  readonly containerPath: string;
  readonly options: readonly string[];
  readonly type?: string;
}

export interface CdiHook {
  readonly hookName: HookName;
  readonly path: string;
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds. */
  readonly timeout?: number;
}

/** `linux.intelRdt` of the runtime specification. */
export interface CdiIntelRdt {
  readonly closID?: string;
  readonly l3CacheSchema?: string;
  readonly memBwSchema?: string;
  readonly schemata?: readonly string[];
  readonly enableMonitoring?: boolean;
  readonly enableCMT?: boolean;
  readonly enableMBM?: boolean;
}

const HOOK_NAMES = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] as const;

/** A stage of the runtime specification at which hooks run. */
export type HookName = typeof HOOK_NAMES[number];

/** @throws CdiFormatError with the place of the first mistake */
export function readEdits(value: unknown, place: string): ContainerEdits {
  const fields = fieldsOf(value, place, [
    "env",
    "deviceNodes",
    "netDevices",
    "mounts",
    "hooks",
    "additionalGids",
    "intelRdt",
  ]);
  return present({
    env: some(environment(fields)),
    deviceNodes: some(arrayOf(fields, "deviceNodes").map(([at, node]) => deviceNode(node, at))),
    netDevices: some(arrayOf(fields, "netDevices").map(([at, device]) => netDevice(device, at))),
    mounts: some(arrayOf(fields, "mounts").map(([at, mount]) => mountOf(mount, at))),
    hooks: some(arrayOf(fields, "hooks").map(([at, hook]) => hookOf(hook, at))),
    additionalGids: some(arrayOf(fields, "additionalGids").map(([at, gid]) => id(gid, at))),
    intelRdt: optional(fields, "intelRdt", intelRdt),
  });
}

/** What of these edits came later than version 0.3.0, with the version. */
export function* usesOf(edits: ContainerEdits): Generator<readonly [use: string, since: string]> {
  if (edits.mounts?.some(({ type }) => type !== undefined) === true) yield ["mounts.type", "0.4.0"];
  if (edits.deviceNodes?.some(({ hostPath }) => hostPath !== undefined) === true) {
    yield ["deviceNodes.hostPath", "0.5.0"];
  }
  if (edits.additionalGids !== undefined) yield ["additionalGids", "0.7.0"];
  if (edits.intelRdt !== undefined) yield ["intelRdt", "0.7.0"];
  if (edits.netDevices !== undefined) yield ["netDevices", "1.1.0"];
  if (edits.intelRdt?.schemata !== undefined) yield ["intelRdt.schemata", "1.1.0"];
  if (edits.intelRdt?.enableMonitoring !== undefined) yield ["intelRdt.enableMonitoring", "1.1.0"];
}

function environment(fields: Fields): string[] {
  const lines = texts(fields, "env");
  const wrong = lines.find((line) => line.indexOf("=") <= 0 || line.includes("\0"));
  if (wrong === undefined) return lines;
  throw new CdiFormatError(placeOf(fields, "env"), `${JSON.stringify(wrong)} is not NAME=value`);
}

function deviceNode(value: unknown, place: string): CdiDeviceNode {
  const fields = fieldsOf(value, place, [
    "path",
    "hostPath",
    "type",
    "major",
    "minor",
    "fileMode",
    "permissions",
    "uid",
    "gid",
  ]);
  const type = optionalText(fields, "type");
  if (type !== undefined && !["b", "c", "u", "p", ""].includes(type)) {
    throw new CdiFormatError(placeOf(fields, "type"), `${JSON.stringify(type)} is not one of b, c, u, p`);
  }
  const permissions = optionalText(fields, "permissions");
  if (permissions !== undefined && permissions !== "none" && !/^[rwm]*$/.test(permissions)) {
    throw new CdiFormatError(placeOf(fields, "permissions"), `${JSON.stringify(permissions)} is not some of r, w, m`);
  }
  return present({
    path: absolute(fields, "path"),
    hostPath: fields.has("hostPath") ? absolute(fields, "hostPath") : undefined,
    type: type === "" ? undefined : type,
    major: optionalCount(fields, "major"),
    minor: optionalCount(fields, "minor"),
    fileMode: optionalCount(fields, "fileMode"),
    permissions: permissions === "" ? undefined : permissions,
    uid: optional(fields, "uid", id),
    gid: optional(fields, "gid", id),
  });
}

function netDevice(value: unknown, place: string): CdiNetDevice {
  const fields = fieldsOf(value, place, ["hostInterfaceName", "name"]);
  return { hostInterfaceName: text(fields, "hostInterfaceName"), name: text(fields, "name") };
}

function mountOf(value: unknown, place: string): CdiMount {
  const fields = fieldsOf(value, place, ["hostPath", "containerPath", "options", "type"]);
  const type = optionalText(fields, "type");
  return present({
    hostPath: text(fields, "hostPath"),
    containerPath: absolute(fields, "containerPath"),
    options: texts(fields, "options"),
    type: type === "" ? undefined : type,
  });
}

function hookOf(value: unknown, place: string): CdiHook {
  const fields = fieldsOf(value, place, ["hookName", "path", "args", "env", "timeout"]);
  const name = text(fields, "hookName");
  const hookName = HOOK_NAMES.find((known) => known === name);
  if (hookName === undefined) {
    throw new CdiFormatError(
      placeOf(fields, "hookName"),
      `${JSON.stringify(name)} is not one of ${HOOK_NAMES.join(", ")}`,
    );
  }
  return present({
    hookName,
    path: absolute(fields, "path"),
    args: some(texts(fields, "args")),
    env: some(environment(fields)),
    timeout: optionalCount(fields, "timeout"),
  });
}

function intelRdt(value: unknown, place: string): CdiIntelRdt {
  const fields = fieldsOf(value, place, [
    "closID",
    "l3CacheSchema",
    "memBwSchema",
    "schemata",
    "enableMonitoring",
    "enableCMT",
    "enableMBM",
  ]);
  const closID = optionalText(fields, "closID");
  // It names a directory of resctrl; "/" is the root group.
  if (closID !== undefined && closID !== "/" && (/[/\n]/.test(closID) || closID === "." || closID === "..")) {
    throw new CdiFormatError(placeOf(fields, "closID"), `${JSON.stringify(closID)} is not a file name`);
  }
  return present({
    closID,
    l3CacheSchema: optionalText(fields, "l3CacheSchema"),
    memBwSchema: optionalText(fields, "memBwSchema"),
    schemata: some(texts(fields, "schemata")),
    enableMonitoring: optionalSwitch(fields, "enableMonitoring"),
    enableCMT: optionalSwitch(fields, "enableCMT"),
    enableMBM: optionalSwitch(fields, "enableMBM"),
  });
}

const MAX_ID = 4_294_967_294;

function id(value: unknown, place: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_ID) return value;
  throw new CdiFormatError(place, "is not a user or group id");
}

function absolute(fields: Fields, name: string): string {
  const path = text(fields, name);
  if (path.startsWith("/") && !path.includes("\0")) return path;
  throw new CdiFormatError(placeOf(fields, name), `${JSON.stringify(path)} is not an absolute path`);
}

function some<T>(items: readonly T[]): readonly T[] | undefined {
  return items.length === 0 ? undefined : items;
}

type Present<T> =
  & { [K in keyof T as undefined extends T[K] ? never : K]: T[K] }
  & {
    [K in keyof T as undefined extends T[K] ? K : never]?: Exclude<T[K], undefined>;
  };

/** Without the undefined fields. */
function present<T extends object>(fields: T): Present<T> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Present<T>;
}
