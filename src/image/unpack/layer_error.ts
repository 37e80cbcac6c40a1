import { type ErrorKind, PodError } from "../../base/errors.ts";
import { ErrnoError } from "../../linux/errno.ts";

/** Where and why a layer was refused. */
export interface LayerErrorDetails extends ErrorOptions {
  /** `data_loss`: cut or damaged; `invalid_argument`: hostile, unsupported or over a limit; else the host's failure. */
  readonly kind: ErrorKind;
  /** Name of the archive entry, as bytes in a string; empty before the first one. */
  readonly entry: string;
  /** Offset in bytes of that entry's header in the uncompressed archive. */
  readonly offset: number;
}

const SHOWN_NAME_CHARS = 200;

/** A layer archive that cannot be unpacked: which entry, at what offset, why. */
export class LayerError extends PodError {
  override readonly kind: ErrorKind;
  readonly entry: string;
  readonly offset: number;

  constructor(readonly reason: string, details: LayerErrorDetails) {
    const entry = textOfName(details.entry);
    const where = entry === "" ? "" : ` entry ${JSON.stringify(entry.slice(0, SHOWN_NAME_CHARS))}`;
    super(`layer archive:${where} at byte ${details.offset}: ${reason}`, details);
    this.kind = details.kind;
    this.entry = entry;
    this.offset = details.offset;
  }
}

/** Failures of the kernel that the archive's content causes, not the host. */
const CAUSED_BY_CONTENT: ReadonlySet<string> = new Set([
  "ENOENT",
  "EEXIST",
  "ENOTDIR",
  "EISDIR",
  "EINVAL",
  "EFBIG",
  "ELOOP",
  "ENAMETOOLONG",
  "EXDEV",
  "EMLINK",
  "E2BIG",
  "ERANGE",
  "EOPNOTSUPP",
]);

/** Any failure while an entry is unpacked, as a LayerError; one that is a LayerError already stays as it is. */
export function asLayerError(thrown: unknown, place: { entry: string; offset: number }): unknown {
  if (!(thrown instanceof ErrnoError)) return thrown;
  const isLinkToDirectory = thrown.call === "linkat" && thrown.code === "EPERM";
  const isContent = isLinkToDirectory || CAUSED_BY_CONTENT.has(thrown.code);
  const kind = isContent ? "invalid_argument" : thrown.kind;
  return new LayerError(thrown.message, { ...place, kind, cause: thrown });
}

/** Bytes that a string of character codes below 256 stands for. */
export function bytesOfName(name: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(name.length);
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}

/** A name as text for people: UTF-8, with replacement characters where it is not. */
export function textOfName(name: string): string {
  return new TextDecoder().decode(bytesOfName(name));
}
