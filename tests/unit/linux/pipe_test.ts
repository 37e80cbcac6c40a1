import assert from "node:assert/strict";
import { ErrnoError } from "../../../src/linux/errno.ts";
import {
  duplexOf,
  openFifoForWriting,
  openPipe,
  openSocketPair,
  readableOf,
  readNow,
  writableOf,
  writeNow,
} from "../../../src/linux/pipe.ts";
import { runCommand } from "../../../src/linux/command.ts";
import { openLibraries } from "../../../src/linux/warm_up.ts";

openLibraries();

const bytes = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

Deno.test("a pipe's ends as streams carry what is written, and end", async () => {
  using pipe = openPipe();
  const writer = writableOf(pipe.write);
  const reader = readableOf(pipe.read);
  const big = "x".repeat(300_000);
  writer.end(big);
  let got = "";
  for await (const chunk of reader) got += chunk;
  assert.equal(got, big);
});

Deno.test("a socket pair's ends as streams carry both ways", async () => {
  using pair = openSocketPair();
  const [one, two] = [duplexOf(pair.read), duplexOf(pair.write)];
  two.on("data", (chunk: Uint8Array) => two.end(`echo ${chunk}`));
  one.end("hello");
  let got = "";
  for await (const chunk of one) got += chunk;
  assert.equal(got, "echo hello");
  two.destroy();
});

Deno.test("writeNow() and readNow() never wait", () => {
  using pipe = openPipe();
  assert.equal(readNow(pipe.read, 10).length, 0);
  assert.ok(writeNow(pipe.write, bytes("abc")));
  assert.equal(new TextDecoder().decode(readNow(pipe.read, 10)), "abc");
  assert.throws(() => {
    for (;;) writeNow(pipe.write, new Uint8Array(4096));
  }, ErrnoError);
  pipe.read.close();
  assert.ok(!writeNow(pipe.write, bytes("abc")));
});

Deno.test("a descriptor that was handed on or closed is not used again", () => {
  using pipe = openPipe();
  pipe.read.close();
  pipe.read.close();
  assert.throws(() => pipe.read.fd, ErrnoError);
});

Deno.test("openFifoForWriting() says when nobody reads", async () => {
  const directory = await Deno.makeTempDir({ prefix: "fifo-" });
  try {
    await runCommand(["/usr/bin/mkfifo", `${directory}/ctl`]);
    assert.equal(openFifoForWriting(`${directory}/ctl`), undefined);
    assert.throws(() => openFifoForWriting(`${directory}/none`), ErrnoError);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
