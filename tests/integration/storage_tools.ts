/** The other programs that share a store, as the tests start them. */
import { randomHex } from "../../src/base/ids.ts";
import { runCommand } from "../../src/linux/command.ts";
import { mountsBelow, type Roots, type TestImage, writeLayout } from "../unit/storage/store_fixture.ts";

/** podman's own limits ask for more than a machine without CAP_SYS_RESOURCE may give. */
export const LIMITS = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

/** Runs a program and gives what it wrote, trimmed. @throws CommandError when it fails */
export async function tool(argv: readonly string[]): Promise<string> {
  const signal = AbortSignal.timeout(60_000);
  const { stdout } = await runCommand(["/usr/bin/env", ...argv], { signal });
  return new TextDecoder().decode(stdout).trim();
}

/** A podman of these roots; its own files lie below their directory. */
export const podmanArgs = (roots: Roots): string[] => [
  "podman",
  "--root",
  roots.graphRoot,
  "--runroot",
  roots.runRoot,
  "--tmpdir",
  `${roots.directory}/libpod`,
  "--storage-driver",
  "overlay",
  "--cgroup-manager",
  "cgroupfs",
  "--runtime",
  "/usr/sbin/runc",
];

export const podman = (roots: Roots, ...args: string[]): Promise<string> => tool([...podmanArgs(roots), ...args]);
export const buildah = (roots: Roots, ...args: string[]): Promise<string> =>
  tool(["buildah", "--root", roots.graphRoot, "--runroot", roots.runRoot, "--storage-driver", "overlay", ...args]);
export const storageName = (roots: Roots, name: string): string =>
  `containers-storage:[overlay@${roots.graphRoot}+${roots.runRoot}]${name}`;

/** `skopeo copy` of an image into the store. */
export async function skopeoInto(roots: Roots, image: TestImage, name: string): Promise<void> {
  const layout = `${roots.directory}/layout-${randomHex(4)}`;
  await writeLayout(image, layout);
  await tool(["skopeo", "--insecure-policy", "copy", "-q", `oci:${layout}`, storageName(roots, name)]);
}

/** podman leaves mounts of its own below the roots when it ran containers. */
export async function podmanDone(roots: Roots): Promise<void> {
  const left = (await mountsBelow(roots.graphRoot)).filter((path) => path.includes("/overlay-containers/"));
  for (const path of left) await tool(["umount", "-l", path]);
}
