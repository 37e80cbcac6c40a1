import { InvalidArgumentError } from "./errors.ts";

declare const brand: unique symbol;

/** 64 lower-case hex digits that name a container. */
export type ContainerId = string & { readonly [brand]: "ContainerId" };
/** 64 lower-case hex digits that name a pod sandbox. */
export type SandboxId = string & { readonly [brand]: "SandboxId" };
/** 64 lower-case hex digits that name an image: the hex part of its configuration's digest. */
export type ImageId = string & { readonly [brand]: "ImageId" };
/** A content digest, `sha256:<64 hex>` or `sha512:<128 hex>`. */
export type Digest = string & { readonly [brand]: "Digest" };
/** An absolute path on the host. */
export type HostPath = string & { readonly [brand]: "HostPath" };

const HEX_ID = /^[0-9a-f]{64}$/;
const DIGEST = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

/** A fresh random container id. */
export function newContainerId(): ContainerId {
  return randomHex(32) as ContainerId;
}

/** A fresh random sandbox id. */
export function newSandboxId(): SandboxId {
  return randomHex(32) as SandboxId;
}

/** @throws InvalidArgumentError unless `text` is 64 lower-case hex digits */
export function parseContainerId(text: string): ContainerId {
  return requireHex(text, "container id") as ContainerId;
}

/** @throws InvalidArgumentError unless `text` is 64 lower-case hex digits */
export function parseImageId(text: string): ImageId {
  return requireHex(text, "image id") as ImageId;
}

/** @throws InvalidArgumentError unless `text` is a sha256 or sha512 digest in canonical form */
export function parseDigest(text: string): Digest {
  if (!DIGEST.test(text)) {
    throw new InvalidArgumentError(`digest ${JSON.stringify(text.slice(0, 160))} is not sha256:<hex> or sha512:<hex>`);
  }
  return text as Digest;
}

/** The hex part of a digest. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** @throws InvalidArgumentError unless `text` is an absolute path without NUL bytes */
export function parseHostPath(text: string): HostPath {
  if (!text.startsWith("/") || text.includes("\0")) {
    throw new InvalidArgumentError(`path ${JSON.stringify(text)} is not absolute`);
  }
  return text as HostPath;
}

/** `byteCount` random bytes as lower-case hex. */
export function randomHex(byteCount: number): string {
  return crypto.getRandomValues(new Uint8Array(byteCount)).toHex();
}

function requireHex(text: string, what: string): string {
  if (!HEX_ID.test(text)) {
    throw new InvalidArgumentError(`${what} ${JSON.stringify(text.slice(0, 80))} is not 64 hex digits`);
  }
  return text;
}
