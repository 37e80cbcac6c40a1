/** What an archive entry makes. */
export type EntryType = "file" | "directory" | "symlink" | "hardlink" | "character" | "block" | "fifo";

/** A stretch of a sparse file that holds data; everything else of the file is zero. */
export interface Extent {
  /** Offset in the file, bytes. */
  readonly offset: number;
  readonly sizeBytes: number;
}

/** Seconds and nanoseconds (0 to 999,999,999) since the epoch. */
export interface FileTime {
  readonly seconds: number;
  readonly nanos: number;
}

/** One entry of a layer archive. Names are bytes in a string: each character is one byte (0 to 255). */
export interface TarEntry {
  readonly name: string;
  readonly linkName: string;
  readonly type: EntryType;
  /** Permission bits with setuid, setgid and sticky: at most 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Size of the file that results, bytes. */
  readonly sizeBytes: number;
  /** Bytes of payload in the archive: less than `sizeBytes` for a sparse file. */
  readonly storedBytes: number;
  readonly mtime: FileTime;
  readonly atime: FileTime | undefined;
  readonly deviceMajor: number;
  readonly deviceMinor: number;
  /** Attribute name -> value, bytes in strings. */
  readonly xattrs: ReadonlyMap<string, string> | undefined;
  readonly sparse: readonly Extent[] | undefined;
  /** Offset of the entry's header in the archive, bytes. */
  readonly offset: number;
}
