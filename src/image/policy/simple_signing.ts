/**
 * Simple signing: an OpenPGP message with the payload and one signature inside, checked as gpg checks it for
 * containers/image: the key has to be good when the signature was made, and now.
 *
 * @module
 */
import { FailedPreconditionError, messageOf } from "../../base/errors.ts";
import type { PublicKey } from "./_openpgp.ts";
import { SignatureRejection } from "./rejection.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** A payload is a few hundred bytes; what unfolds to more than this is an attack. */
const MAX_PAYLOAD_BYTES = 1024 * 1024;
const CONFIG = { maxDecompressedMessageSize: MAX_PAYLOAD_BYTES };
const ARMOR = /-----BEGIN PGP PUBLIC KEY BLOCK-----[\s\S]*?-----END PGP PUBLIC KEY BLOCK-----/g;

/**
 * Reads keyrings, binary or armored; an armored one may hold several blocks.
 *
 * @throws FailedPreconditionError for what is no keyring, and when there is no key at all
 */
export async function readKeyrings(keyrings: readonly Bytes[]): Promise<readonly PublicKey[]> {
  const { readKeys, unarmor } = await import("./_openpgp.ts");
  const keys: PublicKey[] = [];
  for (const bytes of keyrings) {
    try {
      const blocks = new TextDecoder().decode(bytes).match(ARMOR);
      const binaries = blocks === null
        ? [bytes]
        : await Promise.all(blocks.map(async (block) => (await unarmor(block)).data as Bytes));
      for (const binaryKeys of binaries) keys.push(...await readKeys({ binaryKeys }));
    } catch (error) {
      throw new FailedPreconditionError(`a keyring of the policy cannot be read: ${messageOf(error)}`, {
        cause: error,
      });
    }
  }
  if (keys.length === 0) throw new FailedPreconditionError("the keyrings of the policy hold no key");
  return keys;
}

/**
 * Checks a signed message.
 *
 * @returns what was signed
 * @throws SignatureRejection when it is not signed by exactly one of these keys, or that key is expired or revoked
 */
export async function openSignedMessage(binaryMessage: Bytes, keys: readonly PublicKey[]): Promise<Bytes> {
  const { readMessage, verify } = await import("./_openpgp.ts");
  try {
    const message = await readMessage({ binaryMessage, config: CONFIG });
    const result = await verify({ message, verificationKeys: [...keys], format: "binary", config: CONFIG });
    const [signature, ...more] = result.signatures;
    if (signature === undefined) throw new SignatureRejection("it holds no signature");
    if (more.length > 0) throw new SignatureRejection("it holds more than one signature");
    const { keyID, verified } = signature;
    const key = keys.find((one) => one.getKeys(keyID).length > 0);
    if (key === undefined) throw new SignatureRejection(`it is made by the key ${keyID.toHex()}, which is not trusted`);
    await verified;
    await key.getSigningKey(keyID, new Date());
    return new Uint8Array(result.data as Uint8Array);
  } catch (error) {
    if (error instanceof SignatureRejection) throw error;
    throw new SignatureRejection(`the GPG signature is not good: ${messageOf(error)}`, { cause: error });
  }
}
