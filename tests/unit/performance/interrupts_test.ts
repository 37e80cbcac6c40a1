import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { silentLogger } from "../../../src/base/logger.ts";
import { cpusOfMask, Interrupts } from "../../../src/performance/interrupts.ts";

interface Bench {
  readonly interrupts: Interrupts;
  readonly ran: string[];
  read(file: string): Promise<string>;
  write(file: string, text: string): Promise<void>;
}

const signal = new AbortController().signal;

async function withMask(
  mask: string,
  body: (bench: Bench) => Promise<void>,
  options: { enabled?: boolean } = {},
): Promise<void> {
  const { enabled = false } = options;
  const root = await Deno.makeTempDir();
  const ran: string[] = [];
  const write = (file: string, text: string): Promise<void> => Deno.writeTextFile(`${root}/${file}`, text);
  try {
    await write("affinity", mask);
    const run = (argv: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<boolean> => {
      ran.push([...argv, ...Object.values(env)].join(" "));
      return Promise.resolve(enabled || argv[0] === "irqbalance");
    };
    const places = { affinityFile: `${root}/affinity`, balanceFile: `${root}/balance`, bannedFile: `${root}/banned` };
    const interrupts = new Interrupts(places, { run, log: silentLogger });
    await body({ interrupts, ran, write, read: (file) => Deno.readTextFile(`${root}/${file}`) });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("Interrupts.exclude() and include() change the bits of these CPUs only, and tell irqbalance", async () => {
  await withMask("ff,ffffffff\n", async ({ interrupts, ran, read }) => {
    await interrupts.exclude("1,33", { signal });
    strictEqual(await read("affinity"), "000000fd,fffffffd");
    deepStrictEqual(ran, ["irqbalance --oneshot ffffff02,00000002"]);
    await interrupts.include("33", { signal });
    strictEqual(await read("affinity"), "000000ff,fffffffd");
    await rejects(read("balance"), Deno.errors.NotFound);
  });
});

Deno.test("Interrupts serialises changes: none is lost", async () => {
  await withMask("ff", async ({ interrupts, read }) => {
    await Promise.all([0, 1, 2, 3].map((cpu) => interrupts.exclude(String(cpu), { signal })));
    strictEqual(cpusOfMask(await read("affinity")), "4-7");
  });
});

Deno.test("Interrupts writes the service's file, keeps what else is in it, and restarts the service", async () => {
  await withMask("f", async ({ interrupts, ran, read, write }) => {
    await write("balance", 'A=1\nIRQBALANCE_BANNED_CPUS="old"\n# end\n');
    await interrupts.exclude("2", { signal });
    strictEqual(await read("balance"), 'A=1\nIRQBALANCE_BANNED_CPUS="fffffff4"\n# end\n');
    deepStrictEqual(ran, ["systemctl --quiet is-enabled irqbalance", "systemctl restart irqbalance"]);
    await write("balance", "A=1");
    await interrupts.include("2", { signal });
    strictEqual(await read("balance"), 'A=1\nIRQBALANCE_BANNED_CPUS="fffffff0"\n');
  }, { enabled: true });
});

Deno.test("Interrupts.restoreBanned() keeps the first file, and puts it back after a reboot only", async () => {
  await withMask("ff", async ({ interrupts, read, write }) => {
    await interrupts.restoreBanned({ signal });
    await rejects(read("banned"), Deno.errors.NotFound);
    await write("balance", 'IRQBALANCE_BANNED_CPUS="3"\n');
    await interrupts.restoreBanned({ signal });
    strictEqual(await read("banned"), "3");
    await write("balance", 'IRQBALANCE_BANNED_CPUS="ffff"\n');
    await write("affinity", "f0");
    await interrupts.restoreBanned({ signal });
    strictEqual(await read("balance"), 'IRQBALANCE_BANNED_CPUS="ffff"\n');
    await write("affinity", "ff");
    await interrupts.restoreBanned({ signal });
    strictEqual(await read("balance"), 'IRQBALANCE_BANNED_CPUS="3"\n');
  }, { enabled: true });
});
