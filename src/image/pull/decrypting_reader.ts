import { createDecipheriv, createHmac, timingSafeEqual } from "node:crypto";
import { DataLossError } from "../../base/errors.ts";
import type { ByteReader } from "../distribution/transport.ts";
import type { LayerKey } from "../encryption/layer_keys.ts";
import type { Bytes } from "./decompress.ts";

/** The plain bytes of an encrypted layer. The read that would give the end throws unless the bytes were authentic. */
export class DecryptingReader implements ByteReader {
  readonly #cipher;
  readonly #hmac;
  readonly #expected: Uint8Array;
  #verified = false;

  constructor(private readonly source: ByteReader, { key, nonce, hmac }: LayerKey) {
    const secret = Uint8Array.fromBase64(key);
    this.#cipher = createDecipheriv("aes-256-ctr", secret, Uint8Array.fromBase64(nonce));
    this.#hmac = createHmac("sha256", secret);
    this.#expected = Uint8Array.fromBase64(hmac);
  }

  /** @throws DataLossError when the bytes are not those that were encrypted; what the source throws */
  async read(): Promise<Bytes | undefined> {
    if (this.#verified) return undefined;
    const piece = await this.source.read();
    if (piece !== undefined) {
      this.#hmac.update(piece);
      return new Uint8Array(this.#cipher.update(piece));
    }
    if (!timingSafeEqual(this.#hmac.digest(), this.#expected)) {
      throw new DataLossError("an encrypted layer is not what was encrypted: its hmac is another");
    }
    this.#verified = true;
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.source[Symbol.asyncDispose]();
  }
}
