/** The top of the source tree, with a slash behind. */
export const ROOT = new URL("../../", import.meta.url).pathname;

/** A text file of the tree. */
export interface SourceFile {
  /** Relative to the top. */
  readonly path: string;
  readonly text: string;
}

const SKIPPED = new Set([".git", "dist", "node_modules", ".cache"]);
const TEXT = /\.(?:ts|md|json|jsonc|sh|conf|conflist|yaml|yml|service|proto|toml)$/;

/** All text files that people write: sources, scripts and documents; generated code and fixtures are left out. */
export async function sourceFiles(): Promise<readonly SourceFile[]> {
  const files: SourceFile[] = [];
  for await (const path of walk("")) {
    const isScript = path.startsWith("scripts/") || path.startsWith(".ci/");
    if (!TEXT.test(path) && !isScript) continue;
    if (/^src\/\w+\/gen\//.test(path) || path.startsWith("tests/fixtures/") || path === "deno.lock") continue;
    files.push({ path, text: await Deno.readTextFile(ROOT + path) });
  }
  return files;
}

async function* walk(directory: string): AsyncGenerator<string> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(ROOT + directory)) {
    if (SKIPPED.has(name)) continue;
    if (isDirectory) yield* walk(`${directory}${name}/`);
    else if (isFile) yield directory + name;
  }
}
