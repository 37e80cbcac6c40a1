/** A chunk of its own, loaded with the first encrypted image. */
export { flattenedDecrypt, generalDecrypt } from "jose";
