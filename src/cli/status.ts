import { print } from "./_output.ts";
import { get } from "./_status_client.ts";
import { type CommandSpec, commandSpec, flagsOf } from "./commands.ts";
import { isSet, lastValue, type ParsedFlags, parseFlags, UsageError } from "./flags.ts";

const DEFAULT_SOCKET = "/var/run/crio/crio.sock";
const USAGE = "crio status --help lists what there is";

/** `crio status info|config|archives|containers|pulls`: asks a running daemon over its socket. */
export async function statusCommand(args: readonly string[]): Promise<number> {
  const outer = parseFlags(args, flagsOf("status"));
  const [word = "", ...rest] = outer.rest;
  const command = subcommand(word);
  const inner = parseFlags(rest, [...flagsOf("status"), ...command.flags ?? []]);
  if (inner.rest.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(inner.rest[0])}; ${USAGE}`);
  const socket = lastValue(inner, "socket") ?? lastValue(outer, "socket") ?? DEFAULT_SOCKET;
  if (command.name === "pulls") {
    const { statusPulls } = await import("./_status_pulls.ts");
    await statusPulls(socket, { json: isSet(inner, "json"), follow: isSet(inner, "follow") });
    return 0;
  }
  print(await answerOf(command.name, { socket, inner }));
  return 0;
}

function subcommand(word: string): CommandSpec {
  const found = commandSpec("status").commands?.find(({ name, aliases }) => name === word || aliases?.includes(word));
  if (found !== undefined) return found;
  throw new UsageError(
    word === "" ? `a command is needed; ${USAGE}` : `command ${JSON.stringify(word)} not supported; ${USAGE}`,
  );
}

async function answerOf(name: string, { socket, inner }: { socket: string; inner: ParsedFlags }): Promise<string> {
  switch (name) {
    case "config":
      return await get(socket, "/config");
    case "info":
      return infoText(JSON.parse(await get(socket, "/info")));
    case "archives":
      return archivesText(JSON.parse(await get(socket, "/archives")));
    case "containers": {
      const id = lastValue(inner, "id") ?? "";
      if (id === "") throw new UsageError("containers needs --id ID");
      return containerText(await get(socket, `/containers/${encodeURIComponent(id)}`));
    }
    default:
      throw new RangeError(`no command ${name}`);
  }
}

interface ArchivesAnswer {
  readonly directory: string;
  readonly problem?: string;
  readonly archives: readonly {
    readonly file: string;
    readonly state: string;
    readonly pinned: boolean;
    readonly images: readonly { readonly id: string; readonly names: readonly string[] }[];
    readonly error?: string;
  }[];
}

function archivesText({ directory, problem, archives }: ArchivesAnswer): string {
  const lines = archives.flatMap(({ file, state, pinned, images, error }) => [
    `${file}: ${state}${pinned ? ", pinned" : ""}${error === undefined ? "" : `: ${error}`}`,
    ...images.map(({ id, names }) => `  ${names.join(", ") || "no name"}  ${id}`),
  ]);
  const head = `archives in ${directory}: ${archives.length === 0 ? "none" : archives.length}`;
  return [head, ...(problem === undefined ? [] : [`problem: ${problem}`]), ...lines].map((line) => `${line}\n`).join(
    "",
  );
}

interface IdMap {
  readonly container_id: number;
  readonly host_id: number;
  readonly size: number;
}

interface InfoAnswer {
  readonly cgroup_driver: string;
  readonly storage_driver: string;
  readonly storage_image: string;
  readonly storage_root: string;
  readonly default_id_mappings: { readonly uids: readonly IdMap[]; readonly gids: readonly IdMap[] };
}

function infoText(info: InfoAnswer): string {
  const maps = (title: string, entries: readonly IdMap[]): string => {
    const lines = entries.map((map) => `  ${map.container_id}:${map.host_id}:${map.size}\n`);
    return `default ${title} mappings (format <container>:<host>:<size>):\n${lines.join("")}`;
  };
  return [
    `cgroup driver: ${info.cgroup_driver}\n`,
    `storage driver: ${info.storage_driver}\n`,
    ...(info.storage_image === "" ? [] : [`storage image: ${info.storage_image}\n`]),
    `storage root: ${info.storage_root}\n`,
    maps("GID", info.default_id_mappings.gids),
    maps("UID", info.default_id_mappings.uids),
  ].join("");
}

interface ContainerAnswer {
  readonly name: string;
  readonly pid: number;
  readonly image: string;
  readonly image_ref: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly crio_annotations: Readonly<Record<string, string>>;
  readonly log_path: string;
  readonly root: string;
  readonly sandbox: string;
  readonly ip_addresses: readonly string[];
}

function containerText(json: string): string {
  const container: ContainerAnswer = JSON.parse(json);
  const createdNanos = BigInt(/"created_time":(\d+)/.exec(json)?.[1] ?? "0");
  const map = (title: string, entries: Readonly<Record<string, string>>): string => {
    return `${title}:\n${Object.entries(entries).map(([key, value]) => `  ${key}: ${value}\n`).join("")}`;
  };
  return [
    `name: ${container.name}\n`,
    `pid: ${container.pid}\n`,
    `image: ${container.image}\n`,
    `image ref: ${container.image_ref}\n`,
    `created: ${new Date(Number(createdNanos / 1_000_000n)).toISOString()}\n`,
    map("labels", container.labels),
    map("annotations", container.annotations),
    map("CRI-O annotations", container.crio_annotations),
    `log path: ${container.log_path}\n`,
    `root: ${container.root}\n`,
    `sandbox: ${container.sandbox}\n`,
    `ips: ${container.ip_addresses.join(", ")}\n`,
  ].join("");
}
