/** Below it the daemon puts pods that name no cgroup of their own, as most of critest's do; it stays when they go. */
const NAME = "crio";
const ROOT = "/sys/fs/cgroup";

/** Those parents of pods, in each hierarchy: what was not there before is removed afterwards, when it is empty. */
export class DefaultCgroups implements AsyncDisposable {
  private constructor(private readonly before: ReadonlySet<string>) {}

  static async remember(): Promise<DefaultCgroups> {
    return new DefaultCgroups(new Set(await existing()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const directory of await existing()) {
      if (this.before.has(directory)) continue;
      // Not empty: pods of another daemon came meanwhile.
      await Deno.remove(directory).catch(() => {});
    }
  }
}

async function existing(): Promise<string[]> {
  const hierarchies = [ROOT];
  for await (const entry of Deno.readDir(ROOT)) if (entry.isDirectory) hierarchies.push(`${ROOT}/${entry.name}`);
  const found: string[] = [];
  for (const hierarchy of hierarchies) {
    const directory = `${hierarchy}/${NAME}`;
    if (await Deno.stat(directory).then((info) => info.isDirectory, () => false)) found.push(directory);
  }
  return found;
}
