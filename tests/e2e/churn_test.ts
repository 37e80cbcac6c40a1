import assert from "node:assert/strict";
import { ImageSpec } from "../../src/cri/gen/api.ts";
import { Churn } from "./harness/churn.ts";
import { message } from "./harness/cri_client.ts";
import { Lab } from "./harness/lab.ts";
import { removeAllPods } from "./harness/pods.ts";
import { randomSource } from "./harness/realistic_image.ts";

const WORKERS = 8;
const SHORTEST_MS = 200;
const SPREAD_MS = 1800;
const LONGEST_START_MS = 400;

Deno.test("killed at random moments of 8-way churn, the daemon finds everything again and leaks nothing", async () => {
  const kills = Number(Deno.env.get("CHURN_KILLS") ?? "5");
  const seed = Number(Deno.env.get("CHURN_SEED") ?? Date.now() % 100_000);
  const random = randomSource(seed);
  await using lab = await Lab.start();
  await lab.pull();
  const churn = new Churn(lab, random);
  const work = churn.work(WORKERS);
  const faults: string[] = [];
  for (let i = 1; i <= kills; i++) {
    await new Promise((resolve) => setTimeout(resolve, SHORTEST_MS + random() * SPREAD_MS));
    churn.daemonIsAway();
    await lab.daemon.stop("SIGKILL");
    if (random() < 0.3) await killDuringStart(lab, random() * LONGEST_START_MS);
    await lab.daemon.start();
    for (const line of await churn.differences()) {
      if (faults.every((known) => !known.endsWith(line))) faults.push(`after kill ${i}: ${line}`);
    }
    churn.daemonIsBack();
  }
  churn.finish();
  await work;
  await removeAllPods(lab.daemon.client);
  await lab.daemon.client.call("removeImage", { image: message(ImageSpec, { image: lab.image }) });
  const { containers } = await lab.daemon.client.call("listContainers", {});
  const { images } = await lab.daemon.client.call("listImages", {});
  const problems = [
    ...faults,
    ...churn.failures.map((line) => `without a kill: ${line}`),
    ...containers.map(({ id }) => `container left: ${id}`),
    ...images.map(({ id }) => `image left: ${id}`),
    ...(await layersLeft(lab.directory)).map((line) => `layer left: ${line}`),
    ...await lab.leaks(),
    ...await stagesLeft(lab),
  ];
  const SHOWN = 40;
  const report = [`CHURN_SEED=${seed} CHURN_KILLS=${kills}: ${problems.length} problems`, ...problems.slice(0, SHOWN)];
  assert.ok(problems.length === 0, `${report.join("\n")}\n\nthe daemon's log ends with:\n${lab.daemon.logTail(40)}`);
});

/** A start that does not get far: what it was cleaning up is left to the next one. */
async function killDuringStart(lab: Lab, afterMs: number): Promise<void> {
  const starting = lab.daemon.start().catch(() => {});
  await new Promise((resolve) => setTimeout(resolve, afterMs));
  await lab.daemon.stop("SIGKILL");
  await starting;
}

/** Stages of pulls and daemons that are gone, and trash, once a clean start has settled: it has one stage itself. */
async function stagesLeft(lab: Lab): Promise<string[]> {
  await lab.daemon.stop();
  await lab.daemon.start();
  const untilMs = performance.now() + 5000;
  for (;;) {
    const paths = await stages(lab.directory);
    if (paths.length <= 1) return [];
    if (performance.now() > untilMs) return paths.map((path) => `stage left: ${path}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function stages(directory: string): Promise<string[]> {
  const { stdout } = await new Deno.Command("find", {
    args: [
      `${directory}/root`,
      "-xdev",
      "(",
      "-name",
      "crio-????????????????",
      "-o",
      "-name",
      "trash-????????????????",
      ")",
    ],
    stderr: "null",
  }).output();
  return new TextDecoder().decode(stdout).split("\n").filter(Boolean);
}

/** Directories of layers on disk; the store's own link directory does not count. */
async function layersLeft(directory: string): Promise<string[]> {
  const names: string[] = [];
  const overlay = `${directory}/root/overlay`;
  // Another daemon keeps its layers elsewhere.
  if (!(await Deno.stat(overlay).then(() => true, () => false))) return names;
  for await (const entry of Deno.readDir(overlay)) {
    if (entry.isDirectory && entry.name !== "l") names.push(entry.name);
  }
  return names;
}
