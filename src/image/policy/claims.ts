/** What a signed payload says: containers-signature(5) and cosign's form of it. */
import { InvalidArgumentError } from "../../base/errors.ts";
import { type Digest, parseDigest } from "../../base/ids.ts";
import { type JsonObject, parseStrictJson, shown, strictObject, strictText } from "./strict_json.ts";

/** The image that a signature is for. */
export interface Claims {
  readonly digest: Digest;
  readonly reference: string;
}

const TYPES = { simple: "atomic container signature", sigstore: "cosign container image signature" } as const;

/**
 * Reads a payload whose signature was checked.
 *
 * @throws InvalidArgumentError for a payload that is not exactly of that form
 */
export function parseClaims(payload: Uint8Array, format: keyof typeof TYPES): Claims {
  const document = exactly(parseStrictJson(decode(payload)), "the payload", ["critical", "optional"]);
  checkOptional(document["optional"], format);
  const critical = exactly(document["critical"], "critical", ["type", "image", "identity"]);
  const type = strictText(critical["type"], "critical.type");
  if (type !== TYPES[format]) throw new InvalidArgumentError(`it is a ${shown(type)}, not a ${shown(TYPES[format])}`);
  const image = exactly(critical["image"], "critical.image", ["docker-manifest-digest"]);
  const identity = exactly(critical["identity"], "critical.identity", ["docker-reference"]);
  const reference = identity["docker-reference"];
  if (typeof reference !== "string") throw new InvalidArgumentError("docker-reference is not a text");
  return { digest: parseDigest(strictText(image["docker-manifest-digest"], "docker-manifest-digest")), reference };
}

/** cosign writes null where nothing was given; nobody acts on what was. */
function checkOptional(value: unknown, format: keyof typeof TYPES): void {
  if (value === null && format === "sigstore") return;
  const { creator, timestamp } = strictObject(value, "optional");
  if (creator !== undefined && creator !== null && typeof creator !== "string") {
    throw new InvalidArgumentError("optional.creator is not a text");
  }
  if (timestamp !== undefined && timestamp !== null && !Number.isInteger(timestamp)) {
    throw new InvalidArgumentError("optional.timestamp is not an integer");
  }
}

function exactly(value: unknown, what: string, keys: readonly string[]): JsonObject {
  const found = strictObject(value, what, keys);
  const missing = keys.find((key) => found[key] === undefined);
  if (missing !== undefined) throw new InvalidArgumentError(`${what} has no ${missing}`);
  return found;
}

function decode(payload: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(payload);
  } catch (error) {
    throw new InvalidArgumentError("the payload is not UTF-8", { cause: error });
  }
}
