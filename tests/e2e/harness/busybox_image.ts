import { buildTar } from "../../fakes/tar.ts";

const CANDIDATES = ["/bin/busybox", "/usr/bin/busybox", "/usr/lib/busybox/busybox"];

/** The layer tar of a small image: a static busybox with its applets, users, and the usual empty directories. */
export async function busyboxLayer(): Promise<Uint8Array> {
  const busybox = await readBusybox();
  const directories = ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "usr/bin", "var"];
  const applets = ["cat", "date", "echo", "env", "false", "head", "hostname", "id", "ip", "kill", "ls", "mount"];
  applets.push("nproc", "ps", "pwd", "seq", "sh", "sleep", "stat", "tail", "test", "touch", "true", "uname", "wc");
  return buildTar([
    ...directories.map((name) => ({ name: `${name}/`, type: "5", mode: name === "tmp" ? 0o1777 : 0o755 })),
    { name: "bin/busybox", body: busybox, mode: 0o755 },
    ...applets.map((name) => ({ name: `bin/${name}`, type: "2", linkName: "busybox", mode: 0o777 })),
    {
      name: "etc/passwd",
      body: "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    },
    { name: "etc/group", body: "root:x:0:\nextra:x:50000:user\nnobody:x:65534:\n" },
  ]);
}

/** The config of an image made of {@link busyboxLayer}. */
export const BUSYBOX_CONFIG = { Env: ["PATH=/bin:/usr/bin"], Cmd: ["/bin/sh"] };

async function readBusybox(): Promise<Uint8Array> {
  for (const path of CANDIDATES) {
    const bytes = await Deno.readFile(path).catch(() => undefined);
    if (bytes !== undefined) return bytes;
  }
  throw new Error("no busybox found: install the package busybox-static");
}
