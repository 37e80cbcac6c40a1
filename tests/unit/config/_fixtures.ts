import type { ConfigHost } from "../../../src/config/adapt.ts";
import { type LoadOptions, loadValues } from "../../../src/config/load.ts";
import type { ConfigValues } from "../../../src/config/values.ts";

/** A host with these programs, found in /usr/bin. */
export function fakeHost(
  options: { systemd?: boolean; programs?: readonly string[]; filled?: readonly string[] } = {},
): ConfigHost {
  const { systemd = true, programs = ["crun", "runc", "conmon"], filled = [] } = options;
  return {
    systemd,
    hasFiles: (directory) => filled.includes(directory),
    findExecutable: (name) => {
      const found = programs.find((program) => program === name || `/usr/bin/${program}` === name);
      return found === undefined ? undefined : `/usr/bin/${found}`;
    },
  };
}

/** Loads these files (relative names) from a fresh directory: `crio.conf`, and what lies below `crio.conf.d`. */
export async function loadFiles(files: Record<string, string>, options: LoadOptions = {}): Promise<ConfigValues> {
  const directory = await Deno.makeTempDir({ prefix: "crio-config-" });
  try {
    await Deno.writeTextFile(`${directory}/crio.conf`, "");
    for (const [name, text] of Object.entries(files)) {
      await Deno.mkdir(`${directory}/${name}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeTextFile(`${directory}/${name}`, text);
    }
    return await loadValues({
      configPath: `${directory}/crio.conf`,
      configDir: `${directory}/crio.conf.d`,
      storageConfPaths: [`${directory}/storage.conf`],
      ...options,
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Loads one crio.conf. */
export function loadText(text: string, options: LoadOptions = {}): Promise<ConfigValues> {
  return loadFiles({ "crio.conf": text }, options);
}
