/** Names of archive entries: bytes in strings. */

/** Finds a component that is empty, `.` or `..`. */
const ODD_COMPONENT = /(?:^|\/)\.{0,2}(?:\/|$)/;

/**
 * The path below the layer's root that a name means: no leading or trailing slash, no `.` and no empty component; `..`
 * is resolved in the text (as Go's filepath.Clean does, before any link is followed) and stops at the root. The root
 * itself is "".
 */
export function cleanPath(name: string): string {
  const path = name.endsWith("/") ? name.slice(0, -1) : name;
  if (!ODD_COMPONENT.test(path)) return path;
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** The path of the directory that holds a clean path; "" for the root. */
export function parentOf(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash === -1 ? "" : path.slice(0, slash);
}

/** The last component of a clean path. */
export function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

/** The name's bytes with a NUL at the end. */
export function cBytes(name: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(name.length + 1);
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}
