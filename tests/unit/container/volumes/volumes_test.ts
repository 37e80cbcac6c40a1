import assert from "node:assert/strict";
import { FailedPreconditionError, UnimplementedError } from "../../../../src/base/errors.ts";
import { silentLogger } from "../../../../src/base/logger.ts";
import { resolveHostPath } from "../../../../src/container/volumes/host_path.ts";
import type { MountRules } from "../../../../src/container/volumes/mount_rules.ts";
import type { MountRequest } from "../../../../src/container/types.ts";
import { resolveVolumes, type VolumeContext } from "../../../../src/container/volumes/volumes.ts";

const BASE: MountRequest = {
  containerPath: "/v",
  hostPath: "",
  readonly: false,
  selinuxRelabel: false,
  propagation: "private",
  recursiveReadOnly: false,
  uidMaps: [],
  gidMaps: [],
};

async function withDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await body(await Deno.realPath(directory));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

function contextOf(rules: Partial<MountRules> = {}): VolumeContext {
  return {
    rules: {
      bindMountPrefix: "",
      absentSourcesToReject: [],
      storageRoot: "/var/lib/containers/storage",
      readOnly: false,
      imageVolumes: "mkdir",
      defaultMountsFiles: [],
      ...rules,
    },
    handler: { recursiveReadOnly: false },
    log: silentLogger,
    mapIds: ({ source }) => Promise.resolve(`${source}-mapped`),
    openImage: ({ reference, subPath }, index) =>
      Promise.resolve({ source: `/images/${reference}/${subPath}`, imageId: `id-${index}` }),
  };
}

Deno.test("resolveVolumes() resolves links and makes what is missing", async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/real`);
    await Deno.symlink("real", `${directory}/link`);
    const requests = ["link", "new/deep"].map((name) => ({ ...BASE, hostPath: `${directory}/${name}` }));
    const { mounts, reported } = await resolveVolumes(requests, contextOf());
    const expected = [`${directory}/real`, `${directory}/new/deep`];
    assert.deepEqual(mounts.map(({ source }) => source), expected);
    assert.deepEqual(reported.map(({ hostPath }) => hostPath), expected);
    assert.ok((await Deno.stat(`${directory}/new/deep`)).isDirectory);
  });
});

Deno.test("resolveVolumes() lets a private volume around the store follow the node, and no other", async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/a/store`, { recursive: true });
    await Deno.mkdir(`${directory}/b`);
    await Deno.symlink(`${directory}/a/store`, `${directory}/b/store`);
    const context = contextOf({ storageRoot: `${directory}/b/store` });
    const volumes = await resolveVolumes(
      ["a", "b"].map((name) => ({ ...BASE, hostPath: `${directory}/${name}` })),
      context,
    );
    assert.deepEqual(volumes.mounts.map(({ options }) => options[1]), ["rslave", "rprivate"]);
    assert.equal(volumes.rootPropagation, "rslave");
  });
});

Deno.test("resolveVolumes() refuses recursive read-only where the runtime cannot, and forbidden sources", async () => {
  await withDirectory(async (directory) => {
    const hostPath = `${directory}/none`;
    const context = contextOf({ absentSourcesToReject: [`${hostPath}/`] });
    await assert.rejects(
      resolveVolumes([{ ...BASE, hostPath: `${directory}/./none` }], context),
      FailedPreconditionError,
    );
    const request = { ...BASE, hostPath: directory, readonly: true, recursiveReadOnly: true };
    await assert.rejects(resolveVolumes([request], context), UnimplementedError);
  });
});

Deno.test("resolveHostPath() keeps links, absolute ones too, below the prefix", async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/root/a/b`, { recursive: true });
    await Deno.symlink("/a/b/../../../../a", `${directory}/root/out`);
    await Deno.symlink("loop", `${directory}/root/loop`);
    assert.equal(await resolveHostPath("/out/b", `${directory}/root`), `${directory}/root/a/b`);
    assert.equal(await resolveHostPath("/../../a", `${directory}/root`), `${directory}/root/a`);
    assert.equal(await resolveHostPath("/a/none", `${directory}/root`), undefined);
    await assert.rejects(resolveHostPath("/loop", `${directory}/root`), FailedPreconditionError);
  });
});
