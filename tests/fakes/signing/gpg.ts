import { runTool } from "./tool.ts";

/** A home of gpg with keys that tests make, in a directory of its own. */
export class GpgHome implements AsyncDisposable {
  private constructor(readonly directory: string) {}

  static async make(): Promise<GpgHome> {
    // gpg's agent listens on a socket in it: the path must be short.
    return new GpgHome(await Deno.makeTempDir({ prefix: "gpg-" }));
  }

  /** What other programs need to use it. */
  get environment(): Record<string, string> {
    return { GNUPGHOME: this.directory };
  }

  /**
   * Makes a signing key.
   *
   * @param options.expires as gpg takes it: `1d`, `seconds=1`, `never`
   * @returns its fingerprint
   */
  async addKey(
    email: string,
    options: { readonly expires?: string; readonly algorithm?: string } = {},
  ): Promise<string> {
    const { expires = "never", algorithm = "ed25519" } = options;
    await this.gpg(["--passphrase", "", "--quick-gen-key", email, algorithm, "sign", expires]);
    const list = await this.gpg(["--with-colons", "--list-keys", email]);
    return /^fpr:+([0-9A-F]+):/m.exec(new TextDecoder().decode(list))?.[1] ?? "";
  }

  /** The public keys as a keyring. */
  async export(
    fingerprints: readonly string[],
    form: "armored" | "binary" = "binary",
  ): Promise<Uint8Array<ArrayBuffer>> {
    return await this.gpg([...(form === "armored" ? ["--armor"] : []), "--export", ...fingerprints]);
  }

  /** A signed message with a text inside. */
  async sign(
    text: string,
    options: { readonly key: string; readonly more?: readonly string[] },
  ): Promise<Uint8Array<ArrayBuffer>> {
    return await this.gpg(["--local-user", options.key, ...(options.more ?? []), "--sign"], text);
  }

  /** Revokes a key with the certificate that gpg made with it. */
  async revoke(fingerprint: string): Promise<void> {
    const text = await Deno.readTextFile(`${this.directory}/openpgp-revocs.d/${fingerprint}.rev`);
    await this.gpg(["--import"], text.replace(":-----BEGIN", "-----BEGIN"));
  }

  async gpg(args: readonly string[], input = ""): Promise<Uint8Array<ArrayBuffer>> {
    return await runTool(["gpg", "--batch", "--yes", "--quiet", "--pinentry-mode", "loopback", ...args], {
      input,
      env: this.environment,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await runTool(["gpgconf", "--kill", "all"], { env: this.environment });
    await Deno.remove(this.directory, { recursive: true });
  }
}
