/** A chunk of its own: imported at run time, the CommonJS package itself would show the bundle no names. */
export { json, X509Certificate } from "@sigstore/core";
