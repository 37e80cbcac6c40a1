import assert from "node:assert/strict";
import { InvalidArgumentError } from "../../../src/base/errors.ts";
import { signalNumber } from "../../../src/container/signals.ts";
import type { SecurityContext } from "../../../src/container/types.ts";
import { resolveUser } from "../../../src/container/user.ts";
import { containerSpec } from "../../fakes/records.ts";

const FILES = {
  passwd:
    "root:x:0:0:root:/root:/bin/sh\n# comment\nwww:x:33:34:www:/var/www:/bin/false\nbad line\nover:x:4294967295:0::/:\n",
  group: "root:x:0:\nwww:x:34:\naudio:x:29:www,other\nvideo:x:44:www\n",
};

function security(changes: Partial<SecurityContext> = {}): SecurityContext {
  return { ...containerSpec().security, ...changes };
}

const CASES: ReadonlyArray<[string, Partial<SecurityContext>, string, [number, number, number[], string]]> = [
  ["nothing said is root", {}, "", [0, 0, [0], "/root"]],
  ["a name in the image", {}, "www", [33, 34, [29, 34, 44], "/var/www"]],
  ["a number that the image knows", {}, "33", [33, 34, [29, 34, 44], "/var/www"]],
  ["a number that it does not know", {}, "1234", [1234, 0, [0], "/"]],
  ["user and group names", {}, "www:audio", [33, 29, [29, 44], "/var/www"]],
  ["user and group numbers", {}, "7:8", [7, 8, [8], "/"]],
  ["the request's uid beats the image's user and group", { runAsUser: 5 }, "www:audio", [5, 0, [0], "/"]],
  ["the request's user name", { runAsUserName: "www" }, "0", [33, 34, [29, 34, 44], "/var/www"]],
  ["the request's group", { runAsUser: 33, runAsGroup: 9 }, "", [33, 9, [9, 29, 44], "/var/www"]],
  [
    "strict policy leaves the image's groups out",
    {
      runAsUser: 33,
      supplementalGroups: [7, 3],
      supplementalGroupsPolicy: "strict",
    },
    "",
    [33, 34, [3, 7, 34], "/var/www"],
  ],
  ["merge adds to the request's groups", { runAsUser: 33, supplementalGroups: [7] }, "", [
    33,
    34,
    [7, 29, 34, 44],
    "/var/www",
  ]],
];

for (const [name, changes, imageUser, [uid, gid, groups, home]] of CASES) {
  Deno.test(`resolveUser() gives the right ids when: ${name}`, () => {
    const user = resolveUser(security(changes), imageUser, FILES);
    assert.deepEqual(user, { uid, gid, supplementalGroups: groups, home, known: uid === 33 || uid === 0 });
  });
}

for (const bad of ["nobodyhere", "www:nogroup", "-1", "4294967295", "1:4294967295", "a b"]) {
  Deno.test(`resolveUser() refuses the image user ${JSON.stringify(bad)}`, () => {
    assert.throws(() => resolveUser(security(), bad, FILES), InvalidArgumentError);
  });
}

Deno.test("signalNumber() reads names, numbers and real-time signals, and refuses the rest", () => {
  assert.deepEqual(
    ["SIGTERM", "term", "9", "SIGRTMIN+3", "RTMAX-1", "RTMIN"].map(signalNumber),
    [15, 15, 9, 37, 63, 34],
  );
  for (const bad of ["", "SIGNOPE", "0", "65", "-1", "RTMIN+99", "RTMIN3"]) {
    assert.throws(() => signalNumber(bad), InvalidArgumentError, bad);
  }
});
