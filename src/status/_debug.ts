/** `GET /debug`, `/debug/goroutines` and `/debug/heap`: what the daemon does, and what it holds. */
import { getHeapSnapshot, getHeapSpaceStatistics } from "node:v8";
import type { ServerResponse } from "node:http";

type Document = Readonly<Record<string, unknown>>;

/** Open handles by kind, memory, and what the parts tell. */
export async function debugDocument(parts: Document): Promise<Document> {
  const handles = await openHandles();
  const memory = Deno.memoryUsage();
  const uptimeSeconds = Math.round(performance.now() / 1000);
  return { pid: Deno.pid, uptimeSeconds, openHandles: handles, memoryBytes: memory, ...parts };
}

/** The same as text, where CRI-O shows goroutines: what runs, and for how long. */
export async function activityText(parts: Document): Promise<string> {
  const { running = [], ...counts } = parts as { readonly running?: readonly Stage[] };
  const { openHandles: handles, memoryBytes, uptimeSeconds } = await debugDocument({});
  const lines = [
    `pid ${Deno.pid}, up ${uptimeSeconds} s`,
    `operations running: ${running.length}`,
    ...running.map(({ key, stage, elapsedMs }) => `  ${key}: ${stage}, for ${Math.round(elapsedMs)} ms`),
    ...Object.entries(counts).map(([name, count]) => `${name}: ${JSON.stringify(count)}`),
    "open handles:",
    ...Object.entries(handles as Record<string, number>).map(([kind, count]) => `  ${kind}: ${count}`),
    "memory:",
    ...Object.entries(memoryBytes as Record<string, number>).map(([name, bytes]) => `  ${name}: ${bytes}`),
    "heap spaces:",
    ...getHeapSpaceStatistics().map((space) => `  ${space.space_name}: ${space.space_used_size}`),
  ];
  return `${lines.join("\n")}\n`;
}

interface Stage {
  readonly key: string;
  readonly stage: string;
  readonly elapsedMs: number;
}

/** A V8 heap snapshot, for the memory panel of Chromium's developer tools. Making it stops the daemon for a moment. */
export function sendHeap(response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/octet-stream", "x-content-type-options": "nosniff" });
  getHeapSnapshot().pipe(response);
}

/** Open file descriptors by kind: `socket`, `pipe`, `anon_inode:[eventpoll]`, `file`. */
async function openHandles(): Promise<Record<string, number>> {
  const counts: Record<string, number> = { total: 0 };
  for await (const { name } of Deno.readDir("/proc/self/fd")) {
    const target = await Deno.readLink(`/proc/self/fd/${name}`).catch(() => undefined);
    if (target === undefined) continue; // closed meanwhile
    const kind = target.startsWith("/") ? "file" : target.replace(/:\[?\d+\]?$/, "");
    counts[kind] = (counts[kind] ?? 0) + 1;
    counts["total"] = (counts["total"] ?? 0) + 1;
  }
  return counts;
}
