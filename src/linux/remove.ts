/**
 * Removes a file, or a directory with all that is in it; succeeds when it is not there. Not for paths that a container or
 * an image controls: see `removeInRoot` of `rooted.ts`.
 */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}
