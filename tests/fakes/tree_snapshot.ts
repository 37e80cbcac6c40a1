import { runCommand } from "../../src/linux/command.ts";

/**
 * All that can be told of the files below a directory, as text: path, type, mode, owner, time in nanoseconds, size,
 * number of links, link target, device number, attributes, content; and which names share an inode. The directory
 * itself is left out. What has a time after `recentSeconds` (made by the test, without a time of its own) shows none.
 */
export async function treeSnapshot(directory: string, options: { recentSeconds?: number } = {}): Promise<string> {
  const { recentSeconds = Infinity } = options;
  const script = `cd "$1" || exit 1
find . -mindepth 1 -type d -printf '%p\\t%y %m %U:%G\\t%T@\\n' -o \\
  -mindepth 1 -printf '%p\\t%y %m %U:%G %s %n %l\\t%T@\\n'
find . -mindepth 1 -type f -exec sha256sum {} +
find . -mindepth 1 \\( -type c -o -type b \\) -exec stat -c '%n device %t %T' {} +
find . -mindepth 1 -exec getfattr -h -d -m - -e hex {} +
find . -mindepth 1 -type f -links +1 -exec sh -c 'for f; do find . -samefile "$f" | sort | head -n1 | sed "s|^|$f same as |"; done' - {} +
exit 0`;
  const result = await runCommand(["/bin/sh", "-c", script, "-", directory], { maxOutputBytes: 64 << 20 });
  const lines = new TextDecoder("latin1").decode(result.stdout).split("\n").map((line) => {
    const [path, facts, time] = line.split("\t");
    if (path === undefined || facts === undefined || time === undefined) return line;
    return `${path} ${facts} ${Number(time.split(".")[0]) > recentSeconds ? "recent" : time}`;
  });
  return groups(lines).sort().join("\n");
}

/** getfattr gives several lines for a file: they are kept together. */
function groups(lines: readonly string[]): string[] {
  const all: string[] = [];
  let open: string | undefined;
  for (const line of lines) {
    if (line.startsWith("# file: ")) open = line;
    else if (open === undefined) all.push(line);
    else if (line !== "") open += ` ${line}`;
    else {
      all.push(open);
      open = undefined;
    }
  }
  return all;
}
