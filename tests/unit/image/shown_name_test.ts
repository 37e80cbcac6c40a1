import { deepEqual } from "node:assert/strict";
import { shownName } from "../../../src/image/shown_name.ts";

const ID = "c".repeat(64);
const [ONE, TWO] = [`sha256:${"1".repeat(64)}`, `sha256:${"2".repeat(64)}`];
const IMAGE = {
  id: ID,
  names: ["docker.io/library/app:1", "quay.io/team/app:2", `quay.io/team/app@${TWO}`],
  repoDigests: [`docker.io/library/app@${ONE}`, `quay.io/team/app@${ONE}`, `quay.io/team/app@${TWO}`],
};

for (
  const [specified, name, ref] of [
    ["app:1", "docker.io/library/app:1", `docker.io/library/app@${ONE}`],
    ["quay.io/team/app:2", "quay.io/team/app:2", `quay.io/team/app@${ONE}`],
    [`quay.io/team/app@${TWO}`, `quay.io/team/app@${TWO}`, `quay.io/team/app@${TWO}`],
    [`quay.io/team/app:2@${TWO}`, `quay.io/team/app@${TWO}`, `quay.io/team/app@${TWO}`],
    ["elsewhere.example/app:1", "docker.io/library/app:1", `docker.io/library/app@${ONE}`],
    [ID, "docker.io/library/app:1", `docker.io/library/app@${ONE}`],
    ["", "docker.io/library/app:1", `docker.io/library/app@${ONE}`],
  ] as const
) {
  Deno.test(`shownName() calls an image as it was asked for by ${JSON.stringify(specified)}`, () => {
    deepEqual(shownName(IMAGE, specified), { name, ref });
  });
}

Deno.test("shownName() gives the id of an image without a name, and a digest as name where there is no tag", () => {
  deepEqual(shownName({ id: ID, names: [], repoDigests: [] }, "app:1"), { name: ID, ref: ID });
  const names = [`docker.io/library/app@${ONE}`];
  deepEqual(shownName({ id: ID, names, repoDigests: names }, ""), { name: names[0], ref: names[0] });
});
