import { InvalidArgumentError, messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";

/** PEM files and limits of a TLS server. */
export interface TlsOptions {
  readonly certFile: string;
  readonly keyFile: string;
  /** When set, clients need a certificate that this CA signed. Empty: none is asked for. */
  readonly caFile: string;
  readonly minVersion?: "TLSv1.2" | "TLSv1.3";
  /** Whose files they are, and how its options begin, for messages. Default: those of the streaming server. */
  readonly server?: { readonly name: string; readonly options: string };
}

const STREAMING = { name: "streaming", options: "stream_tls_" };

/** What node:https takes. */
export interface TlsSettings {
  readonly cert: string;
  readonly key: string;
  readonly ca?: string;
  readonly requestCert?: boolean;
  readonly rejectUnauthorized?: boolean;
  readonly minVersion: "TLSv1.2" | "TLSv1.3";
}

/** Certificate managers write several files, one after the other. */
const SETTLE_MS = 500;

/** The files behind a TLS server, read again when they change. */
export class TlsFiles implements Disposable {
  #settings: TlsSettings;
  #watcher: Deno.FsWatcher | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  private constructor(private readonly options: TlsOptions, private readonly log: Logger, settings: TlsSettings) {
    this.#settings = settings;
  }

  /** @throws InvalidArgumentError when a file cannot be read */
  static async open(options: TlsOptions, log: Logger): Promise<TlsFiles> {
    return new TlsFiles(options, log, await read(options));
  }

  settings(): TlsSettings {
    return this.#settings;
  }

  /** Calls `apply` with the new contents after a change. Files that cannot be read leave the old ones in force. */
  watch(apply: (settings: TlsSettings) => void): void {
    const { certFile, keyFile, caFile } = this.options;
    const folders = new Set([certFile, keyFile, caFile].filter((path) => path !== "").map(folderOf));
    this.#watcher = Deno.watchFs([...folders], { recursive: false });
    this.#follow(this.#watcher, apply).catch((error) =>
      this.log.warn(`TLS files are not watched: ${messageOf(error)}`)
    );
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  async #follow(watcher: Deno.FsWatcher, apply: (settings: TlsSettings) => void): Promise<void> {
    for await (const { kind } of watcher) {
      if (kind === "access") continue;
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#reload(apply), SETTLE_MS);
    }
  }

  #reload(apply: (settings: TlsSettings) => void): void {
    read(this.options).then((settings) => {
      if (JSON.stringify(settings) === JSON.stringify(this.#settings)) return;
      apply(settings);
      this.#settings = settings;
      this.log.info(`TLS files of the ${(this.options.server ?? STREAMING).name} server have been read again`);
    }).catch((error) => this.log.error(`new TLS files are not used: ${messageOf(error)}`));
  }
}

async function read(options: TlsOptions): Promise<TlsSettings> {
  const { certFile, keyFile, caFile, minVersion = "TLSv1.2" } = options;
  const prefix = (options.server ?? STREAMING).options;
  const [cert, key] = await Promise.all([contents(certFile, `${prefix}cert`), contents(keyFile, `${prefix}key`)]);
  const plain = { cert, key, minVersion };
  if (caFile === "") return plain;
  return { ...plain, ca: await contents(caFile, `${prefix}ca`), requestCert: true, rejectUnauthorized: true };
}

async function contents(path: string, option: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (cause) {
    throw new InvalidArgumentError(`${option}: cannot read ${JSON.stringify(path)}: ${messageOf(cause)}`, { cause });
  }
}

function folderOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}
