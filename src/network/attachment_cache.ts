import { InvalidArgumentError } from "../base/errors.ts";
import { asList, asObject, asText, parseObject } from "./_json.ts";
import { parseNetworkConfig } from "./config.ts";
import type { Attachment, JsonObject, NetworkConfig } from "./types.ts";

/** The format name that libcni writes and expects. */
const KIND = "cniCacheV1";
/** Our mark in an entry; libcni ignores keys that it does not know. */
const OWNER_KEY = "runtime";
const OWNER = "crio";
const SAFE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;

/** An attachment that was made, or begun, as it stands on disk. */
export interface CachedAttachment {
  readonly network: NetworkConfig;
  readonly attachment: Attachment;
  /** Absent: ADD was begun and nobody knows how far it came. */
  readonly result?: JsonObject;
  /** Written by this runtime; others share the directory. */
  readonly isOurs: boolean;
  readonly file: string;
}

/**
 * Attachments on disk, in libcni's format and place: `<directory>/results/<network>-<container>-<interface>`.
 *
 * Entries of ADDs that have not ended yet are in `<directory>/pending`, where libcni does not look: what a killed
 * daemon leaves there is deleted by the next one. Each file is written beside its place and renamed.
 */
export class AttachmentCache {
  readonly #results: string;
  readonly #pending: string;
  #madeFolders = false;

  constructor(directory: string) {
    this.#results = `${directory}/results`;
    this.#pending = `${directory}/pending`;
  }

  /** Notes that an ADD begins. @throws InvalidArgumentError for an id that cannot be part of a file name */
  async begin(network: NetworkConfig, attachment: Attachment): Promise<void> {
    await this.#makeFolders();
    await Deno.writeTextFile(`${this.#pending}/${fileName(network, attachment)}`, encode(network, attachment), {
      mode: 0o600,
    });
  }

  /** Replaces the note of {@link begin} by the result. */
  async commit(network: NetworkConfig, attachment: Attachment, result: JsonObject): Promise<void> {
    const name = fileName(network, attachment);
    const staged = `${this.#pending}/${name}`;
    await Deno.writeTextFile(`${staged}.new`, encode(network, attachment, result), { mode: 0o600 });
    await Deno.rename(`${staged}.new`, `${this.#results}/${name}`);
    await removeFile(staged);
  }

  /** Forgets an attachment; idempotent. */
  async remove(network: NetworkConfig, attachment: Attachment): Promise<void> {
    const name = fileName(network, attachment);
    await Promise.all([this.#results, this.#pending].map((folder) => removeFile(`${folder}/${name}`)));
  }

  /**
   * The attachment of a container, or undefined. A finished one is preferred to one that was begun.
   *
   * @param options.network looked up first, without reading the directory
   */
  async find(
    containerId: string,
    options: { readonly ifName: string; readonly network?: string | undefined },
  ): Promise<CachedAttachment | undefined> {
    const suffix = `-${containerId}-${options.ifName}`;
    if (options.network !== undefined) {
      const direct = await readEntry(`${this.#results}/${options.network}${suffix}`);
      if (direct?.attachment.containerId === containerId) return direct;
    }
    for (const folder of [this.#results, this.#pending]) {
      for (const name of await listFolder(folder)) {
        if (!name.endsWith(suffix)) continue;
        const entry = await readEntry(`${folder}/${name}`);
        if (entry?.attachment.containerId === containerId) return entry;
      }
    }
    return undefined;
  }

  /** All attachments; files that are none are left out. */
  async list(): Promise<CachedAttachment[]> {
    const entries: CachedAttachment[] = [];
    for (const folder of [this.#results, this.#pending]) {
      for (const name of await listFolder(folder)) {
        const entry = await readEntry(`${folder}/${name}`);
        if (entry !== undefined) entries.push(entry);
      }
    }
    return entries;
  }

  async #makeFolders(): Promise<void> {
    if (this.#madeFolders) return;
    for (const folder of [this.#results, this.#pending]) await Deno.mkdir(folder, { recursive: true, mode: 0o700 });
    this.#madeFolders = true;
  }
}

function fileName(network: NetworkConfig, { containerId, ifName }: Attachment): string {
  for (const part of [containerId, ifName]) {
    if (!SAFE_NAME.test(part)) {
      throw new InvalidArgumentError(`${JSON.stringify(part)} cannot name a container or interface for CNI`);
    }
  }
  return `${network.name}-${containerId}-${ifName}`;
}

function encode(network: NetworkConfig, attachment: Attachment, result?: JsonObject): string {
  const { containerId, ifName, netns, cniArgs, capabilityArgs } = attachment;
  return JSON.stringify({
    kind: KIND,
    containerId,
    config: new TextEncoder().encode(JSON.stringify(network.raw)).toBase64(),
    ifName,
    networkName: network.name,
    netns,
    cniArgs,
    capabilityArgs,
    ...(result === undefined ? {} : { result }),
    [OWNER_KEY]: OWNER,
  });
}

/** Undefined for what is no entry of this format, and for an entry whose configuration cannot be used any more. */
async function readEntry(file: string): Promise<CachedAttachment | undefined> {
  const text = await Deno.readTextFile(file).catch(() => undefined);
  const entry = text === undefined ? undefined : parseObject(text);
  const [containerId, ifName] = [asText(entry?.["containerId"]), asText(entry?.["ifName"])];
  if (entry === undefined || entry["kind"] !== KIND || containerId === undefined || ifName === undefined) {
    return undefined;
  }
  try {
    const config = new TextDecoder().decode(Uint8Array.fromBase64(asText(entry["config"]) ?? ""));
    const result = asObject(entry["result"]);
    return {
      network: parseNetworkConfig(config, file),
      attachment: {
        containerId,
        ifName,
        netns: asText(entry["netns"]) ?? "",
        cniArgs: asList(entry["cniArgs"]).flatMap(parsePair),
        capabilityArgs: asObject(entry["capabilityArgs"]) ?? {},
      },
      ...(result === undefined ? {} : { result }),
      isOurs: entry[OWNER_KEY] === OWNER,
      file,
    };
  } catch {
    return undefined; // A damaged entry: DEL falls back to the current configuration.
  }
}

function parsePair(value: unknown): Array<readonly [string, string]> {
  const [name, text] = asList(value);
  return typeof name === "string" && typeof text === "string" ? [[name, text]] : [];
}

async function listFolder(folder: string): Promise<string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) if (!name.endsWith(".new")) names.push(name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return names;
}

async function removeFile(path: string): Promise<void> {
  await Deno.remove(path).catch((error) => {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  });
}
