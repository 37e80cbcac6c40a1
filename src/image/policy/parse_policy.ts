/** Reads policy.json as strictly as containers-policy.json(5) asks for: an unknown or repeated key spoils the file. */
import { FailedPreconditionError, InvalidArgumentError, messageOf } from "../../base/errors.ts";
import { parseReference } from "../reference.ts";
import type { IdentityRule, Material, Requirement, SignedBy, SigstoreSigned, SigstoreSigner } from "./requirement.ts";
import { isScope } from "./scopes.ts";
import { base64 } from "./signature.ts";
import { type JsonObject, parseStrictJson, shown, strictObject, strictText } from "./strict_json.ts";

/** A policy. */
export interface Policy {
  readonly file: string;
  readonly default: readonly Requirement[];
  /** Transport -> scope -> requirements; the empty scope is the transport's default. */
  readonly transports: ReadonlyMap<string, ReadonlyMap<string, readonly Requirement[]>>;
}

/** Of a reason that repeats what the file has. */
const MAX_REASON_CHARS = 1000;
const KEY_TYPES = ["GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"];
const DEFAULT_IDENTITY: IdentityRule = { type: "matchRepoDigestOrExact" };

/** @throws FailedPreconditionError naming the file and what is wrong with it */
export function parsePolicy(text: string, file: string): Policy {
  try {
    const document = strictObject(parseStrictJson(text), "it", ["default", "transports"]);
    if (document["default"] === undefined) throw new InvalidArgumentError("it has no default");
    const { transports: given = {} } = document;
    const transports = strictObject(given, "transports");
    return {
      file,
      default: requirements(document["default"], "default"),
      transports: new Map(Object.entries(transports).map(([name, scopes]) => [name, scopesOf(name, scopes)])),
    };
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new FailedPreconditionError(`signature policy ${file}: ${messageOf(error).slice(0, MAX_REASON_CHARS)}`, {
      cause: error,
    });
  }
}

function scopesOf(transport: string, value: unknown): ReadonlyMap<string, readonly Requirement[]> {
  const scopes = Object.entries(strictObject(value, `transport ${shown(transport)}`));
  return new Map(scopes.map(([scope, list]) => {
    if (!isScope(transport, scope)) {
      throw new InvalidArgumentError(`transport ${shown(transport)}: ${shown(scope)} is not a scope of it`);
    }
    return [scope, requirements(list, `${transport} ${shown(scope)}`)];
  }));
}

function requirements(value: unknown, where: string): readonly Requirement[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw new InvalidArgumentError(`${where} is not a list of requirements`);
  }
  return value.map((entry, i) => requirement(strictObject(entry, `${where}[${i}]`), `${where}[${i}]`));
}

function requirement(entry: JsonObject, where: string): Requirement {
  const type = strictText(entry["type"], `${where}: type`);
  const what = `${where}: ${shown(type)}`;
  switch (type) {
    case "insecureAcceptAnything":
    case "reject":
      strictObject(entry, what, ["type"]);
      return { type };
    case "signedBaseLayer":
      strictObject(entry, what, ["type", "baseLayerIdentity"]);
      identityRule(entry["baseLayerIdentity"], `${what}: baseLayerIdentity`);
      return { type };
    case "signedBy":
      return signedBy(entry, what);
    case "sigstoreSigned":
      return sigstoreSigned(entry, what);
    default:
      throw new InvalidArgumentError(`${what} is no type of requirement that is known`);
  }
}

function signedBy(entry: JsonObject, what: string): SignedBy {
  strictObject(entry, what, ["type", "keyType", "keyPath", "keyPaths", "keyData", "signedIdentity"]);
  const keyType = strictText(entry["keyType"], `${what}: keyType`);
  if (!KEY_TYPES.includes(keyType)) throw new InvalidArgumentError(`${what}: keyType ${shown(keyType)} is not known`);
  const keys = material(entry, { one: "keyPath", many: "keyPaths", data: "keyData" }, what);
  if (keys === undefined) throw new InvalidArgumentError(`${what}: none of keyPath, keyPaths and keyData is given`);
  return { type: "signedBy", keyType, keys, signedIdentity: signedIdentity(entry, what) };
}

function sigstoreSigned(entry: JsonObject, what: string): SigstoreSigned {
  const rekor = {
    one: "rekorPublicKeyPath",
    many: "rekorPublicKeyPaths",
    data: "rekorPublicKeyData",
    datas: "rekorPublicKeyDatas",
  };
  const own = { one: "keyPath", many: "keyPaths", data: "keyData", datas: "keyDatas" };
  const known = [...Object.values(rekor), ...Object.values(own), "type", "fulcio", "pki", "signedIdentity"];
  strictObject(entry, what, known);
  const signers: SigstoreSigner[] = [];
  const keys = material(entry, own, what);
  if (keys !== undefined) signers.push({ kind: "keys", keys });
  if (entry["fulcio"] !== undefined) signers.push(fulcio(entry["fulcio"], `${what}: fulcio`));
  if (entry["pki"] !== undefined) signers.push(pki(entry["pki"], `${what}: pki`));
  const [signer, ...more] = signers;
  if (signer === undefined || more.length > 0) {
    throw new InvalidArgumentError(
      `${what}: exactly one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki has to be given`,
    );
  }
  const rekorKeys = material(entry, rekor, what);
  if (signer.kind === "fulcio" && rekorKeys === undefined) {
    throw new InvalidArgumentError(`${what}: fulcio needs one of the rekorPublicKey keys beside it`);
  }
  if (signer.kind === "pki" && rekorKeys !== undefined) {
    throw new InvalidArgumentError(`${what}: pki goes without any of the rekorPublicKey keys`);
  }
  const common = { type: "sigstoreSigned" as const, signer, signedIdentity: signedIdentity(entry, what) };
  return rekorKeys === undefined ? common : { ...common, rekorKeys };
}

function fulcio(value: unknown, what: string): SigstoreSigner {
  const entry = strictObject(value, what, ["caPath", "caData", "oidcIssuer", "subjectEmail"]);
  const authorities = material(entry, { one: "caPath", data: "caData" }, what);
  if (authorities === undefined) throw new InvalidArgumentError(`${what}: neither caPath nor caData is given`);
  const oidcIssuer = strictText(entry["oidcIssuer"], `${what}: oidcIssuer`);
  const subjectEmail = strictText(entry["subjectEmail"], `${what}: subjectEmail`);
  return { kind: "fulcio", authorities, oidcIssuer, subjectEmail };
}

function pki(value: unknown, what: string): SigstoreSigner {
  const entry = strictObject(value, what, [
    ...["caRootsPath", "caRootsData", "caIntermediatesPath", "caIntermediatesData"],
    ...["subjectEmail", "subjectHostname"],
  ]);
  const roots = material(entry, { one: "caRootsPath", data: "caRootsData" }, what);
  if (roots === undefined) throw new InvalidArgumentError(`${what}: neither caRootsPath nor caRootsData is given`);
  const intermediates = material(entry, { one: "caIntermediatesPath", data: "caIntermediatesData" }, what);
  const subjectEmail = optionalText(entry["subjectEmail"], `${what}: subjectEmail`);
  const subjectHostname = optionalText(entry["subjectHostname"], `${what}: subjectHostname`);
  if (subjectEmail === undefined && subjectHostname === undefined) {
    throw new InvalidArgumentError(`${what}: neither subjectEmail nor subjectHostname is given`);
  }
  return {
    kind: "pki",
    roots,
    ...(intermediates === undefined ? {} : { intermediates }),
    ...(subjectEmail === undefined ? {} : { subjectEmail }),
    ...(subjectHostname === undefined ? {} : { subjectHostname }),
  };
}

/** The keys of an entry under which material can stand; at most one of them may be there. */
interface MaterialKeys {
  readonly one: string;
  readonly many?: string;
  readonly data: string;
  readonly datas?: string;
}

function material(entry: JsonObject, keys: MaterialKeys, what: string): Material | undefined {
  const given = Object.values(keys).filter((key) => entry[key] !== undefined);
  const [key, second] = given;
  if (key === undefined) return undefined;
  if (second !== undefined) throw new InvalidArgumentError(`${what}: only one of ${given.join(" and ")} may be given`);
  const isList = key === keys.many || key === keys.datas;
  const values = isList ? entry[key] : [entry[key]];
  if (!Array.isArray(values) || values.length === 0) throw new InvalidArgumentError(`${what}: ${key} is no list`);
  const texts = values.map((value) => strictText(value, `${what}: ${key}`));
  if (key === keys.one || key === keys.many) return { paths: texts };
  for (const text of texts) base64(text, `${what}: ${key}`);
  return { data: texts };
}

function optionalText(value: unknown, what: string): string | undefined {
  return value === undefined ? undefined : strictText(value, what);
}

function signedIdentity(entry: JsonObject, what: string): IdentityRule {
  const value = entry["signedIdentity"];
  return value === undefined ? DEFAULT_IDENTITY : identityRule(value, `${what}: signedIdentity`);
}

function identityRule(value: unknown, what: string): IdentityRule {
  const entry = strictObject(value, what);
  const type = strictText(entry["type"], `${what}: type`);
  const only = (...keys: string[]): JsonObject => strictObject(entry, what, ["type", ...keys]);
  const reference = (key: string): string => strictText(only(key)[key], `${what}: ${key}`);
  switch (type) {
    case "matchExact":
    case "matchRepoDigestOrExact":
    case "matchRepository":
      only();
      return { type };
    case "exactReference": {
      const dockerReference = reference("dockerReference");
      const { tag, digest } = parseReference(dockerReference);
      if (tag === undefined && digest === undefined) {
        throw new InvalidArgumentError(`${what}: ${shown(dockerReference)} has neither a tag nor a digest`);
      }
      return { type, dockerReference };
    }
    case "exactRepository": {
      const dockerRepository = reference("dockerRepository");
      parseReference(dockerRepository);
      return { type, dockerRepository };
    }
    case "remapIdentity": {
      const { prefix, signedPrefix } = only("prefix", "signedPrefix");
      return {
        type,
        prefix: remapPrefix(prefix, `${what}: prefix`),
        signedPrefix: remapPrefix(signedPrefix, `${what}: signedPrefix`),
      };
    }
    default:
      throw new InvalidArgumentError(`${what}: ${shown(type)} is no type of identity that is known`);
  }
}

/** A host, or a repository or namespace with its host. */
function remapPrefix(value: unknown, what: string): string {
  const prefix = strictText(value, what);
  if (parseReference(`${prefix}/x`).repository === `${prefix}/x`) return prefix;
  throw new InvalidArgumentError(`${what}: ${shown(prefix)} is neither a host nor a full name without tag and digest`);
}
