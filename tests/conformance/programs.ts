const SOURCES = new URL("./programs/", import.meta.url).pathname;
const COMPILED = ["pause", "effective_uid", "web_server"] as const;
const SCRIPTS = ["pgrep", "ipcs"] as const;
const PACKAGED = {
  busybox: { package: "busybox-static", paths: ["/bin/busybox", "/usr/bin/busybox"] },
  bash: { package: "bash-static", paths: ["/bin/bash-static", "/usr/bin/bash-static"] },
} as const;

/** What the images of the conformance run are made of. */
export type ProgramName = (typeof COMPILED)[number] | (typeof SCRIPTS)[number] | keyof typeof PACKAGED;

/**
 * Compiles the programs of `programs/` statically, and reads those of Debian's packages.
 *
 * @throws Error that names the missing package
 */
export async function buildPrograms(): Promise<Readonly<Record<ProgramName, Uint8Array>>> {
  const [pause, effective_uid, web_server] = await Promise.all([
    compile("pause"),
    compile("effective_uid"),
    compile("web_server"),
  ]);
  return {
    pause,
    effective_uid,
    web_server,
    pgrep: await Deno.readFile(`${SOURCES}pgrep.sh`),
    ipcs: await Deno.readFile(`${SOURCES}ipcs.sh`),
    busybox: await packaged("busybox"),
    bash: await packaged("bash"),
  };
}

async function compile(name: (typeof COMPILED)[number]): Promise<Uint8Array> {
  const directory = await Deno.makeTempDir({ prefix: "crio-conformance-" });
  try {
    const output = `${directory}/${name}`;
    const args = ["-Os", "-static", "-s", "-Wall", "-Wextra", "-o", output, `${SOURCES}${name}.c`];
    const { success, stderr } = await new Deno.Command("gcc", { args, stderr: "piped" }).output().catch(() => {
      throw new Error("no gcc: install the packages gcc and libc6-dev (scripts/setup --peers)");
    });
    if (!success) throw new Error(`gcc cannot compile ${name}.c: ${new TextDecoder().decode(stderr)}`);
    return await Deno.readFile(output);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

async function packaged(name: keyof typeof PACKAGED): Promise<Uint8Array> {
  for (const path of PACKAGED[name].paths) {
    const bytes = await Deno.readFile(path).catch(() => undefined);
    if (bytes !== undefined) return bytes;
  }
  throw new Error(`no static ${name} found: install the package ${PACKAGED[name].package} (scripts/setup --peers)`);
}
