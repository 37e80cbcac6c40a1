import { print } from "./_output.ts";
import { isRunning, plainLines, type Pull, screenLines } from "./pull_lines.ts";
import { type Daemon, events, get } from "./_status_client.ts";

export interface PullsOptions {
  /** The documents as the daemon gives them. */
  readonly json: boolean;
  /** Go on when no pull runs. */
  readonly follow: boolean;
}

const UP = (lines: number): string => lines === 0 ? "" : `\x1b[${lines}A\x1b[J`;

/**
 * `crio status pulls`. On a terminal it draws until the last running pull has ended; elsewhere it tells what there is at
 * this moment. With `follow` it goes on, elsewhere with a line for each change.
 */
export async function statusPulls(daemon: Daemon, { json, follow }: PullsOptions): Promise<void> {
  const isTerminal = Deno.stdout.isTerminal() && !json;
  if (!isTerminal && !follow) {
    const text = await get(daemon, "/pulls");
    print(json ? `${text}\n` : `${plainLines(pullsOf(text)).join("\n")}\n`);
    return;
  }
  if (!isTerminal) {
    for await (const data of events(daemon, "/pulls")) {
      if (!print(json ? `${data}\n` : `${plainLines([JSON.parse(data)])[0]}\n`)) return;
    }
    return;
  }
  await draw(daemon, follow);
}

async function draw(daemon: Daemon, follow: boolean): Promise<void> {
  const pulls = new Map(pullsOf(await get(daemon, "/pulls")).map((pull) => [pull.id, pull]));
  let drawn = 0;
  const redraw = (): void => {
    const lines = pulls.size === 0 ? plainLines([]) : screenLines([...pulls.values()], Deno.consoleSize());
    print(`${UP(drawn)}${lines.join("\n")}\n`);
    drawn = lines.length;
  };
  const isOver = (): boolean => !follow && ![...pulls.values()].some(isRunning);
  redraw();
  if (isOver()) return;
  for await (const data of events(daemon, "/pulls")) {
    const pull: Pull = JSON.parse(data);
    pulls.set(pull.id, pull);
    redraw();
    if (isOver()) return;
  }
}

function pullsOf(text: string): readonly Pull[] {
  return (JSON.parse(text) as { readonly pulls: readonly Pull[] }).pulls;
}
