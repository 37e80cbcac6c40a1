/** Encoder and decoder of one generated message. */
export interface Codec<Message> {
  encode(message: Message): { finish(): Uint8Array };
  decode(bytes: Uint8Array): Message;
}

const NOTHING = new Uint8Array();

/** A message with `fields` set and all others at their defaults. */
export function message<Message>(codec: Codec<Message>, fields: Partial<Message> = {}): Message {
  return { ...codec.decode(NOTHING), ...fields };
}

const REMOVAL = "-";

/** The name of what is to be taken away, where a leading `-` says so. */
export function removedName(name: string): string | undefined {
  return name.startsWith(REMOVAL) ? name.slice(REMOVAL.length) : undefined;
}

/** The name that says that the thing of this name is to be taken away. */
export function asRemoved(name: string): string {
  return REMOVAL + name;
}
