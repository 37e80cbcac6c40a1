/** Paths that a shell pattern matches (`*`, `?`, `[a-z]` within one name), in byte order. */
export async function matchingPaths(pattern: string): Promise<string[]> {
  if (!pattern.startsWith("/")) return [];
  let found = [""];
  for (const part of pattern.split("/").filter((name) => name !== "")) {
    const next = await Promise.all(found.map((directory) => step(directory, part)));
    found = next.flat();
  }
  return found.sort();
}

async function step(directory: string, part: string): Promise<string[]> {
  if (!/[*?[]/.test(part)) {
    const path = `${directory}/${part}`;
    return await Deno.lstat(path).then(() => [path], () => []);
  }
  const name = new RegExp(`^${source(part)}$`);
  try {
    const names = await Array.fromAsync(Deno.readDir(`${directory}/`));
    return names.filter((entry) => name.test(entry.name)).map((entry) => `${directory}/${entry.name}`);
  } catch {
    return []; // not a directory, or gone: nothing in it matches
  }
}

function source(part: string): string {
  return part.replace(
    /\[(!?)([^\]]+)\]|[\\^$.|?*+(){}[\]]/g,
    (char, not: string | undefined, set: string | undefined) => {
      if (set !== undefined) return `[${not === "!" ? "^" : ""}${set.replaceAll("\\", "\\\\")}]`;
      if (char === "*") return "[^/]*";
      return char === "?" ? "[^/]" : `\\${char}`;
    },
  );
}
