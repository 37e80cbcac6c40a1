/** Whether a path leads to something, links followed. What cannot be looked at, for whatever reason, does not count. */
export async function resolves(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/**
 * Whether there is an entry of this name, a link that leads nowhere too.
 *
 * @throws Deno.errors for what says neither yes nor no, such as a directory that may not be searched
 */
export async function entryExists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}
