/** A chunk of its own, loaded by `simple_signing.ts` when a policy asks for a GPG signature. */
export { readKeys, readMessage, unarmor, verify } from "openpgp";
export type { PublicKey } from "openpgp";
