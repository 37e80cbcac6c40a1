import { parseJunit, type SpecResult } from "./junit.ts";

/** What one run of critest is pointed at. */
export interface CritestOptions {
  readonly program: string;
  readonly socketPath: string;
  readonly nriSocketPath: string;
  /** Its temporary files, which containers see as volumes. */
  readonly temporaryDirectory: string;
  /** Without ending: `.log` and `.xml` are added. */
  readonly reportPath: string;
  readonly websocket: boolean;
  /** Only specs whose names fit this regular expression of Go. */
  readonly focus?: string;
}

const CALL_TIMEOUT = "60s";
const SUITE_TIMEOUT = "20m";

/**
 * Runs critest, one spec at a time, in an order that its seed (in its log) fixes.
 *
 * @throws Error when it wrote no report
 */
export async function runCritest(options: CritestOptions): Promise<SpecResult[]> {
  const { program, socketPath, reportPath, temporaryDirectory } = options;
  const endpoint = `unix://${socketPath}`;
  const args = ["--config", "/dev/null", "--runtime-endpoint", endpoint, "--image-endpoint", endpoint];
  args.push("--runtime-service-timeout", CALL_TIMEOUT, "--nri-socket", options.nriSocketPath);
  args.push("--ginkgo.v", "--ginkgo.no-color", "--ginkgo.timeout", SUITE_TIMEOUT);
  args.push("--ginkgo.junit-report", `${reportPath}.xml`);
  if (options.focus !== undefined) args.push("--ginkgo.focus", options.focus);
  if (options.websocket) args.push("--websocket-exec", "--websocket-attach", "--websocket-portforward");
  await Deno.remove(`${reportPath}.xml`).catch(() => {});
  // A file, not a pipe: what a spec leaves running must not keep the run waiting.
  const command = `exec "$@" >"${reportPath}.log" 2>&1`;
  await new Deno.Command("/bin/sh", {
    args: ["-c", command, "sh", program, ...args],
    stdin: "null",
    env: { TMPDIR: temporaryDirectory },
  }).output();
  const xml = await Deno.readTextFile(`${reportPath}.xml`).catch((cause) => {
    throw new Error(`critest wrote no report: see ${reportPath}.log`, { cause });
  });
  return parseJunit(xml);
}
