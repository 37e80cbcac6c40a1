import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import { streamingHandlers } from "../../../src/cri/streaming.ts";
import type { RequestContext } from "../../../src/cri/unary.ts";

const CONTEXT = {} as RequestContext;
const ID = "0123456789ab";

Deno.test("streamingHandlers() passes requests on and gives the URL", async () => {
  const asked: unknown[] = [];
  const url = (request: unknown): string => `http://x/${asked.push(request)}`;
  const handlers = streamingHandlers({ exec: url, attach: url, portForward: url });
  const streams = { tty: false, stdin: true, stdout: true, stderr: false };
  assert.deepEqual(await handlers.exec({ containerId: ID, cmd: ["ls", ""], ...streams }, CONTEXT), {
    url: "http://x/1",
  });
  assert.deepEqual(await handlers.attach({ containerId: ID, ...streams }, CONTEXT), { url: "http://x/2" });
  assert.deepEqual(await handlers.portForward({ podSandboxId: ID, port: [80] }, CONTEXT), { url: "http://x/3" });
  assert.deepEqual(asked, [
    { containerId: ID, command: ["ls", ""], ...streams },
    { containerId: ID, ...streams },
    { sandboxId: ID, ports: [80] },
  ]);
});

Deno.test("streamingHandlers() refuses an empty id and NUL bytes", () => {
  const never = (): never => assert.fail("must not be asked");
  const handlers = streamingHandlers({ exec: never, attach: never, portForward: never });
  const streams = { tty: false, stdin: true, stdout: true, stderr: false };
  assert.throws(() => handlers.exec({ containerId: ID, cmd: ["a\0b"], ...streams }, CONTEXT), InvalidArgumentError);
  assert.throws(() => handlers.attach({ containerId: "", ...streams }, CONTEXT), InvalidArgumentError);
  assert.throws(() => handlers.portForward({ podSandboxId: "", port: [] }, CONTEXT), InvalidArgumentError);
});
