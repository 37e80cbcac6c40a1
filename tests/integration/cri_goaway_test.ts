import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS = 4;
const GOAWAY = 7;

/** One HTTP/2 frame of stream 0 (RFC 9113, 4.1). */
function frame(type: number, payload: Uint8Array = new Uint8Array()): Uint8Array {
  const bytes = new Uint8Array(9 + payload.length);
  new DataView(bytes.buffer).setUint32(0, payload.length << 8 | type);
  bytes.set(payload, 9);
  return bytes;
}

/** A connection on which the server has answered with its settings. */
async function session(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, "connect");
  socket.write(PREFACE);
  socket.write(frame(SETTINGS));
  const [first] = await once(socket, "data") as [Uint8Array];
  assert.equal(first[3], SETTINGS);
  return socket;
}

async function socketAppears(path: string): Promise<void> {
  while (!await Deno.lstat(path).then(() => true, () => false)) await new Promise((resolve) => setTimeout(resolve, 10));
}

Deno.test("CriServer survives clients that say GOAWAY and leave, with any code", async () => {
  const directory = await Deno.makeTempDir();
  const path = `${directory}/crio.sock`;
  const server = new URL("../fixtures/cri_server.ts", import.meta.url).pathname;
  // glibc fills freed memory with this value: what is used after it was freed fails at once, not some day.
  const env = { MALLOC_PERTURB_: "165" };
  const child = new Deno.Command(Deno.execPath(), { args: ["run", "-A", "--no-check", server, path], env }).spawn();
  try {
    await socketAppears(path);
    for (const code of [0, 0, 2, 11, 0]) {
      const socket = await session(path);
      const payload = new Uint8Array(8);
      payload[7] = code;
      socket.write(frame(GOAWAY, payload));
      socket.end();
      await once(socket, "close");
    }
    (await session(path)).destroy();
  } finally {
    child.kill("SIGKILL");
    await child.status;
    await Deno.remove(directory, { recursive: true });
  }
});
