/** One `WWW-Authenticate` challenge. */
export interface Challenge {
  /** In lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** Names in lower case. */
  readonly parameters: ReadonlyMap<string, string>;
}

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const MAX_HEADER_CHARS = 16 * 1024;

/**
 * Parses a `WWW-Authenticate` header, several challenges included (RFC 9110, section 11.6.1). What is not well formed
 * ends the list; it never throws.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, MAX_HEADER_CHARS);
  const challenges: { scheme: string; parameters: Map<string, string> }[] = [];
  let at = 0;
  while (at < text.length) {
    at = skip(text, at, " \t,");
    const word = tokenAt(text, at);
    if (word === undefined) break;
    const afterWord = skip(text, at + word.length, " \t");
    const current = challenges.at(-1);
    // `name = value` continues the challenge before it; a word that no `=` follows begins a new one.
    if (text[afterWord] === "=" && current !== undefined) {
      const value = valueAt(text, skip(text, afterWord + 1, " \t"));
      if (value === undefined) break;
      current.parameters.set(word.toLowerCase(), value.text);
      at = value.end;
    } else {
      challenges.push({ scheme: word.toLowerCase(), parameters: new Map() });
      at += word.length;
    }
  }
  return challenges;
}

function skip(text: string, from: number, characters: string): number {
  let at = from;
  while (at < text.length && characters.includes(text.charAt(at))) at++;
  return at;
}

function tokenAt(text: string, at: number): string | undefined {
  TOKEN.lastIndex = at;
  return TOKEN.exec(text)?.[0];
}

function valueAt(text: string, at: number): { text: string; end: number } | undefined {
  if (text[at] !== '"') {
    // Realms are URLs and come unquoted from some registries: take all up to a comma.
    const end = text.indexOf(",", at) < 0 ? text.length : text.indexOf(",", at);
    return { text: text.slice(at, end).trim(), end };
  }
  let value = "";
  for (let i = at + 1; i < text.length; i++) {
    const character = text.charAt(i);
    if (character === '"') return { text: value, end: i + 1 };
    value += character === "\\" ? text.charAt(++i) : character;
  }
  return undefined;
}
