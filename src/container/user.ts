import { InvalidArgumentError } from "../base/errors.ts";
import type { SecurityContext } from "./types.ts";

/** User and groups of a container's init process. */
export interface ResolvedUser {
  readonly uid: number;
  readonly gid: number;
  /**
   * With `gid`, ascending. A process that may change its groups could drop the primary one otherwise, and with it what
   * the group's bits keep from it (CVE-2022-2995).
   */
  readonly supplementalGroups: readonly number[];
  /** Home directory from the image's passwd file; `/` where it has none. */
  readonly home: string;
  /** Whether the image's passwd file has the user. */
  readonly known: boolean;
}

/** The image's account files; empty text where a file is absent. */
export interface AccountFiles {
  readonly passwd: string;
  readonly group: string;
}

interface PasswdEntry {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

interface GroupEntry {
  readonly name: string;
  readonly gid: number;
  readonly members: readonly string[];
}

const MAX_ID = 0xffff_fffe;

/**
 * Who a container runs as: the request's uid or user name, else the image's `USER`, else root; the group from the
 * request, else from `USER uid:gid`, else the user's primary group; and supplementary groups: the request's, plus (with
 * the policy `merge`) those in which the image's group file lists the user.
 *
 * @param imageUser `uid`, `name`, `uid:gid`, `name:group` or empty
 * @throws InvalidArgumentError for a name that the image does not know or an id out of range
 */
export function resolveUser(security: SecurityContext, imageUser: string, files: AccountFiles): ResolvedUser {
  const passwd = parsePasswd(files.passwd);
  const groups = parseGroups(files.group);
  const [imageUserName = "", imageGroupName] = splitUser(imageUser);
  const wanted = security.runAsUser !== undefined
    ? String(security.runAsUser)
    : security.runAsUserName !== undefined && security.runAsUserName !== ""
    ? security.runAsUserName
    : imageUserName;
  const fromImage = security.runAsUser === undefined && (security.runAsUserName ?? "") === "";
  const entry = findUser(passwd, wanted);
  const uid = entry?.uid ?? requireId(wanted === "" ? "0" : wanted, "user");
  const named = entry ?? passwd.find((one) => one.uid === uid);
  const gid = security.runAsGroup ??
    (fromImage && imageGroupName !== undefined ? findGroup(groups, imageGroupName) : named?.gid ?? 0);
  const extra = new Set(security.supplementalGroups);
  if (security.supplementalGroupsPolicy === "merge" && named !== undefined) {
    for (const group of groups) if (group.members.includes(named.name)) extra.add(group.gid);
  }
  extra.add(gid);
  const supplementalGroups = [...extra].sort((a, b) => a - b);
  return { uid, gid, supplementalGroups, home: named?.home ?? "/", known: named !== undefined };
}

function splitUser(text: string): [string | undefined, string | undefined] {
  const colon = text.indexOf(":");
  return colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
}

function findUser(passwd: readonly PasswdEntry[], wanted: string): PasswdEntry | undefined {
  const byName = passwd.find((entry) => entry.name === wanted);
  if (byName !== undefined) return byName;
  return /^\d+$/.test(wanted) ? passwd.find((entry) => entry.uid === Number(wanted)) : undefined;
}

function findGroup(groups: readonly GroupEntry[], wanted: string): number {
  return groups.find((group) => group.name === wanted)?.gid ?? requireId(wanted, "group");
}

function requireId(text: string, what: string): number {
  if (!/^\d+$/.test(text)) {
    throw new InvalidArgumentError(`${what} ${JSON.stringify(text)} is not in the image's account files`);
  }
  const id = Number(text);
  if (id > MAX_ID) throw new InvalidArgumentError(`${what} id ${text} is out of range`);
  return id;
}

function parsePasswd(text: string): PasswdEntry[] {
  return lines(text).flatMap((line) => {
    const [name, , uid, gid, , home] = line.split(":");
    if (name === undefined || !isNumber(uid) || !isNumber(gid)) return [];
    return [{ name, uid: Number(uid), gid: Number(gid), home: home === undefined || home === "" ? "/" : home }];
  });
}

function parseGroups(text: string): GroupEntry[] {
  return lines(text).flatMap((line) => {
    const [name, , gid, members] = line.split(":");
    if (name === undefined || !isNumber(gid)) return [];
    return [{ name, gid: Number(gid), members: (members ?? "").split(",").filter((member) => member !== "") }];
  });
}

function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

function isNumber(text: string | undefined): text is string {
  return text !== undefined && /^\d+$/.test(text) && Number(text) <= MAX_ID;
}
