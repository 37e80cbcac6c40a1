import { nonEmpty, oneLine } from "./_checks.ts";

/**
 * The id in a request: in full, or a unique prefix. An empty one is always a mistake; it would match everything.
 *
 * @throws InvalidArgumentError
 */
export function requestId(id: string, field: string): string {
  return oneLine(nonEmpty(id, field), field);
}
