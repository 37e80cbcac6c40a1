import assert from "node:assert/strict";
import { parsePort } from "../../../src/streaming/port_forward.ts";
import { errorStreamText } from "../../../src/streaming/outcome.ts";
import {
  negotiateSpdyCommand,
  negotiateSpdyForward,
  negotiateWebSocketCommand,
  negotiateWebSocketForward,
} from "../../../src/streaming/protocols.ts";
import { TerminalSizes } from "../../../src/streaming/terminal_sizes.ts";

Deno.test("negotiateSpdyCommand() takes the client's first choice that we know", () => {
  const offered = "v9.channel.k8s.io, v4.channel.k8s.io, v3.channel.k8s.io";
  assert.deepEqual(negotiateSpdyCommand(offered), { chosen: { name: "v4.channel.k8s.io", version: 4 } });
  assert.deepEqual(negotiateSpdyCommand("channel.k8s.io"), { chosen: { name: "channel.k8s.io", version: 1 } });
  assert.deepEqual(negotiateSpdyCommand(undefined), { chosen: { name: "", version: 1 } });
  assert.ok("known" in negotiateSpdyCommand("portforward.k8s.io"));
});

Deno.test("negotiateSpdyForward() knows one protocol", () => {
  assert.deepEqual(negotiateSpdyForward("portforward.k8s.io"), { chosen: { name: "portforward.k8s.io" } });
  assert.ok("known" in negotiateSpdyForward("v4.channel.k8s.io"));
});

Deno.test("negotiateWebSocketCommand() knows versions, forms and the close signal", () => {
  assert.deepEqual(negotiateWebSocketCommand("v5.channel.k8s.io,v4.channel.k8s.io"), {
    chosen: { name: "v5.channel.k8s.io", version: 5, format: { base64: false, closeSignal: true } },
  });
  assert.deepEqual(negotiateWebSocketCommand("base64.channel.k8s.io"), {
    chosen: { name: "base64.channel.k8s.io", version: 1, format: { base64: true, closeSignal: false } },
  });
  assert.ok("chosen" in negotiateWebSocketCommand(undefined));
  assert.ok("known" in negotiateWebSocketCommand("soap"));
});

Deno.test("negotiateWebSocketForward() tells the tunnel from the channels", () => {
  assert.deepEqual(negotiateWebSocketForward("SPDY/3.1+portforward.k8s.io"), {
    chosen: { kind: "tunnel", name: "SPDY/3.1+portforward.k8s.io" },
  });
  assert.deepEqual(negotiateWebSocketForward("v4.base64.channel.k8s.io"), {
    chosen: { kind: "channels", name: "v4.base64.channel.k8s.io", format: { base64: true, closeSignal: false } },
  });
  assert.ok("known" in negotiateWebSocketForward("v5.channel.k8s.io"));
});

Deno.test("errorStreamText() is a Status object from v4 on", () => {
  assert.deepEqual(JSON.parse(errorStreamText({ exitCode: 0 }, 4)), { metadata: {}, status: "Success" });
  const failed = JSON.parse(errorStreamText({ exitCode: 7 }, 5));
  assert.equal(failed.reason, "NonZeroExitCode");
  assert.deepEqual(failed.details.causes, [{ reason: "ExitCode", message: "7" }]);
  const broken = JSON.parse(errorStreamText({ failure: "no such file" }, 4));
  assert.equal(broken.message, "no such file");
  assert.equal(broken.reason, "InternalError");
});

Deno.test("errorStreamText() is plain before v4, and empty when all went well", () => {
  assert.equal(errorStreamText({ exitCode: 0 }, 3), "");
  assert.match(errorStreamText({ exitCode: 7 }, 1), /exit status 7$/);
  assert.equal(errorStreamText({ failure: "no such file" }, 2), "no such file");
});

Deno.test("parsePort() takes decimal ports only", () => {
  assert.equal(parsePort("8080"), 8080);
  for (const text of ["", "0", "65536", "-1", "1e3", "0x50", " 80", "99999999999"]) {
    assert.equal(parsePort(text), undefined, text);
  }
});

Deno.test("TerminalSizes reads objects wherever they are cut, and passes nonsense over", () => {
  const sizes = new TerminalSizes();
  const seen: string[] = [];
  const feed = (text: string): void => sizes.receive(new TextEncoder().encode(text));
  feed('{"Width":80,"Hei');
  feed('ght":24}\n{"Width":1');
  sizes.listen(({ width, height }) => seen.push(`${width}x${height}`));
  feed('00,"Height":30}');
  feed('{"Width":0,"Height":0}{"Width":-1,"Height":2}{"Width":"9","Height":9}{]}null}');
  feed("x".repeat(10_000));
  feed('{"Width":1,"Height":1}');
  assert.deepEqual(seen, ["80x24", "100x30", "1x1"]);
});
