/**
 * Daemon and pull process are killed at random moments of pulls and removals. Each time nothing may be damaged, every
 * answered call must have lasted, and podman must list, mount and run what is there.
 *
 * STORE_KILLS (default 10) and STORE_SEED set how often and in which order.
 */
import assert from "node:assert/strict";
import { ImageSpec } from "../../src/cri/gen/api.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { type Random, randomSource } from "./harness/realistic_image.ts";
import { checkStoreOf, PODMAN_RUN, podmanDone, podmanOf, problemsOf } from "./harness/store_tools.ts";

const NAMES = ["busybox", "nobody", "extra", "pause"];
const LONGEST_MS = 1200;
/** How often an image that is there is removed; otherwise it is pulled again. */
const REMOVALS = 0.4;

type State = "present" | "absent" | "unknown";

/** Pulls and removes one image, and remembers what was answered. */
class ImageWorker {
  state: State = "absent";
  readonly failures: string[] = [];

  constructor(private readonly lab: Lab, readonly image: string, private readonly random: Random) {}

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const before = this.state;
      const pulls = before !== "present" || this.random() >= REMOVALS;
      // A pull of what is there takes nothing away.
      if (before !== "present" || !pulls) this.state = "unknown";
      try {
        const image = message(ImageSpec, { image: this.image });
        await this.lab.daemon.client.call(pulls ? "pullImage" : "removeImage", { image });
        this.state = pulls ? "present" : "absent";
      } catch (error) {
        // The answer to a call that meets a kill is lost or an error, whatever was done.
        if (!signal.aborted) {
          this.failures.push(`${pulls ? "pull" : "removal"} of ${this.image}: ${error}`);
          return;
        }
      }
    }
  }

  /** @returns what is not as it was answered */
  difference(present: ReadonlySet<string>): string | undefined {
    const is = present.has(this.image) ? "present" : "absent";
    const before = this.state;
    this.state = is;
    return before === "unknown" || before === is
      ? undefined
      : `${this.image} is ${is}, and was answered to be ${before}`;
  }
}

interface Killed {
  readonly what: "daemon" | "pull process" | "daemon and pull process";
}

async function kill(lab: Lab, random: Random): Promise<Killed> {
  const pull = lab.daemon.processes().find(({ argv }) => argv.includes("internal") && argv.includes("pull"));
  const choice = random();
  if (pull !== undefined && choice < 0.5) Deno.kill(pull.pid, "SIGKILL");
  if (pull !== undefined && choice < 0.35) return { what: "pull process" };
  await lab.daemon.stop("SIGKILL");
  return { what: pull !== undefined && choice < 0.5 ? "daemon and pull process" : "daemon" };
}

Deno.test("killed at random moments of pulls and removals, the store is sound and podman can use it", async () => {
  const kills = Number(Deno.env.get("STORE_KILLS") ?? "10");
  const seed = Number(Deno.env.get("STORE_SEED") ?? Date.now() % 100_000);
  const random = randomSource(seed);
  await using lab = await Lab.start();
  const workers = NAMES.map((name) => new ImageWorker(lab, `${lab.registry.host}/bench/${name}:1`, random));
  const faults: string[] = [];
  const counts = { daemon: 0, "pull process": 0, "daemon and pull process": 0 };
  const seen = { images: 0, layers: 0, leftovers: 0, run: 0 };
  for (let i = 1; i <= kills; i++) {
    const stop = new AbortController();
    const work = Promise.all(workers.map((worker) => worker.run(stop.signal)));
    await new Promise((resolve) => setTimeout(resolve, random() * LONGEST_MS));
    stop.abort();
    const { what } = await kill(lab, random);
    counts[what] += 1;
    await work;
    const fault = (line: string): void => void faults.push(`kill ${i} (${what}): ${line}`);
    if (what !== "pull process") {
      const left = await checkStoreOf(lab);
      seen.leftovers += left.problems.length > 0 ? 1 : 0;
      const damage = { ...left, problems: left.problems.filter(({ subject }) => subject !== "leftover") };
      problemsOf(damage).forEach((line) => fault(`before the next start: ${line}`));
      await lab.daemon.start();
    }
    await examine(lab, workers, { fault, seen });
  }
  for (const worker of workers) faults.push(...worker.failures.map((line) => `without a kill: ${line}`));
  const figures = `STORE_SEED=${seed}: ${kills} kills ${JSON.stringify(counts)}, checked ${JSON.stringify(seen)}\n`;
  await Deno.stdout.write(new TextEncoder().encode(figures));
  faults.push(...await emptied(lab, workers));
  const report = [`STORE_SEED=${seed} STORE_KILLS=${kills}: ${faults.length} faults`, ...faults.slice(0, 40)];
  assert.ok(faults.length === 0, `${report.join("\n")}\n\nthe daemon's log ends with:\n${lab.daemon.logTail(40)}`);
});

async function examine(
  lab: Lab,
  workers: readonly ImageWorker[],
  { fault, seen }: {
    readonly fault: (line: string) => void;
    readonly seen: { images: number; layers: number; run: number };
  },
): Promise<void> {
  const check = await checkStoreOf(lab);
  seen.layers += check.verified;
  problemsOf(check).forEach(fault);
  const { images } = await lab.daemon.client.call("listImages", {});
  const present = new Set(images.flatMap(({ repoTags }) => repoTags));
  for (const worker of workers) {
    const difference = worker.difference(present);
    if (difference !== undefined) fault(difference);
  }
  try {
    const listed = (await podmanOf(lab, "images", "--format", "{{.Repository}}:{{.Tag}}")).split("\n").filter(Boolean);
    if (listed.sort().join() !== [...present].sort().join()) {
      fault(`podman lists ${listed}, and the daemon ${[...present]}`);
    }
    for (const image of present) {
      seen.images += 1;
      const root = await podmanOf(lab, "image", "mount", image);
      await Deno.stat(`${root}/bin/sh`);
      await podmanOf(lab, "image", "umount", image);
    }
    const [image] = present;
    if (image === undefined) return;
    const said = await podmanOf(lab, ...PODMAN_RUN, "--entrypoint", "/bin/sh", image, "-c", "echo ran");
    seen.run += 1;
    if (said !== "ran") fault(`podman run said ${said}`);
  } catch (error) {
    fault(String(error));
  } finally {
    await podmanDone(lab);
  }
}

/** Removes all images; nothing may be left then. */
async function emptied(lab: Lab, workers: readonly ImageWorker[]): Promise<string[]> {
  for (const { image } of workers) {
    await lab.daemon.client.call("removeImage", { image: message(ImageSpec, { image }) });
  }
  await lab.daemon.stop();
  await lab.daemon.start();
  const check = await checkStoreOf(lab);
  const left = check.layers + check.images === 0 ? [] : [`${check.layers} layers and ${check.images} images are left`];
  return [...left, ...problemsOf(check), ...await lab.leaks()];
}
