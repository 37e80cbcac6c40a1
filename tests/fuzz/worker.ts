/** Runs a range of cases and tells of it in lines of JSON: whoever started it survives what a case may do. */
import { type CaseRange, type Failure, runCases, type Tally } from "./run_cases.ts";
import { targetNamed } from "./targets.ts";

/** What the worker prints. */
export type WorkerLine =
  | { readonly type: "failed"; readonly failure: Omit<Failure, "input"> & { readonly input: string } }
  | { readonly type: "done"; readonly tally: Tally };

/** @param options.progress a file that holds the number of the case that runs, 8 bytes */
export async function work(target: string, options: CaseRange & { readonly progress: string }): Promise<void> {
  using progress = await Deno.open(options.progress, { write: true, create: true });
  const number = new BigUint64Array(1);
  const bytes = new Uint8Array(number.buffer);
  const tally = await runCases(targetNamed(target), options, {
    begin: (index) => {
      number[0] = BigInt(index);
      progress.seekSync(0, Deno.SeekMode.Start);
      progress.writeSync(bytes);
    },
    failed: (failure) => print({ type: "failed", failure: { ...failure, input: failure.input.toBase64() } }),
  });
  print({ type: "done", tally });
}

function print(line: WorkerLine): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${JSON.stringify(line)}\n`));
}
