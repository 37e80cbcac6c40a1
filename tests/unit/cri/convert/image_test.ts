import { deepEqual, equal, ok as assert, throws } from "node:assert/strict";
import { InvalidArgumentError } from "../../../../src/base/errors.ts";
import { image, imageInfo, pullRequest, registryCredentials } from "../../../../src/cri/convert/image.ts";
import { AuthConfig, Image, LinuxPodSandboxConfig, PullImageRequest } from "../../../../src/cri/gen/api.ts";
import type { ImageInfo } from "../../../../src/cri/operations.ts";
import { imageSpec, podConfig } from "../../../fakes/cri_operations.ts";

const auth = (changes: Partial<AuthConfig>): AuthConfig => ({ ...AuthConfig.decode(new Uint8Array()), ...changes });

const info: ImageInfo = {
  id: "a".repeat(64),
  repoTags: ["x:1"],
  repoDigests: ["x@sha256:1"],
  sizeBytes: 10,
  user: "",
  pinned: false,
  annotations: {},
};

Deno.test("pullRequest() takes over every field", () => {
  const request: PullImageRequest = {
    image: { ...imageSpec("busybox:1"), userSpecifiedImage: "busybox", runtimeHandler: "runc" },
    auth: auth({ username: "u", password: "p:\n", serverAddress: "https://r.example/v1/" }),
    sandboxConfig: podConfig({ linux: { ...LinuxPodSandboxConfig.decode(new Uint8Array()), cgroupParent: "/k" } }),
  };
  deepEqual(pullRequest(request), {
    image: "busybox:1",
    userSpecifiedImage: "busybox",
    runtimeHandler: "runc",
    credentials: { kind: "basic", username: "u", password: "p:\n" },
    serverAddress: "https://r.example/v1/",
    pod: { namespace: "default", name: "web", uid: "u-1" },
    cgroupParent: "/k",
  });
  deepEqual(pullRequest({ image: imageSpec("x"), auth: undefined, sandboxConfig: undefined }), {
    image: "x",
    userSpecifiedImage: "",
    runtimeHandler: "",
    cgroupParent: "",
  });
});

Deno.test("pullRequest() refuses an empty image and a namespace that is a path", () => {
  const empty = PullImageRequest.decode(new Uint8Array());
  throws(() => pullRequest(empty), InvalidArgumentError);
  throws(() => pullRequest({ ...empty, image: imageSpec("") }), InvalidArgumentError);
  const sandboxConfig = podConfig({ metadata: { name: "a", namespace: "../../etc", uid: "", attempt: 0 } });
  throws(() => pullRequest({ ...empty, image: imageSpec("x"), sandboxConfig }), InvalidArgumentError);
});

Deno.test("registryCredentials() reads each form", () => {
  const encoded = (text: string): string => new TextEncoder().encode(text).toBase64();
  equal(registryCredentials(undefined), undefined);
  equal(registryCredentials(auth({ serverAddress: "x" })), undefined);
  deepEqual(registryCredentials(auth({ auth: encoded("u:p:q") })), { kind: "basic", username: "u", password: "p:q" });
  deepEqual(registryCredentials(auth({ auth: encoded("u:p\0\0") })), { kind: "basic", username: "u", password: "p" });
  deepEqual(registryCredentials(auth({ auth: encoded("u:") })), { kind: "basic", username: "u", password: "" });
  deepEqual(registryCredentials(auth({ username: "u", auth: encoded("x:y") })), {
    kind: "basic",
    username: "u",
    password: "",
  });
  deepEqual(registryCredentials(auth({ identityToken: "i" })), { kind: "identityToken", token: "i" });
  deepEqual(registryCredentials(auth({ registryToken: "r", identityToken: "i" })), {
    kind: "registryToken",
    token: "r",
  });
});

Deno.test("registryCredentials() refuses nonsense without repeating it", () => {
  for (const text of ["!!secret!!", "c2VjcmV0", "/w=="]) {
    throws(() => registryCredentials(auth({ auth: text })), (error) => {
      assert(error instanceof InvalidArgumentError);
      assert(!error.message.includes("secret") && !error.message.includes(text));
      return true;
    });
  }
  for (const field of ["registryToken", "identityToken", "username", "password"] as const) {
    const text = field.endsWith("Token") ? "secret\r\nX-Header: 1" : "secret\0";
    throws(() => registryCredentials(auth({ [field]: text })), (error: Error) => {
      return error instanceof InvalidArgumentError && !error.message.includes("secret");
    });
  }
});

Deno.test("image() gives the user as number or name, whatever the image claims", () => {
  const table: Array<[string, bigint | undefined, string]> = [
    ["", undefined, ""],
    ["0", 0n, ""],
    ["1000:2000", 1000n, ""],
    ["nobody", undefined, "nobody"],
    ["nobody:nogroup", undefined, "nobody"],
    ["99999999999999999999999", undefined, "99999999999999999999999"],
    ["-1", undefined, "-1"],
  ];
  for (const [user, uid, username] of table) {
    const message = image({ ...info, user });
    deepEqual([message.uid?.value, message.username], [uid, username], user);
    deepEqual(Image.decode(Image.encode(message).finish()), message);
  }
});

Deno.test("imageInfo() takes configurations of any shape", () => {
  for (const config of [undefined, null, {}, { config: null }, { config: { Labels: null } }, []]) {
    deepEqual(JSON.parse(imageInfo(config).get("info") ?? "").labels, {});
  }
});
