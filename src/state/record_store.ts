import { AlreadyExistsError, DataLossError, InvalidArgumentError, messageOf } from "../base/errors.ts";
import { KeyedMutex } from "../base/keyed_mutex.ts";
import type { Logger } from "../base/logger.ts";

/** What every stored record has. */
export interface StoredRecord {
  readonly version: number;
  readonly id: string;
  readonly name: string;
}

export interface RecordStoreOptions<R> {
  /** Made when absent; one file per record, `<id>.json`. */
  readonly directory: string;
  /** What the records are, for messages: `container`, `sandbox`. */
  readonly what: string;
  readonly log: Logger;
  /** Turns parsed JSON into a record, or throws: versions that this program does not know, missing fields. */
  readonly parse: (json: unknown) => R;
  /** The order of what is read from disk. Default: any. */
  readonly compare?: (a: R, b: R) => number;
}

/** Told of a change: `previous` is undefined for a new record, `record` for one that was removed. */
export type RecordListener<R> = (record: R | undefined, previous: R | undefined) => void;

const MIN_PREFIX = 1;

/**
 * Records in memory with a JSON file each: write to a temporary file, rename, then publish to memory.
 *
 * The files survive the daemon, not a power failure (no fsync: after a reboot nothing that they describe runs any
 * more, and a truncated file is dropped at the next start). Records are immutable; `update` replaces them.
 * Names are unique: `reserve` takes one before the record exists.
 */
export class RecordStore<R extends StoredRecord> {
  readonly #records = new Map<string, R>();
  readonly #idByName = new Map<string, string>();
  readonly #mutex = new KeyedMutex<string>();
  readonly #listeners = new Set<RecordListener<R>>();

  private constructor(private readonly options: RecordStoreOptions<R>) {}

  /** Reads all records. A file that is damaged is set aside as `<id>.json.damaged` with one error line. */
  static async open<R extends StoredRecord>(options: RecordStoreOptions<R>): Promise<RecordStore<R>> {
    const store = new RecordStore<R>(options);
    await Deno.mkdir(options.directory, { recursive: true, mode: 0o700 });
    const names: string[] = [];
    for await (const entry of Deno.readDir(options.directory)) {
      const path = `${options.directory}/${entry.name}`;
      if (entry.name.endsWith(".tmp")) await Deno.remove(path);
      else if (entry.name.endsWith(".json")) names.push(entry.name);
    }
    const records = await Promise.all(names.map((name) => store.#load(name)));
    for (const record of records.filter((one) => one !== undefined).sort(options.compare ?? (() => 0))) {
      store.#records.set(record.id, record);
      store.#idByName.set(record.name, record.id);
    }
    return store;
  }

  /** The record with exactly this id. */
  get(id: string): R | undefined {
    return this.#records.get(id);
  }

  /**
   * The record with this id, or whose id starts with it.
   *
   * @throws InvalidArgumentError when the prefix fits several records, or the id is empty
   */
  find(idOrPrefix: string): R | undefined {
    const exact = this.#records.get(idOrPrefix);
    if (exact !== undefined) return exact;
    const { what } = this.options;
    if (idOrPrefix.length < MIN_PREFIX) throw new InvalidArgumentError(`${what} id is empty`);
    let found: R | undefined;
    for (const record of this.#records.values()) {
      if (!record.id.startsWith(idOrPrefix)) continue;
      if (found !== undefined) {
        throw new InvalidArgumentError(`${what} id ${JSON.stringify(idOrPrefix)} fits more than one; use more digits`);
      }
      found = record;
    }
    return found;
  }

  /** The record that holds this name. */
  byName(name: string): R | undefined {
    const id = this.#idByName.get(name);
    return id === undefined ? undefined : this.#records.get(id);
  }

  /** All records, oldest first. */
  values(): IterableIterator<R> {
    return this.#records.values();
  }

  /** Number of records. */
  get size(): number {
    return this.#records.size;
  }

  /**
   * Writes a new record and takes its name.
   *
   * @throws AlreadyExistsError when the id or the name is taken
   */
  async insert(record: R): Promise<void> {
    const holder = this.#idByName.get(record.name);
    if (holder !== undefined || this.#records.has(record.id)) {
      const { what } = this.options;
      throw new AlreadyExistsError(`${what} name ${JSON.stringify(record.name)} is held by ${what} ${holder}`);
    }
    this.#idByName.set(record.name, record.id);
    try {
      using _lock = await this.#mutex.acquire(record.id);
      await this.#write(record);
    } catch (error) {
      this.#idByName.delete(record.name);
      throw error;
    }
    this.#records.set(record.id, record);
    this.#notify(record, undefined);
  }

  /**
   * Replaces a record by `change(record)`, one change at a time for each id. When `change` gives back the same object
   * nothing is written; when it throws nothing changes.
   *
   * @returns the record as it now is; undefined when there is none
   */
  async update(id: string, change: (record: R) => R): Promise<R | undefined> {
    using _lock = await this.#mutex.acquire(id);
    const before = this.#records.get(id);
    if (before === undefined) return undefined;
    const after = change(before);
    if (after === before) return before;
    await this.#write(after);
    this.#records.set(id, after);
    this.#notify(after, before);
    return after;
  }

  /** Deletes a record and frees its name; nothing happens when it is not there. */
  async remove(id: string): Promise<void> {
    using _lock = await this.#mutex.acquire(id);
    const record = this.#records.get(id);
    if (record === undefined) return;
    try {
      await Deno.remove(this.#path(id));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
    this.#records.delete(id);
    this.#idByName.delete(record.name);
    this.#notify(undefined, record);
  }

  /** Calls `listener` after each insert, update and removal; dispose to stop. Listeners must not throw. */
  subscribe(listener: RecordListener<R>): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: (): void => void this.#listeners.delete(listener) };
  }

  #notify(record: R | undefined, previous: R | undefined): void {
    for (const listener of this.#listeners) listener(record, previous);
  }

  #path(id: string): string {
    return `${this.options.directory}/${id}.json`;
  }

  async #write(record: R): Promise<void> {
    const path = this.#path(record.id);
    await Deno.writeTextFile(`${path}.tmp`, JSON.stringify(record), { mode: 0o600 });
    await Deno.rename(`${path}.tmp`, path);
  }

  async #load(fileName: string): Promise<R | undefined> {
    const { directory, what, log, parse } = this.options;
    const path = `${directory}/${fileName}`;
    try {
      const record = parse(JSON.parse(await Deno.readTextFile(path)));
      if (`${record.id}.json` !== fileName) throw new DataLossError(`record names id ${record.id}`);
      return record;
    } catch (error) {
      log.error(`${what} record is damaged and set aside: ${messageOf(error)}`, { path: `${path}.damaged` });
      await Deno.rename(path, `${path}.damaged`);
      return undefined;
    }
  }
}
