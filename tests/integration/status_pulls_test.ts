import { equal, match, ok } from "node:assert/strict";
import { createServer } from "node:http";
import type { Digest } from "../../src/base/ids.ts";
import { silentLogger } from "../../src/base/logger.ts";
import { RunningPulls } from "../../src/image/progress/running_pulls.ts";
import { createStatusHandler } from "../../src/status/handler.ts";
import type { StatusDeps } from "../../src/status/types.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const LAYER = { digest: `sha256:${"a".repeat(64)}` as Digest, sizeBytes: 1000, mediaType: "x" };

interface Asked {
  readonly pulls: RunningPulls;
  readonly command: readonly string[];
}

/** The command line of `crio status pulls`, against a daemon's socket. */
async function withDaemon(body: (asked: Asked) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir({ prefix: "crio-pulls-" });
  const pulls = new RunningPulls();
  const stop = new AbortController();
  const deps = { pulls, signal: stop.signal } as unknown as StatusDeps;
  const server = createServer(createStatusHandler({ ...deps, log: silentLogger }));
  await new Promise<void>((resolve) => server.listen(`${directory}/crio.sock`, resolve));
  try {
    const command = [
      Deno.execPath(),
      "run",
      "-A",
      "--no-check",
      MAIN,
      "status",
      "-s",
      `${directory}/crio.sock`,
      "pulls",
    ];
    await body({ pulls, command });
  } finally {
    stop.abort();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await Deno.remove(directory, { recursive: true });
  }
}

/** Starts it and gives its output, piece by piece. */
function start(argv: readonly string[]): Deno.ChildProcess {
  const [program = "", ...args] = argv;
  return new Deno.Command(program, { args, stdin: "null", stdout: "piped", stderr: "inherit" }).spawn();
}

async function outputOf(argv: readonly string[]): Promise<string> {
  return new TextDecoder().decode((await start(argv).output()).stdout);
}

Deno.test("crio status pulls prints lines, or the daemon's document with --json", async () => {
  await withDaemon(async ({ pulls, command }) => {
    equal(await outputOf(command), "no pulls\n");
    const pull = pulls.begin("r.example/app:1", new AbortController().signal);
    pull.resolved({ endpoint: "https://r.example", layers: [LAYER], present: 0, imageBytes: 1000 });
    pull.progress({ downloaded: [250], unpacked: [400], finished: [] });
    const text = await outputOf(command);
    match(text, /^r\.example\/app:1 {2}downloading from https:\/\/r\.example {2}0 of 1 layers {2}250 B of 1\.0 kB/);
    match(text, /\n {2}sha256:a{12} {2}downloading {2}250 B of 1\.0 kB, 400 B unpacked\n$/);
    equal(JSON.parse(await outputOf([...command, "--json"])).pulls[0].layers[0].extracted, 400);
  });
});

Deno.test("crio status pulls draws on a terminal until the last pull has ended", async () => {
  await withDaemon(async ({ pulls, command }) => {
    const pull = pulls.begin("app", new AbortController().signal);
    pull.resolved({ endpoint: "https://r", layers: [LAYER], present: 0, imageBytes: 1000 });
    const line = command.map((word) => `'${word}'`).join(" ");
    const child = start([
      "/usr/bin/script",
      "--quiet",
      "--return",
      "--command",
      `stty cols 100 rows 30; ${line}`,
      "/dev/null",
    ]);
    let text = "";
    let isTold = false;
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (text.includes("[ ") && !isTold) {
        isTold = true;
        pull.progress({ downloaded: [500], unpacked: [0], finished: [] });
      }
      if (text.includes("[=====") && pulls.find(1)?.stage === "downloading") pull.succeeded("abc");
    }
    equal((await child.status).code, 0);
    match(text, /\[={12} {12}\] {2}50 % {2}500 B of 1\.0 kB/);
    ok(text.includes("\x1b[2A\x1b[J"), "it is drawn over");
    match(text, /app {2}done from https:\/\/r in [\d.]+ s {2}abc\r\n$/);
  });
});

Deno.test("crio status pulls --follow prints a line for each change, until the daemon stops", async () => {
  await withDaemon(async ({ pulls, command }) => {
    const pull = pulls.begin("app", new AbortController().signal);
    const child = start([...command, "--follow"]);
    let text = "";
    for await (const piece of child.stdout.pipeThrough(new TextDecoderStream())) {
      text += piece;
      if (/^app {2}looking/.test(text) && pulls.find(1)?.stage === "looking") pull.failed(new Error("no such image"));
      if (text.includes("failed")) break;
    }
    match(text, /^app {2}looking {2}[\d.]+ s\napp {2}failed after [\d.]+ s: no such image\n$/);
    child.kill("SIGTERM");
    await child.status;
  });
});
