/** What Debian's skopeo and buildah push to Debian's registry, pulled from there. */
import { deepEqual, equal, match } from "node:assert/strict";
import { openLibraries } from "../../src/linux/warm_up.ts";
import { runCommand } from "../../src/linux/command.ts";
import { addArtifact } from "../fakes/artifact.ts";
import { buildTar } from "../fakes/tar.ts";
import { layoutOf, skopeo } from "./layouts.ts";
import { type PullNode, withNode } from "./pull_node.ts";

openLibraries();

const ENVIRONMENT = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const LAYERS = [
  buildTar([{ name: "etc/one", body: "1".repeat(5000) }, { name: "bin/", type: "5" }]),
  buildTar([{ name: "etc/two", body: "2" }, { name: "etc/.wh.one", body: "" }]),
];

/** Debian's docker-registry on a port of its own. */
class Registry implements AsyncDisposable {
  private constructor(
    readonly host: string,
    private readonly child: Deno.ChildProcess,
    private readonly directory: string,
  ) {}

  static async start(): Promise<Registry> {
    const directory = await Deno.makeTempDir({ prefix: "docker-registry-" });
    const config = {
      version: 0.1,
      log: { level: "info", accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: directory } },
      http: { addr: "127.0.0.1:0" },
    };
    await Deno.writeTextFile(`${directory}/config.yml`, JSON.stringify(config));
    const command = new Deno.Command("/usr/bin/docker-registry", {
      args: ["serve", `${directory}/config.yml`],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
      env: { OTEL_TRACES_EXPORTER: "none" },
    });
    const child = command.spawn();
    const { promise, resolve } = Promise.withResolvers<string>();
    let seen = "";
    const decoder = new TextDecoder();
    child.stderr.pipeTo(
      new WritableStream({
        write: (bytes) => {
          seen += decoder.decode(bytes, { stream: true });
          const address = /listening on (127\.0\.0\.1:\d+)/.exec(seen)?.[1];
          if (address !== undefined) resolve(address);
        },
        close: () => resolve(""),
      }),
    ).catch(() => {});
    const host = await promise;
    if (host === "") throw new Error(`docker-registry does not listen: ${seen.slice(-500)}`);
    return new Registry(host, child, directory);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.kill("SIGTERM");
    await this.child.status;
    await Deno.remove(this.directory, { recursive: true });
  }
}

async function withRegistry(
  body: (node: PullNode, registry: Registry) => Promise<void>,
  images: { readonly decryptionKeysPath?: string } = {},
): Promise<void> {
  await using registry = await Registry.start();
  const config = (): string => `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`;
  await withNode({ config, images }, (node) => body(node, registry));
}

const push = (...args: readonly string[]): Promise<void> => skopeo("copy", "-q", "--dest-tls-verify=false", ...args);

/** What a container of the image would see. */
async function filesOf({ store }: PullNode, id: Parameters<PullNode["store"]["mountImage"]>[0]): Promise<string[]> {
  const root = await store.mountImage(id);
  const names = await Array.fromAsync(Deno.readDir(`${root}/etc`), ({ name }) => name);
  await store.unmountImage(id);
  return names.sort();
}

Deno.test("skopeo pushes zstd:chunked, gzip and Docker's form of one image: all give the same files", async () => {
  await using layout = await layoutOf(LAYERS);
  const ways: ReadonlyArray<readonly [name: string, mediaType: RegExp, options: readonly string[]]> = [
    ["chunked", /oci.*\+zstd$/, ["--dest-compress", "--dest-compress-format", "zstd:chunked"]],
    ["zstd", /oci.*\+zstd$/, ["--dest-compress", "--dest-compress-format", "zstd", "--dest-compress-level", "19"]],
    ["gzip", /oci.*\+gzip$/, []],
    ["docker", /docker.*gzip$/, ["--format", "v2s2"]],
  ];
  const tops = new Set<string | undefined>();
  for (const [name, mediaType, options] of ways) {
    // A registry of its own each: what is there in another form would be taken for it.
    await withRegistry(async (node, { host }) => {
      await push(...options, `oci:${layout.path}:plain`, `docker://${host}/${name}:1`);
      const id = await node.images.pull({ image: `${host}/${name}:1` });
      deepEqual(await filesOf(node, id), ["two"], name);
      const manifest = JSON.parse(new TextDecoder().decode(await node.store.imageManifest(id)));
      for (const layer of manifest.layers) match(layer.mediaType, mediaType, name);
      tops.add((await node.store.images()).find((image) => image.id === id)?.topLayer);
    });
  }
  equal(tops.size, 1);
});

Deno.test("skopeo pushes an encrypted image: it is opened with the node's key", async () => {
  await using layout = await layoutOf(LAYERS);
  const keys = await Deno.makeTempDir({ prefix: "keys-" });
  try {
    await runCommand(["/usr/bin/openssl", "genrsa", "-out", `${keys}/node.pem`, "4096"]);
    const toPublic = [
      "/usr/bin/openssl",
      "rsa",
      "-in",
      `${keys}/node.pem`,
      "-pubout",
      "-out",
      `${layout.path}/public.pem`,
    ];
    await runCommand(toPublic);
    await withRegistry(async (node, { host }) => {
      const key = `jwe:${layout.path}/public.pem`;
      await push("--encryption-key", key, `oci:${layout.path}:plain`, `docker://${host}/secret:1`);
      deepEqual(await filesOf(node, await node.images.pull({ image: `${host}/secret:1` })), ["two"]);
    }, { decryptionKeysPath: keys });
  } finally {
    await Deno.remove(keys, { recursive: true });
  }
});

Deno.test("buildah makes and pushes an image of several platforms: this node's is taken", async () => {
  await withRegistry(async (node, { host }) => {
    const storage = `${node.root}/buildah`;
    const buildah = async (...args: readonly string[]): Promise<string> => {
      const roots = ["--root", `${storage}/root`, "--runroot", `${storage}/run`, "--storage-driver", "vfs"];
      const { stdout } = await runCommand(["/usr/bin/buildah", ...roots, ...args], {
        env: { ...ENVIRONMENT, HOME: node.root, BUILDAH_ISOLATION: "chroot", TMPDIR: node.root },
      });
      return new TextDecoder().decode(stdout).trim();
    };
    await buildah("manifest", "create", "list");
    const own = Deno.build.arch === "aarch64" ? "arm64" : "amd64";
    for (const [arch, variant] of [["arm", "v6"], ["arm", "v7"], ["s390x", ""], [own, ""]] as const) {
      const container = await buildah(
        "from",
        "--arch",
        arch,
        ...(variant === "" ? [] : ["--variant", variant]),
        "scratch",
      );
      await Deno.writeTextFile(`${node.root}/file`, `${arch}${variant}`);
      await buildah("copy", container, `${node.root}/file`, "/etc/arch");
      await buildah("config", "--user", "1000", "--label", `arch=${arch}`, container);
      const image = `localhost/${arch}${variant}:1`;
      await buildah("commit", "--format", "docker", "--rm", container, image);
      await buildah(
        "manifest",
        "add",
        "--arch",
        arch,
        ...(variant === "" ? [] : ["--variant", variant]),
        "list",
        image,
      );
    }
    await buildah(
      "manifest",
      "push",
      "--all",
      "--tls-verify=false",
      "--format",
      "v2s2",
      "list",
      `docker://${host}/multi:1`,
    );
    const { images, store } = node;
    const id = await images.pull({ image: `${host}/multi:1` });
    const root = await store.mountImage(id);
    equal(await Deno.readTextFile(`${root}/etc/arch`), own);
    await store.unmountImage(id);
    const info = await images.find(id);
    equal(info?.user, "1000");
    equal(info?.repoDigests.length, 2, "of the list and of the member");
    await Deno.remove(storage, { recursive: true });
  });
});

Deno.test("skopeo pushes an artifact: it is stored, and read by skopeo from our store", async () => {
  await withRegistry(async ({ all, registry: fake, root }, { host }) => {
    const model = addArtifact(fake, { name: "model", files: [{ title: "model.bin", body: "weights".repeat(1000) }] });
    await push("--src-tls-verify=false", `docker://${model.reference}`, `docker://${host}/models/small:1`);
    equal(await all.pull({ image: `${host}/models/small:1` }), model.id);
    const name = `oci:${root}/graph/artifacts:${host}/models/small:1`;
    await skopeo("copy", "-q", name, `dir:${root}/copy`);
    match(await Deno.readTextFile(`${root}/copy/${model.blobs[0]?.slice(7)}`), /^(?:weights)+$/);
  });
});
