import { messageOf } from "../base/errors.ts";
import { VERSION } from "../base/version.ts";
import { writeFileAtomic } from "../linux/atomic_file.ts";

/** What a version file says: nothing has changed, there is none, or it was left by another minor version. */
export type VersionMark =
  | { readonly kind: "same" }
  | { readonly kind: "missing" }
  | { readonly kind: "other"; readonly found: string };

const MODE = 0o644;

/**
 * Reads `version_file` or `version_file_persist`: a JSON text with the version of whoever ran last, as CRI-O writes it.
 * A downgrade counts like an upgrade, and what cannot be read like another version.
 *
 * @param path empty: no file is kept, nothing ever changes
 */
export async function readVersionFile(path: string, current = VERSION): Promise<VersionMark> {
  if (path === "") return { kind: "same" };
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (error) {
    return error instanceof Deno.errors.NotFound ? { kind: "missing" } : { kind: "other", found: messageOf(error) };
  }
  const found = text.trim().replace(/^"(.*)"$/s, "$1");
  const minor = minorOf(found);
  return minor !== undefined && minor === minorOf(current) ? { kind: "same" } : { kind: "other", found };
}

/** Notes that this version ran. @throws Deno's file errors */
export async function writeVersionFile(path: string): Promise<void> {
  if (path === "") return;
  await Deno.mkdir(path.replace(/\/[^/]*$/, "") || "/", { recursive: true });
  await writeFileAtomic(path, new TextEncoder().encode(JSON.stringify(VERSION)), { mode: MODE });
}

/** `1.37` of `v1.37.0-rc.1`; undefined for what is no version. */
function minorOf(version: string): string | undefined {
  return /^v?(\d+\.\d+)(?:\.|$)/.exec(version)?.[1];
}
