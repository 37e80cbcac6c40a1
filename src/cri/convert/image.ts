import { InvalidArgumentError } from "../../base/errors.ts";
import type { AuthConfig, FilesystemUsage, Image, ImageSpec, PullImageRequest } from "../gen/api.ts";
import type { FilesystemUse, ImageInfo, PullRequest, RegistryCredentials } from "../operations.ts";
import { clean, nameLike, nonEmpty, oneLine } from "./_checks.ts";

/** The request for a pull, checked as far as that needs no state. */
export function pullRequest(request: PullImageRequest): PullRequest {
  const credentials = registryCredentials(request.auth);
  const metadata = request.sandboxConfig?.metadata;
  return {
    image: imageReference(request.image),
    userSpecifiedImage: oneLine(request.image?.userSpecifiedImage ?? "", "image.user_specified_image"),
    runtimeHandler: oneLine(request.image?.runtimeHandler ?? "", "image.runtime_handler"),
    cgroupParent: oneLine(request.sandboxConfig?.linux?.cgroupParent ?? "", "sandbox_config.linux.cgroup_parent"),
    ...(credentials === undefined ? {} : { credentials, ...serverAddress(request.auth) }),
    // The namespace chooses credentials and policy files by name.
    ...(metadata === undefined || metadata.namespace === "" ? {} : {
      pod: {
        namespace: nameLike(metadata.namespace, "sandbox_config.metadata.namespace"),
        name: metadata.name,
        uid: metadata.uid,
      },
    }),
  };
}

/** The reference in an ImageSpec. */
export function imageReference(spec: ImageSpec | undefined): string {
  return oneLine(nonEmpty(spec?.image ?? "", "image"), "image");
}

/** How to log in; undefined when the client sent nothing to log in with. */
export function registryCredentials(auth: AuthConfig | undefined): RegistryCredentials | undefined {
  if (auth === undefined) return undefined;
  if (auth.registryToken !== "") return { kind: "registryToken", token: secretLine(auth.registryToken) };
  if (auth.identityToken !== "") return { kind: "identityToken", token: secretLine(auth.identityToken) };
  if (auth.username !== "" || auth.password !== "") {
    return { kind: "basic", username: clean(auth.username, SECRET), password: clean(auth.password, SECRET) };
  }
  return auth.auth === "" ? undefined : decodedAuth(auth.auth);
}

function serverAddress(auth: AuthConfig | undefined): { serverAddress?: string } {
  const text = oneLine(auth?.serverAddress ?? "", "auth.server_address");
  return text === "" ? {} : { serverAddress: text };
}

/** A secret never appears in a message. */
const SECRET = "auth";

function secretLine(text: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what this looks for
  if (/[\x00-\x1f\x7f]/.test(text)) throw new InvalidArgumentError("auth has a token with a control character");
  return text;
}

function decodedAuth(text: string): RegistryCredentials {
  const decoded = fromBase64(text);
  const colon = decoded?.indexOf(":") ?? -1;
  if (decoded === undefined || colon < 0) {
    throw new InvalidArgumentError("auth.auth is not the base64 form of username:password");
  }
  // Docker pads what it encodes with NUL bytes.
  const password = decoded.slice(colon + 1).replace(/\0+$/, "");
  return { kind: "basic", username: clean(decoded.slice(0, colon), SECRET), password: clean(password, SECRET) };
}

function fromBase64(text: string): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(text.trim()));
  } catch {
    return undefined;
  }
}

/** An image as ListImages and ImageStatus give it. */
export function image(info: ImageInfo): Image {
  const name = info.user.split(":")[0] ?? "";
  // An image can claim any user; a number that is no id must not spoil the whole list.
  const isNumber = /^\d{1,10}$/.test(name);
  return {
    id: info.id,
    repoTags: [...info.repoTags],
    repoDigests: [...info.repoDigests],
    size: BigInt(info.sizeBytes),
    uid: isNumber ? { value: BigInt(name) } : undefined,
    username: isNumber ? "" : name,
    spec: {
      image: "",
      annotations: new Map(Object.entries(info.annotations)),
      userSpecifiedImage: "",
      runtimeHandler: "",
      imageRef: "",
    },
    pinned: info.pinned,
  };
}

/** The verbose answer's `info` value; `config` is an OCI image configuration. */
export function imageInfo(config: unknown): Map<string, string> {
  const labels = (config as { config?: { Labels?: unknown } } | undefined)?.config?.Labels ?? {};
  return new Map([["info", JSON.stringify({ labels, imageSpec: config ?? {} })]]);
}

/** Disk use as ImageFsInfo gives it. */
export function filesystemUsage(use: FilesystemUse): FilesystemUsage {
  return {
    timestamp: use.timestampNanos,
    fsId: { mountpoint: use.mountpoint },
    usedBytes: { value: BigInt(use.usedBytes) },
    inodesUsed: { value: BigInt(use.inodesUsed) },
  };
}
