import { InvalidArgumentError } from "../../base/errors.ts";

/** A device's full name: `<vendor>/<class>=<name>`. */
export interface CdiName {
  /** `<vendor>/<class>`. */
  readonly kind: string;
  readonly name: string;
}

/** Vendor or class: letters, digits, `_`, `-`, `.`; begins with a letter, ends with a letter or digit. */
const LABEL = /^[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$/;
/** Devices may begin with a digit, and hold colons. */
const DEVICE = /^[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?$/;

const ANNOTATION_PREFIX = "cdi.k8s.io/";

/**
 * Reads the full name of a device (CDI specification, "CDI device names").
 *
 * @throws InvalidArgumentError that says what is wrong with it
 */
export function parseCdiName(text: string): CdiName {
  const at = text.indexOf("=");
  const kind = at < 0 ? "" : text.slice(0, at);
  const name = text.slice(at + 1);
  const problem = at < 0 ? "has no =" : kindProblem(kind) ?? deviceNameProblem(name);
  if (problem === undefined) return { kind, name };
  throw new InvalidArgumentError(
    `CDI device ${JSON.stringify(text)}: ${problem}; the form is vendor.example/class=name`,
  );
}

/** What is wrong with `<vendor>/<class>`, or undefined. */
export function kindProblem(kind: string): string | undefined {
  const [vendor = "", label, ...rest] = kind.split("/");
  if (label === undefined || rest.length > 0) return `${JSON.stringify(kind)} is not a vendor and a class`;
  if (!LABEL.test(vendor)) return `the vendor ${JSON.stringify(vendor)} is not a name`;
  return LABEL.test(label) ? undefined : `the class ${JSON.stringify(label)} is not a name`;
}

/** What is wrong with a device's own name, or undefined. */
export function deviceNameProblem(name: string): string | undefined {
  return DEVICE.test(name) ? undefined : `the device ${JSON.stringify(name)} is not a name`;
}

/**
 * The devices that a container's annotations ask for (`cdi.k8s.io/<plugin>`: full names with commas between them), as device
 * plugins write them for kubelets that know no better way.
 *
 * @throws InvalidArgumentError for a value that is no list of full names
 */
export function annotatedCdiDevices(annotations: Readonly<Record<string, string>>): string[] {
  return Object.entries(annotations).filter(([key]) => key.startsWith(ANNOTATION_PREFIX)).flatMap(([key, value]) => {
    const names = value.split(",").map((name) => name.trim());
    for (const name of names) {
      try {
        parseCdiName(name);
      } catch (cause) {
        if (!(cause instanceof InvalidArgumentError)) throw cause;
        throw new InvalidArgumentError(`annotation ${key}: ${cause.message}`, { cause });
      }
    }
    return names;
  });
}
