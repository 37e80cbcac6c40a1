/** Keys and certificates that a policy names. */
import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import type { Material } from "./requirement.ts";

/** The contents of a file or of the policy itself. */
export interface Loaded {
  /** For messages. */
  readonly from: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** @throws FailedPreconditionError naming the file that cannot be read */
export async function loadMaterial({ paths, data }: Material): Promise<readonly Loaded[]> {
  if (data !== undefined) {
    return data.map((text) => ({ from: "data in the policy", bytes: Uint8Array.fromBase64(text) }));
  }
  return await Promise.all(paths.map(async (path) => {
    try {
      return { from: path, bytes: await Deno.readFile(path) };
    } catch (error) {
      throw new FailedPreconditionError(`read ${path}, which the signature policy names: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }));
}

/** Material as text. */
export function textOf({ bytes }: Loaded): string {
  return new TextDecoder().decode(bytes);
}
