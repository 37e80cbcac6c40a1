import { DataLossError, messageOf } from "../base/errors.ts";
import { writeFileAtomic } from "../linux/atomic_file.ts";
import type { StoreLock } from "./_store_lock.ts";

/** A record as it stands in the file: fields that we do not know are kept when it is written again. */
export type RawRecord = Readonly<Record<string, unknown>>;

/** One file of records. */
export interface RecordFile {
  readonly path: string;
  /** Synced on every write; a volatile file is not. */
  readonly durable: boolean;
}

/** A reader that waits longer than this reads without the lock. */
const READ_PATIENCE_MS = 20;

interface Located {
  readonly record: RawRecord;
  /** Index of its file. */
  readonly file: number;
}

interface Loaded {
  readonly token: string;
  readonly records: ReadonlyMap<string, Located>;
  readonly view: ReadonlyMap<string, RawRecord>;
}

/**
 * The records of one kind (layers, images, containers, mounts): JSON arrays in one or two files under one lock.
 *
 * They are read again only when the lock file's token says that another program wrote.
 */
export class RecordTable {
  #loaded: Loaded | undefined;

  constructor(readonly lock: StoreLock, private readonly files: readonly RecordFile[]) {}

  /**
   * The records by id, in file order. Costs a 64-byte read while nobody else writes; never waits long.
   *
   * @throws DataLossError when a file is damaged
   */
  async read(options: { readonly signal?: AbortSignal } = {}): Promise<ReadonlyMap<string, RawRecord>> {
    const known = this.#loaded;
    if (known !== undefined && known.token === this.lock.token()) return known.view;
    using held = await this.#lockSoon(options);
    if (held !== undefined) return (await this.#current()).view;
    // Files are replaced whole, so this is some recent state; it is not remembered, as its token is not known.
    return (await this.#load("")).view;
  }

  /** Takes the lock for writing; nothing is written before `save`. */
  async begin(options: { readonly signal?: AbortSignal } = {}): Promise<RecordTransaction> {
    const held = await this.lock.acquire("write", options);
    try {
      return new RecordTransaction(held, (await this.#current()).records, (draft) => this.#write(draft));
    } catch (error) {
      held[Symbol.dispose]();
      throw error;
    }
  }

  /** The lock for reading, or undefined when a writer keeps it: some hold it while they unpack a whole layer. */
  async #lockSoon(options: { readonly signal?: AbortSignal }): Promise<Disposable | undefined> {
    options.signal?.throwIfAborted();
    const patience = new AbortController();
    const timer = setTimeout(() => patience.abort(), READ_PATIENCE_MS);
    try {
      return await this.lock.acquire("read", { signal: patience.signal });
    } catch (error) {
      if (!patience.signal.aborted) throw error;
      options.signal?.throwIfAborted();
      return undefined;
    } finally {
      clearTimeout(timer);
    }
  }

  async #current(): Promise<Loaded> {
    const token = this.lock.token();
    if (this.#loaded !== undefined && this.#loaded.token === token) return this.#loaded;
    return this.#loaded = await this.#load(token);
  }

  async #load(token: string): Promise<Loaded> {
    const records = new Map<string, Located>();
    for (const [index, file] of this.files.entries()) {
      for (const record of await readRecords(file.path)) records.set(record["id"] as string, { record, file: index });
    }
    return loaded(token, records);
  }

  async #write(draft: Draft): Promise<void> {
    // Whatever happens to the files, this process reads them again unless all of them were written.
    this.#loaded = undefined;
    // The token first: a crash between two files, or after them, must not leave others with what they remember.
    const token = this.lock.renewToken();
    await Promise.all([...draft.changed].map((index) => this.#writeFile(index, draft.records)));
    this.#loaded = loaded(token, new Map(draft.records));
  }

  async #writeFile(index: number, records: ReadonlyMap<string, Located>): Promise<void> {
    const file = this.files[index];
    if (file === undefined) throw new RangeError(`no record file ${index}`);
    const list: RawRecord[] = [];
    for (const located of records.values()) if (located.file === index) list.push(located.record);
    const bytes = new TextEncoder().encode(JSON.stringify(list));
    await writeFileAtomic(file.path, bytes, { durable: file.durable });
  }
}

interface Draft {
  readonly records: Map<string, Located>;
  readonly changed: Set<number>;
}

/** Changes to one table while its lock is held. Disposing without `save` drops them. */
export class RecordTransaction implements Disposable {
  readonly #draft: Draft;

  constructor(
    private readonly held: Disposable,
    records: ReadonlyMap<string, Located>,
    private readonly write: (draft: Draft) => Promise<void>,
  ) {
    this.#draft = { records: new Map(records), changed: new Set() };
  }

  get(id: string): RawRecord | undefined {
    return this.#draft.records.get(id)?.record;
  }

  *values(): IterableIterator<RawRecord> {
    for (const located of this.#draft.records.values()) yield located.record;
  }

  /** Adds or replaces; a record stays in the file where it is, a new one goes to `file` (0). */
  put(record: RawRecord & { readonly id: string }, options: { readonly file?: number } = {}): void {
    const file = this.#draft.records.get(record.id)?.file ?? options.file ?? 0;
    this.#draft.records.set(record.id, { record, file });
    this.#draft.changed.add(file);
  }

  /** @returns whether there was such a record */
  remove(id: string): boolean {
    const located = this.#draft.records.get(id);
    if (located === undefined) return false;
    this.#draft.records.delete(id);
    this.#draft.changed.add(located.file);
    return true;
  }

  /** Writes the files that changed and renews the token; a transaction without changes writes nothing. */
  async save(): Promise<void> {
    if (this.#draft.changed.size > 0) await this.write(this.#draft);
    this.#draft.changed.clear();
  }

  [Symbol.dispose](): void {
    this.held[Symbol.dispose]();
  }
}

/** The strings of a list field; anything else in it is left out. */
export function strings(record: RawRecord, field: string): readonly string[] {
  const value = record[field];
  return Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
}

/** A string field, or undefined when it is absent, empty or no string. */
export function text(record: RawRecord, field: string): string | undefined {
  const value = record[field];
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** A number field, or undefined. */
export function number(record: RawRecord, field: string): number | undefined {
  const value = record[field];
  return typeof value === "number" ? value : undefined;
}

/** An object field, or an empty one. */
export function object(record: RawRecord, field: string): RawRecord {
  const value = record[field];
  return typeof value === "object" && value !== null && !Array.isArray(value) ? value as RawRecord : {};
}

function loaded(token: string, records: ReadonlyMap<string, Located>): Loaded {
  return { token, records, view: new Map([...records].map(([id, located]) => [id, located.record])) };
}

/** The records of one file; none when it is not there. @throws DataLossError when it is damaged */
export async function readRecords(path: string): Promise<RawRecord[]> {
  let content: string;
  try {
    content = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  let parsed: unknown;
  try {
    parsed = content === "" ? [] : JSON.parse(content);
  } catch (error) {
    throw damaged(path, messageOf(error), error);
  }
  if (parsed === null) return [];
  if (!Array.isArray(parsed)) throw damaged(path, "it is not a list of records");
  for (const [index, record] of parsed.entries()) {
    const id: unknown = typeof record === "object" && record !== null ? record.id : undefined;
    if (typeof id !== "string" || !isPlainId(id)) throw damaged(path, `record ${index} has no usable id`);
  }
  return parsed;
}

/** Ids become file names: no separators, no dot names. (podman and buildah use 64 hex digits; tests of theirs do not.) */
function isPlainId(id: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}$/.test(id);
}

function damaged(path: string, why: string, cause?: unknown): DataLossError {
  return new DataLossError(
    `store file ${path} is damaged: ${why}; restore it from a backup, or empty the store with \`crio check --repair --wipe\``,
    { cause },
  );
}
