/**
 * The daemon with one field of the CRI taken out: MUTANT=`Message.field` names it, and every decoded message of that kind
 * has the field's default in its place, as if its conversion were not there.
 *
 * @module
 */
import * as api from "../../../src/cri/gen/api.ts";

/** A codec of the generated file. */
interface Codec {
  decode(input: unknown, length?: number): Record<string, unknown>;
}

function isCodec(value: unknown): value is Codec {
  return typeof value === "object" && value !== null && "decode" in value;
}

const [name = "", field = ""] = (Deno.env.get("MUTANT") ?? "").split(".");
const codec = (api as Readonly<Record<string, unknown>>)[name];
if (!isCodec(codec) || !(field in codec.decode(new Uint8Array()))) {
  throw new Error(`MUTANT=${name}.${field}: no such field`);
}
const decode = codec.decode.bind(codec);
codec.decode = (input, length) => ({ ...decode(input, length), [field]: decode(new Uint8Array())[field] });
await import("../../../main.ts");
