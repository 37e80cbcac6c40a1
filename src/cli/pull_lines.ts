/** How `crio status pulls` shows pulls: plain lines, or with bars on a terminal. */
import { decimalSize as size, printable } from "./table.ts";

/** A pull as `GET /pulls` gives it. */
export interface Pull {
  readonly id: number;
  readonly image: string;
  readonly stage: string;
  readonly endpoint: string;
  readonly elapsed_ms: number;
  readonly bytes_per_second: number;
  readonly layers: readonly PullLayer[];
  readonly image_id?: string;
  readonly error?: string;
}

interface PullLayer {
  readonly digest: string;
  readonly size: number;
  readonly downloaded: number;
  readonly extracted: number;
  readonly state: string;
}

/** Where lines are drawn. */
export interface Screen {
  readonly columns: number;
  readonly rows: number;
}

const SHORT_DIGEST = 19;
const BAR_CELLS = 24;

/** Whether it still goes on. */
export function isRunning(pull: Pull): boolean {
  return pull.stage !== "done" && pull.stage !== "failed";
}

/** One line for the pull, and one for each layer while it runs. */
export function plainLines(pulls: readonly Pull[]): string[] {
  if (pulls.length === 0) return ["no pulls"];
  return pulls.flatMap((pull) => [
    headline(pull),
    ...(isRunning(pull)
      ? pull.layers.map((layer) => `  ${shortDigest(layer)}  ${layer.state}  ${amounts(layer)}`)
      : []),
  ]);
}

/** The same with bars, cut to the screen: the latest pulls stay. */
export function screenLines(pulls: readonly Pull[], { columns, rows }: Screen): string[] {
  const lines = pulls.flatMap((pull) => [
    headline(pull),
    ...(isRunning(pull) ? pull.layers.map((layer) => `  ${shortDigest(layer)}  ${bar(layer)}  ${amounts(layer)}`) : []),
  ]);
  return lines.slice(-Math.max(1, rows - 1)).map((line) => line.slice(0, Math.max(1, columns - 1)));
}

function headline(pull: Pull): string {
  const seconds = `${(pull.elapsed_ms / 1000).toFixed(1)} s`;
  const name = printable(pull.image);
  if (pull.stage === "failed") return `${name}  failed after ${seconds}: ${printable(pull.error ?? "")}`;
  const from = pull.endpoint === "" ? "" : ` from ${printable(pull.endpoint)}`;
  if (pull.stage === "done") return `${name}  done${from} in ${seconds}  ${pull.image_id ?? ""}`;
  const wanted = pull.layers.filter(({ state }) => state !== "present");
  const sum = (of: (layer: PullLayer) => number): number => wanted.reduce((total, layer) => total + of(layer), 0);
  const ready = pull.layers.filter(({ state }) => state === "present" || state === "done").length;
  const layers = pull.layers.length === 0 ? "" : `  ${ready} of ${pull.layers.length} layers  ` +
    `${size(sum((layer) => layer.downloaded))} of ${size(sum((layer) => layer.size))}  ${
      size(pull.bytes_per_second)
    }/s`;
  return `${name}  ${pull.stage}${from}${layers}  ${seconds}`;
}

function amounts(layer: PullLayer): string {
  if (layer.state === "present") return `${size(layer.size)}, here already`;
  const unpacked = layer.extracted === 0 ? "" : `, ${size(layer.extracted)} unpacked`;
  return `${size(layer.downloaded)} of ${size(layer.size)}${unpacked}`;
}

function bar({ size, downloaded, state }: PullLayer): string {
  const isHere = state === "present" || state === "done";
  const part = isHere ? 1 : size === 0 ? 0 : Math.min(1, downloaded / size);
  const cells = Math.floor(part * BAR_CELLS);
  return `[${"=".repeat(cells)}${" ".repeat(BAR_CELLS - cells)}] ${String(Math.floor(part * 100)).padStart(3)} %`;
}

function shortDigest({ digest }: PullLayer): string {
  return printable(digest).slice(0, SHORT_DIGEST);
}
