/** A store, a pull process and a registry of one's own: what a pull needs. */
import { deepEqual } from "node:assert/strict";
import type { LogFields, Logger } from "../../src/base/logger.ts";
import { Artifacts } from "../../src/image/artifacts/artifacts.ts";
import { ImagesWithArtifacts } from "../../src/image/artifacts/images_with_artifacts.ts";
import { Images, type ImagesOptions } from "../../src/image/images.ts";
import { ImageTrust } from "../../src/image/policy/trust.ts";
import { RunningPulls } from "../../src/image/progress/running_pulls.ts";
import { PullClient } from "../../src/image/pull_client.ts";
import { unmount } from "../../src/linux/mount.ts";
import { Store } from "../../src/storage/store.ts";
import { FakeRegistry, type FakeRegistryOptions } from "../fakes/registry.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** What a test pulls with. */
export interface PullNode {
  readonly images: Images;
  readonly artifacts: Artifacts;
  /** Both, as the CRI sees them. */
  readonly all: ImagesWithArtifacts;
  readonly store: Store;
  readonly client: PullClient;
  readonly registry: FakeRegistry;
  readonly root: string;
  readonly used: Set<string>;
  /** All that was logged, level first. */
  readonly lines: string[];
}

/** Runs `body` with a node in a directory of its own, which goes afterwards. */
export async function withNode(
  options: FakeRegistryOptions & {
    readonly images?: Partial<ImagesOptions>;
    readonly pulls?: RunningPulls;
    readonly additionalArtifactStores?: readonly string[];
    readonly config?: (host: string) => string;
  },
  body: (node: PullNode) => Promise<void>,
): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "image-pull-" });
  const graphRoot = `${root}/graph`;
  const lines: string[] = [];
  const log = recorder((line) => void lines.push(line));
  try {
    await using registry = await FakeRegistry.start(options);
    await using store = await Store.open({ graphRoot, runRoot: `${root}/run`, logger: log });
    await using client = new PullClient({
      command: () => [Deno.execPath(), "run", "--allow-all", "--no-check", MAIN],
      log,
      environment: Deno.env.toObject(),
    });
    const config = options.config?.(registry.host) ?? `[[registry]]\nlocation = "${registry.host}"\ninsecure = true\n`;
    await Deno.writeTextFile(`${root}/registries.conf`, config);
    await Deno.writeTextFile(`${root}/policy.json`, `{"default":[{"type":"insecureAcceptAnything"}]}`);
    const used = new Set<string>();
    const pulls = options.pulls ?? new RunningPulls();
    const deps = { log, inUse: (id: string): boolean => used.has(id) };
    using artifacts = new Artifacts({
      directory: `${graphRoot}/artifacts`,
      additional: options.additionalArtifactStores ?? [],
      pinnedImages: options.images?.pinnedImages ?? [],
    }, deps);
    const settings = {
      registriesFile: `${root}/registries.conf`,
      registriesDirectory: `${root}/none`,
      policyFile: `${root}/policy.json`,
      lookasideDirectory: `${root}/registries.d`,
      retryBaseMs: 1,
      environment: { HOME: root },
      ...options.images,
    };
    const images = new Images(settings, { store, puller: client, pulls, ...deps, artifacts: artifacts.own });
    const trust = new ImageTrust(settings, { store: artifacts, verifier: client, log });
    const all = new ImagesWithArtifacts({ images, artifacts, store, trust });
    await body({ images, artifacts, all, store, client, registry, root, used, lines });
  } finally {
    await unmount(`${graphRoot}/overlay`).catch(() => {});
    await Deno.remove(root, { recursive: true });
  }
}

/** A logger that gives each line, level first, to `said`. */
export function recorder(said: (line: string) => void): Logger {
  const at = (level: string) => (message: string, fields: LogFields = {}): void => {
    said([level, message, ...Object.entries(fields).map(([key, value]) => `${key}=${value}`)].join(" "));
  };
  const log: Logger = {
    error: at("error"),
    warn: at("warn"),
    info: at("info"),
    debug: at("debug"),
    trace: at("trace"),
    with: () => log,
  };
  return log;
}

/** No layer, no file of a stage is left: only what the store itself keeps while it is open. */
export async function isClean(root: string): Promise<void> {
  const left: string[] = [];
  for (const place of [`${root}/graph/overlay`, `${root}/graph/overlay-layers`, `${root}/graph`]) {
    const { stdout } = await new Deno.Command("find", {
      args: [place, "-name", "*.tar-split.gz", "-o", "-name", "diff"],
    })
      .output();
    left.push(...new TextDecoder().decode(stdout).split("\n").filter((line) => line !== ""));
  }
  deepEqual(left, []);
}
