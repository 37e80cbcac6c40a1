import { Lab } from "../harness/lab.ts";

/** Path of a runtime that can do what Debian's cannot; `CRIO_NEW_RUNTIME` names one. */
export async function newRuntime(): Promise<string | undefined> {
  const cache = Deno.env.get("XDG_CACHE_HOME") ?? `${Deno.env.get("HOME")}/.cache`;
  for (const path of [Deno.env.get("CRIO_NEW_RUNTIME"), `${cache}/crio-dev/bin/runc-v1.5.3`]) {
    if (path !== undefined && await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  return undefined;
}

/** A lab with the image, and with the handler `new` where there is such a runtime. */
export async function fieldLab(defaultRuntime: "crun" | "runc"): Promise<Lab> {
  const path = await newRuntime();
  const handler = `[crio.runtime.runtimes.new]\nruntime_path = "${path}"\nruntime_root = "/run/runc/new"\n`;
  const lab = await Lab.start({ defaultRuntime, ...(path === undefined ? {} : { extraConfig: handler }) });
  await lab.pull();
  return lab;
}
