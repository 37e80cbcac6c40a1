import { Buffer } from "node:buffer";
import { constants, inflateRawSync } from "node:zlib";
import { ProtocolError } from "./errors.ts";

/** One name-value block after decompression: at most this many bytes and headers; real ones have five short ones. */
const MAX_BLOCK_BYTES = 16 * 1024;
const MAX_HEADERS = 64;
/** zlib's window: how far back compressed data refers. */
const WINDOW_BYTES = 32 * 1024;
/** zlib header (CMF, FLG with FDICT) and Adler-32 of the dictionary: RFC 1950; SPDY draft 3.1, 2.6.10.1. */
const ZLIB_HEADER = [0x78, 0xbb, 0xe3, 0xc6, 0xa7, 0xc2];
const ZLIB_HEADER_BYTES = 6;
const FDICT = 0x20;
const STORED_HEADER_BYTES = 5;

const WORDS =
  "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges " +
  "age allow authorization cache-control connection content-base content-encoding content-language content-length " +
  "content-location content-md5 content-range content-type date etag expect expires from host if-match " +
  "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma " +
  "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade " +
  "user-agent vary via warning www-authenticate method get status";
const WORDS_WITH_SPACES = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];
const TAIL = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505" +
  "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden" +
  "404 Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug " +
  "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif," +
  "application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=" +
  "utf-8charset=iso-8859-1,utf-,*,enq=0.";

/** The dictionary that SPDY/3 compresses headers with, 1423 bytes. */
export const SPDY_DICTIONARY: Uint8Array = Buffer.concat([
  ...[...WORDS.split(" "), ...WORDS_WITH_SPACES].map((word) => Buffer.concat([u32(word.length), Buffer.from(word)])),
  Buffer.from(TAIL),
]);

/**
 * Decompresses the header blocks of one connection, in their order.
 *
 * Compression spans the blocks, but each ends at a byte boundary (a sync flush), so each can be inflated by itself with
 * what came before it put in front as a stored block. That needs no stream object that lives as long as the connection,
 * is synchronous, limits the output, and does not depend on support for dictionaries.
 */
export class HeaderDecoder {
  #window: Uint8Array = SPDY_DICTIONARY;
  #isFirst = true;

  /** @throws ProtocolError */
  decode(block: Uint8Array): Map<string, string> {
    const plain = this.#inflate(this.#isFirst ? afterZlibHeader(block) : block);
    this.#isFirst = false;
    const all = Buffer.concat([this.#window, plain]);
    this.#window = all.subarray(Math.max(0, all.length - WINDOW_BYTES));
    return parseHeaders(plain);
  }

  #inflate(compressed: Uint8Array): Buffer {
    const window = this.#window;
    try {
      const whole = inflateRawSync(Buffer.concat([storedHeader(window.length), window, compressed]), {
        finishFlush: constants.Z_SYNC_FLUSH,
        maxOutputLength: window.length + MAX_BLOCK_BYTES,
      });
      return whole.subarray(window.length);
    } catch (cause) {
      throw new ProtocolError(`header block does not decompress to at most ${MAX_BLOCK_BYTES} bytes`, { cause });
    }
  }
}

/** Makes header blocks for one connection. What we say is so short that it is only stored, not compressed. */
export class HeaderEncoder {
  #isFirst = true;

  encode(headers: ReadonlyMap<string, string>): Uint8Array {
    const parts = [u32(headers.size)];
    for (const [name, value] of headers) {
      for (const text of [name, value]) {
        const bytes = Buffer.from(text);
        parts.push(u32(bytes.length), bytes);
      }
    }
    const plain = Buffer.concat(parts);
    const prefix = this.#isFirst ? Buffer.from(ZLIB_HEADER) : Buffer.alloc(0);
    this.#isFirst = false;
    // The empty block makes decompressors hand out what they have, as a sync flush does.
    return Buffer.concat([prefix, storedHeader(plain.length), plain, storedHeader(0)]);
  }
}

function afterZlibHeader(block: Uint8Array): Uint8Array {
  const [method = 0, flags = 0] = block;
  if (block.length < ZLIB_HEADER_BYTES || (method & 0x0f) !== 8 || (flags & FDICT) === 0) {
    throw new ProtocolError("header block does not begin with a zlib header and the SPDY/3 dictionary");
  }
  return block.subarray(ZLIB_HEADER_BYTES);
}

function parseHeaders(plain: Buffer): Map<string, string> {
  let at = 0;
  const number = (): number => {
    if (at + 4 > plain.length) throw new ProtocolError("header block is cut short");
    at += 4;
    return plain.readUInt32BE(at - 4);
  };
  const text = (): string => {
    const length = number();
    if (length > plain.length - at) throw new ProtocolError("header block is cut short");
    at += length;
    return plain.toString("utf8", at - length, at);
  };
  const count = number();
  if (count > MAX_HEADERS) {
    throw new ProtocolError(`header block has ${count} headers, at most ${MAX_HEADERS} are taken`);
  }
  const headers = new Map<string, string>();
  for (let i = 0; i < count; i++) headers.set(text().toLowerCase(), text());
  return headers;
}

/** RFC 1951, 3.2.4: a block that is not the last one and not compressed. */
function storedHeader(length: number): Buffer {
  const header = Buffer.alloc(STORED_HEADER_BYTES);
  header.writeUInt16LE(length, 1);
  header.writeUInt16LE(length ^ 0xffff, 3);
  return header;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
