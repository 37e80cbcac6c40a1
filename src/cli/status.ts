import { parseDurationMs } from "../config/option.ts";
import { print } from "./_output.ts";
import { type Daemon, download, get } from "./_status_client.ts";
import { type CommandSpec, commandSpec, flagsOf } from "./commands.ts";
import { isSet, lastValue, type ParsedFlags, parseFlags, UsageError } from "./flags.ts";

const DEFAULT_SOCKET = "/var/run/crio/crio.sock";
/** A snapshot takes the daemon some time. */
const HEAP_LIMIT_MS = 120_000;
/** A timer for longer fires at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
const USAGE = "crio status --help lists what there is";

/** `crio status COMMAND`: asks a running daemon over its socket. */
export async function statusCommand(args: readonly string[]): Promise<number> {
  const outer = parseFlags(args, flagsOf("status"));
  const [word = "", ...rest] = outer.rest;
  const command = subcommand(word);
  const inner = parseFlags(rest, [...flagsOf("status"), ...command.flags ?? []]);
  if (inner.rest.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(inner.rest[0])}; ${USAGE}`);
  const daemon = {
    socket: lastValue(inner, "socket") ?? lastValue(outer, "socket") ?? DEFAULT_SOCKET,
    timeoutMs: durationMs("timeout", lastValue(inner, "timeout") ?? lastValue(outer, "timeout") ?? "10s"),
  };
  const json = isSet(inner, "json") || isSet(outer, "json");
  const handler = COMMANDS[command.name];
  if (handler === undefined) throw new RangeError(`no command ${command.name}`);
  await handler({ daemon, flags: inner, json });
  return 0;
}

interface Asked {
  readonly daemon: Daemon;
  readonly flags: ParsedFlags;
  readonly json: boolean;
}

const COMMANDS: Readonly<Record<string, (asked: Asked) => Promise<void>>> = {
  info: async ({ daemon, json }) => {
    const text = await get(daemon, "/info");
    print(json ? `${text}\n` : infoText(JSON.parse(text)));
  },
  config: async ({ daemon, json }) => {
    const text = await get(daemon, "/config");
    print(
      json
        ? `${JSON.stringify((await import("../config/toml.ts")).parseToml(text, daemon.socket), undefined, 2)}\n`
        : text,
    );
  },
  archives: async ({ daemon, json }) => {
    const text = await get(daemon, "/archives");
    print(json ? `${text}\n` : archivesText(JSON.parse(text)));
  },
  containers: showContainers,
  pods: (asked) => showList(asked, "/pods"),
  images: (asked) => showList(asked, "/images"),
  events: async ({ daemon, json }) => await (await import("./_status_live.ts")).statusEvents(daemon, { json }),
  top: showTop,
  pulls: async ({ daemon, flags, json }) => {
    const { statusPulls } = await import("./_status_pulls.ts");
    await statusPulls(daemon, { json, follow: isSet(flags, "follow") });
  },
  goroutines: async ({ daemon, json }) => {
    print(await get(daemon, json ? "/debug" : "/debug/goroutines"));
  },
  heap: saveHeap,
};

function durationMs(flag: string, text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined || ms <= 0) {
    throw new UsageError(`--${flag} ${JSON.stringify(text)} is not a duration such as 10s`);
  }
  return Math.min(ms, LONGEST_TIMER_MS);
}

async function showContainers(asked: Asked): Promise<void> {
  const { daemon, flags, json } = asked;
  const id = lastValue(flags, "id") ?? "";
  if (id === "") return await showList(asked, "/containers");
  const text = await get(daemon, `/containers/${encodeURIComponent(id)}`);
  print(json ? `${text}\n` : containerText(text));
}

async function showList({ daemon, json }: Asked, what: "/pods" | "/containers" | "/images"): Promise<void> {
  const text = await get(daemon, what === "/images" ? what : "/pods");
  if (json) {
    print(`${text}\n`);
    return;
  }
  const { podLines, containerLines, imageLines } = await import("./status_tables.ts");
  const { pods, images } = JSON.parse(text);
  const nowMs = Date.now();
  const lines = { "/pods": podLines, "/containers": containerLines, "/images": imageLines }[what];
  print(`${lines(pods ?? images, nowMs).join("\n")}\n`);
}

async function showTop({ daemon, flags, json }: Asked): Promise<void> {
  const { SORTS } = await import("./top_lines.ts");
  const wanted = lastValue(flags, "sort") ?? "cpu";
  const sort = SORTS.find((name) => name === wanted);
  if (sort === undefined) throw new UsageError(`--sort ${JSON.stringify(wanted)} is none of ${SORTS.join(", ")}`);
  const intervalMs = durationMs("interval", lastValue(flags, "interval") ?? "2s");
  await (await import("./_status_live.ts")).statusTop(daemon, { json, sort, intervalMs });
}

/** The file is closed to others: a heap holds what the daemon knows. */
async function saveHeap({ daemon, flags }: Asked): Promise<void> {
  const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, "");
  const path = lastValue(flags, "file") ?? `crio-heap-${stamp}.heapsnapshot`;
  const patient = { ...daemon, timeoutMs: Math.max(daemon.timeoutMs, HEAP_LIMIT_MS) };
  if (path === "-") return await download(patient, "/debug/heap", () => Promise.resolve(Deno.stdout.writable));
  const options = { write: true, create: true, truncate: true, mode: 0o600 };
  await download(patient, "/debug/heap", async () => (await Deno.open(path, options)).writable);
  print(`wrote ${path}\n`);
}

function subcommand(word: string): CommandSpec {
  const found = commandSpec("status").commands?.find(({ name, aliases }) => name === word || aliases?.includes(word));
  if (found !== undefined) return found;
  throw new UsageError(
    word === "" ? `a command is needed; ${USAGE}` : `command ${JSON.stringify(word)} not supported; ${USAGE}`,
  );
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
