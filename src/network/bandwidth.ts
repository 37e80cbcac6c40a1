import { InvalidArgumentError } from "../base/errors.ts";

const INGRESS = "kubernetes.io/ingress-bandwidth";
const EGRESS = "kubernetes.io/egress-bandwidth";
/** The range that Kubernetes takes: 1 kbit/s to 1 Pbit/s. */
const MIN_BITS = 1_000;
const MAX_BITS = 1_000_000_000_000_000;
const QUANTITY = /^\+?(\d+(?:\.\d*)?|\.\d+)(?:([eE][+-]?\d{1,3})|(Ki|Mi|Gi|Ti|Pi|Ei|m|k|M|G|T|P|E))?$/;
const DECIMAL = ["m", "", "k", "M", "G", "T", "P", "E"];
const BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/** Limits of a pod in bits per second; absent: none. */
export interface BandwidthLimits {
  readonly ingressBitsPerSecond?: number;
  readonly egressBitsPerSecond?: number;
}

/**
 * The limits in a pod's annotations `kubernetes.io/{ingress,egress}-bandwidth`, which are Kubernetes quantities such as
 * `10M` or `1.5Gi`.
 *
 * @throws InvalidArgumentError for what is no quantity, or outside 1k to 1P
 */
export function bandwidthLimits(annotations: Readonly<Record<string, string>>): BandwidthLimits {
  const [ingress, egress] = [INGRESS, EGRESS].map((key) => rate(key, annotations[key]));
  return {
    ...(ingress === undefined ? {} : { ingressBitsPerSecond: ingress }),
    ...(egress === undefined ? {} : { egressBitsPerSecond: egress }),
  };
}

function rate(key: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, digits = "", exponent, suffix = ""] = QUANTITY.exec(text) ?? [];
  const factor = BINARY.indexOf(suffix) > 0 ? 1024 ** BINARY.indexOf(suffix) : 1000 ** (DECIMAL.indexOf(suffix) - 1);
  const bits = digits === ""
    ? NaN
    : Math.ceil(exponent === undefined ? Number(digits) * factor : Number(digits + exponent));
  if (bits >= MIN_BITS && bits <= MAX_BITS) return bits;
  throw new InvalidArgumentError(
    `annotation ${key}: ${JSON.stringify(text.slice(0, 100))} must be a quantity from 1k to 1P bits per second`,
  );
}
