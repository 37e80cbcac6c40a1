import { InvalidArgumentError } from "../../base/errors.ts";
import type { SelinuxOptions } from "../choices.ts";

/** A label in its parts; `level` is a sensitivity with categories, `s0:c1,c2`, and empty where the policy has no levels. */
export type Label = SelinuxOptions;

/** Unused parts of a request are empty. */
const PART = /^[A-Za-z0-9_.-]*$/;
const LEVEL =
  /^(?:s\d{1,2}(?:-s\d{1,2})?(?::c\d{1,4}(?:[.,]c\d{1,4})*(?:-s\d{1,2}(?::c\d{1,4}(?:[.,]c\d{1,4})*)?)?)?)?$/;

/** `user:role:type[:level]`; undefined for text that is no label. */
export function parseLabel(text: string): Label | undefined {
  const match = /^([^:]+):([^:]+):([^:]+)(?::(.+))?$/.exec(text.trim());
  if (match === null) return undefined;
  const [, user = "", role = "", type = "", level = ""] = match;
  return { user, role, type, level };
}

/** The label's text. */
export function formatLabel({ user, role, type, level }: Label): string {
  return `${user}:${role}:${type}${level === "" ? "" : `:${level}`}`;
}

/** The label of files that all containers may read: without categories. Undefined for text that is no label. */
export function sharedLabel(text: string): string | undefined {
  const label = parseLabel(text);
  return label === undefined ? undefined : formatLabel({ ...label, level: label.level.replace(/:.*$/, "") });
}

/**
 * The label with the parts that a request gives.
 *
 * @throws InvalidArgumentError for a part that no policy can have
 */
export function withOptions(label: Label, options: SelinuxOptions | undefined): Label {
  if (options === undefined) return label;
  for (const part of ["user", "role", "type"] as const) {
    if (!PART.test(options[part])) {
      throw new InvalidArgumentError(`SELinux ${part} ${JSON.stringify(options[part])} is not a name`);
    }
  }
  if (!LEVEL.test(options.level)) {
    throw new InvalidArgumentError(`SELinux level ${JSON.stringify(options.level)} is not a level such as s0:c1,c2`);
  }
  return {
    user: options.user || label.user,
    role: options.role || label.role,
    type: options.type || label.type,
    level: options.level || label.level,
  };
}
