import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import type { Credentials } from "../../../src/image/auth/credentials.ts";
import { RegistryError } from "../../../src/image/distribution/registry_error.ts";
import { RegistryHost } from "../../../src/image/distribution/registry_host.ts";
import { Repository } from "../../../src/image/distribution/repository.ts";
import { Transports } from "../../../src/image/distribution/transports.ts";
import type { ByteReader } from "../../../src/image/distribution/transport.ts";
import { parseDigest } from "../../../src/base/ids.ts";
import { FakeRegistry, type FakeRegistryOptions } from "../../fakes/registry.ts";
import { makeTestCa } from "../../fakes/registry/ca.ts";

const signal = new AbortController().signal;
const RETRY = { baseMs: 1, maxMs: 2 };

interface Options extends FakeRegistryOptions {
  readonly credentials?: Credentials;
  readonly insecure?: boolean;
  readonly stallTimeoutMs?: number;
  readonly certificateDirectories?: readonly string[];
}

async function withRepository(
  options: Options,
  body: (repository: Repository, registry: FakeRegistry) => Promise<void>,
): Promise<void> {
  await using registry = await FakeRegistry.start(options);
  using transports = new Transports({ certificateDirectories: options.certificateDirectories ?? [] });
  const host = new RegistryHost({
    host: registry.host,
    insecure: options.insecure ?? options.tls === undefined,
    transports,
    retry: RETRY,
    ...(options.credentials === undefined ? {} : { credentials: options.credentials }),
    ...(options.stallTimeoutMs === undefined ? {} : { stallTimeoutMs: options.stallTimeoutMs }),
  });
  await body(new Repository(host, "team/app"), registry);
}

async function readAll(reader: ByteReader): Promise<Uint8Array> {
  await using source = reader;
  const pieces: Uint8Array[] = [];
  for (let piece = await source.read(); piece !== undefined; piece = await source.read()) pieces.push(piece.slice());
  const all = new Uint8Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

const BLOB = new Uint8Array(2_000_000).map((_, i) => (i * 7919) >> 5);
const account = { username: "ann", password: "pässword:1" };
const basic: Credentials = { kind: "basic", ...account };

function store(registry: FakeRegistry): { digest: ReturnType<typeof parseDigest>; sizeBytes: number } {
  return { digest: parseDigest(registry.addBlob(BLOB)), sizeBytes: BLOB.length };
}

Deno.test("Repository.manifest() reads by tag and by digest over plain HTTP of an insecure registry", async () => {
  await withRepository({}, async (repository, registry) => {
    const image = registry.addImage({ name: "team/app", layers: [new Uint8Array(512)] });
    const byTag = await repository.manifest("latest", signal);
    equal(byTag.digest, image.digest);
    equal(byTag.contentType, image.mediaType);
    deepEqual((await repository.manifest(image.digest, signal)).bytes, byTag.bytes);
  });
});

Deno.test("Repository.manifest() refuses bytes that do not have the digest", async () => {
  await withRepository(
    { faults: [{ path: "/manifests/", effect: { kind: "corrupt" } }] },
    async (repository, registry) => {
      const image = registry.addImage({ name: "team/app", layers: [] });
      await rejects(repository.manifest(image.digest, signal), { kind: "data_loss" });
    },
  );
});

Deno.test("Repository.manifest() refuses a document above 4 MiB", async () => {
  const faults = [{ path: "/manifests/", effect: { kind: "pad" as const, toBytes: 5_000_000 } }];
  await withRepository({ faults }, async (repository, registry) => {
    registry.addImage({ name: "team/app", layers: [] });
    await rejects(repository.manifest("latest", signal), /larger than 4194304 bytes/);
  });
});

Deno.test("Repository.manifest() says what is missing", async () => {
  await withRepository({}, async (repository) => {
    await rejects(repository.manifest("nope", signal), (error: RegistryError) => {
      deepEqual([error.kind, error.status, error.codes, error.retriable], [
        "not_found",
        404,
        ["MANIFEST_UNKNOWN"],
        false,
      ]);
      match(error.message, /manifest nope of team\/app: http:.* answered 404: MANIFEST_UNKNOWN manifest unknown/);
      return true;
    });
  });
});

Deno.test("an insecure registry may have a certificate that nobody trusts, a secure one may not", async () => {
  const ca = await makeTestCa();
  await withRepository({ tls: ca, insecure: true }, async (repository, registry) => {
    registry.addImage({ name: "team/app", layers: [] });
    ok((await repository.manifest("latest", signal)).bytes.length > 0);
    const descriptor = store(registry);
    deepEqual(await readAll(repository.blob(descriptor, { signal })), BLOB);
  });
  await withRepository({ tls: ca, insecure: false }, async (repository) => {
    await rejects(repository.manifest("latest", signal), { kind: "failed_precondition" });
  });
});

Deno.test("certs.d makes a registry's own authority trusted", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const ca = await makeTestCa();
    await withRepository({ tls: ca, certificateDirectories: [directory] }, async (repository, registry) => {
      registry.addImage({ name: "team/app", layers: [] });
      await Deno.mkdir(`${directory}/${registry.host}`);
      await Deno.writeTextFile(`${directory}/${registry.host}/ca.crt`, ca.caPem);
      ok((await repository.manifest("latest", signal)).bytes.length > 0);
    });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

for (
  const [name, auth, credentials] of [
    ["Basic credentials", { kind: "basic", account }, basic],
    ["an anonymous token", { kind: "bearer" }, undefined],
    ["a token for Basic credentials", { kind: "bearer", account, field: "access_token" }, basic],
    ["a token for an identity token", { kind: "bearer", identityToken: "idt" }, {
      kind: "identityToken",
      token: "idt",
    }],
  ] as const
) {
  Deno.test(`RegistryHost authorizes with ${name}`, async () => {
    await withRepository(
      { auth, ...(credentials === undefined ? {} : { credentials }) },
      async (repository, registry) => {
        registry.addImage({ name: "team/app", layers: [] });
        const descriptor = store(registry);
        await repository.manifest("latest", signal);
        deepEqual(await readAll(repository.blob(descriptor, { signal })), BLOB);
        ok(registry.requestsTo("token").length <= 1, "one token serves all requests of a scope");
        registry.expireTokens();
        await repository.manifest("latest", signal);
      },
    );
  });
}

Deno.test("RegistryHost refuses with the registry's own words when credentials are wrong", async () => {
  const wrong: Credentials = { kind: "basic", username: "ann", password: "secret-typo" };
  for (const auth of [{ kind: "basic", account }, { kind: "bearer", account }] as const) {
    await withRepository({ auth, credentials: wrong }, async (repository, registry) => {
      registry.addImage({ name: "team/app", layers: [] });
      await rejects(repository.manifest("latest", signal), (error: RegistryError) => {
        equal(error.kind, "permission_denied");
        equal(error.status, 401);
        ok(!error.message.includes("secret-typo"));
        return true;
      });
    });
  }
});

for (const status of [301, 302, 303, 307, 308] as const) {
  Deno.test(`a blob behind a ${status} is read without credentials`, async () => {
    const auth = { kind: "bearer", account } as const;
    await withRepository({ auth, credentials: basic, redirectBlobs: status }, async (repository, registry) => {
      deepEqual(await readAll(repository.blob(store(registry), { signal })), BLOB);
      deepEqual(registry.requestsTo("storage").map((request) => request.authorization), [undefined]);
    });
  });
}

Deno.test("redirects never end in a circle, and http is not followed from https", async () => {
  const loop = { kind: "custom" as const, change: () => ({ status: 302, headers: { location: "?again" } }) };
  await withRepository({ faults: [{ path: "/manifests/", effect: loop }] }, async (repository) => {
    await rejects(repository.manifest("latest", signal), /redirects more than 10 times/);
  });
  const none = { kind: "custom" as const, change: () => ({ status: 302, headers: {} }) };
  await withRepository({ faults: [{ path: "/manifests/", effect: none }] }, async (repository) => {
    await rejects(repository.manifest("latest", signal), /without a usable Location/);
  });
});

for (
  const effect of [
    { kind: "truncate", afterBytes: 700_000 },
    { kind: "reset", afterBytes: 700_000 },
    { kind: "stall", afterBytes: 700_000 },
    { kind: "status", status: 503 },
    { kind: "status", status: 429, headers: { "retry-after": "0" } },
    { kind: "reset" },
    { kind: "stall" },
  ] as const
) {
  const where = "afterBytes" in effect ? " in the middle" : "";
  for (const ranges of [true, false]) {
    Deno.test(`BlobReader survives ${effect.kind}${where}, ${ranges ? "with" : "without"} Range`, async () => {
      const faults = [{ path: "/blobs/", nth: [1, 2], effect }];
      // A busy machine pauses for 200 ms by itself.
      const stallTimeoutMs = effect.kind === "stall" ? 1000 : 30_000;
      await withRepository({ ranges, faults, stallTimeoutMs }, async (repository, registry) => {
        deepEqual(await readAll(repository.blob(store(registry), { signal })), BLOB);
        const asked = registry.requestsTo("registry", "/blobs/").map((request) => request.range);
        // The probe for HTTPS is no HTTP request, so it is not among them.
        equal(asked.length, 3);
        if ("afterBytes" in effect) ok(Number(/\d+/.exec(asked[1] ?? "")?.[0]) > 0, String(asked[1]));
      });
    });
  }
}

Deno.test("BlobReader gives up after its attempts and says how far it came", async () => {
  const faults = [{ path: "/blobs/", effect: { kind: "truncate" as const, afterBytes: 0 } }];
  await withRepository({ faults }, async (repository, registry) => {
    await rejects(readAll(repository.blob(store(registry), { signal })), RegistryError);
    equal(registry.requestsTo("registry", "/blobs/").length, 5);
  });
});

Deno.test("BlobReader refuses corrupt, longer and shorter blobs, without a retry", async () => {
  await withRepository({ faults: [{ path: "/blobs/", effect: { kind: "corrupt" } }] }, async (repository, registry) => {
    await rejects(readAll(repository.blob(store(registry), { signal })), {
      kind: "data_loss",
      message: /has the digest/,
    });
    equal(registry.requestsTo("registry", "/blobs/").length, 1);
  });
  await withRepository({}, async (repository, registry) => {
    const { digest, sizeBytes } = store(registry);
    for (const wrong of [sizeBytes - 1, sizeBytes + 1]) {
      await rejects(readAll(repository.blob({ digest, sizeBytes: wrong }, { signal })), { kind: "data_loss" });
    }
  });
});

Deno.test("an aborted download ends with the caller's reason", async () => {
  const faults = [{ path: "/blobs/", effect: { kind: "stall" as const, afterBytes: 10 } }];
  await withRepository({ faults }, async (repository, registry) => {
    const controller = new AbortController();
    await using reader = repository.blob(store(registry), { signal: controller.signal });
    await reader.read();
    const next = reader.read();
    controller.abort(new Error("gone"));
    await rejects(next, /gone/);
  });
});

Deno.test("nothing listening is registry_unavailable, and names the place", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  using transports = new Transports({ certificateDirectories: [] });
  for (const insecure of [true, false]) {
    const host = new RegistryHost({ host: `127.0.0.1:${port}`, insecure, transports, retry: RETRY });
    await rejects(new Repository(host, "a").manifest("1", signal), (error: RegistryError) => {
      equal(error.kind, "registry_unavailable");
      match(error.message, new RegExp(`https://127.0.0.1:${port}.*refused`, "i"));
      return true;
    });
  }
});
