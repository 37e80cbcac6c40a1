import { InvalidArgumentError } from "../base/errors.ts";

/** Index and name, by which plugins are ordered and known. */
export interface PluginIdentity {
  /** Two digits. */
  readonly index: string;
  readonly name: string;
}

/** @throws InvalidArgumentError unless the index has two digits and the name consists of letters, digits and `-_.+` */
export function checkIdentity({ index, name }: PluginIdentity): void {
  if (!/^[0-9]{2}$/.test(index)) {
    throw new InvalidArgumentError(`plugin index ${JSON.stringify(index)}: not two digits`);
  }
  if (/^[A-Za-z0-9_.+-]+$/.test(name)) return;
  throw new InvalidArgumentError(`plugin name ${JSON.stringify(name)}: letters, digits and -_.+ are allowed`);
}
