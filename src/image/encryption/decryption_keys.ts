import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject } from "node:crypto";

/** Larger files are no keys. */
const MAX_KEY_BYTES = 64 * 1024;
/** Each is tried on each encrypted layer. */
const MAX_KEYS = 64;
const MAX_DEPTH = 8;

/** What a directory of private keys holds. */
export interface DecryptionKeys {
  readonly directory: string;
  readonly keys: readonly KeyObject[];
  /** Why files in it are not used, for the error of an image that none of the keys opens. */
  readonly ignored: readonly string[];
}

/**
 * Reads the private keys of `decryption_keys_path`, subdirectories too: PEM, DER or JWK, RSA or elliptic curve, without a
 * password. Symbolic links are not followed, as in CRI-O. They are read for each encrypted image, so a new key counts at once.
 */
export async function readDecryptionKeys(directory: string): Promise<DecryptionKeys> {
  const keys: KeyObject[] = [];
  const ignored: string[] = [];
  for (const path of await filesBelow(directory, ignored)) {
    if (keys.length >= MAX_KEYS) {
      ignored.push(`${path} (more than ${MAX_KEYS} keys)`);
      continue;
    }
    try {
      keys.push(await readKey(path));
    } catch {
      // What the library says of a key may quote it.
      ignored.push(`${path} (no private key that can be read without a password)`);
    }
  }
  return { directory, keys, ignored };
}

async function filesBelow(directory: string, ignored: string[], depth = 0): Promise<readonly string[]> {
  const files: string[] = [];
  try {
    for await (const { name, isFile, isDirectory, isSymlink } of Deno.readDir(directory)) {
      const path = `${directory.replace(/\/+$/, "")}/${name}`;
      if (isSymlink) ignored.push(`${path} (a symbolic link)`);
      else if (isFile) files.push(path);
      else if (isDirectory && depth < MAX_DEPTH) files.push(...await filesBelow(path, ignored, depth + 1));
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) ignored.push(`${directory} (cannot be read)`);
  }
  return files.sort();
}

async function readKey(path: string): Promise<KeyObject> {
  if ((await Deno.stat(path)).size > MAX_KEY_BYTES) throw new RangeError("too long");
  const bytes = await Deno.readFile(path);
  const text = new TextDecoder().decode(bytes).trimStart();
  if (text.startsWith("-----BEGIN")) return createPrivateKey(text);
  if (text.startsWith("{")) return createPrivateKey({ key: JSON.parse(text), format: "jwk" });
  for (const type of ["pkcs8", "pkcs1", "sec1"] as const) {
    try {
      return createPrivateKey({ key: Buffer.from(bytes), format: "der", type });
    } catch {
      // Another form, or none.
    }
  }
  throw new TypeError("no private key");
}
