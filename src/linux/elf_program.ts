/** elf(5): the smallest executable that Linux takes, for programs of a few instructions that this daemon carries. */

const BASE_ADDRESS = 0x400000n;
const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const LITTLE_ENDIAN: boolean = true;
/** e_machine by the name that Deno gives an architecture. */
const MACHINES: Readonly<Record<string, number>> = { x86_64: 62, aarch64: 183 };

/** Machine code as hexadecimal text, by architecture; it runs at a multiple of 8. */
export type MachineCode = Readonly<Record<string, string>>;

/**
 * A static executable with this code: one header, one loadable segment.
 *
 * @param arch as Deno names it
 * @throws TypeError for an architecture that this project does not support
 */
export function elfProgram(code: MachineCode, arch: string): Uint8Array<ArrayBuffer> {
  const machine = MACHINES[arch];
  const hex = code[arch];
  if (machine === undefined || hex === undefined) throw new TypeError(`no program for architecture ${arch}`);
  const text = Uint8Array.fromHex(hex);
  const headerBytes = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES;
  const file = new Uint8Array(headerBytes + text.length);
  const view = new DataView(file.buffer);
  const entry = BASE_ADDRESS + BigInt(headerBytes);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, LITTLE_ENDIAN); // e_type: executable
  view.setUint16(18, machine, LITTLE_ENDIAN);
  view.setUint32(20, 1, LITTLE_ENDIAN); // e_version
  view.setBigUint64(24, entry, LITTLE_ENDIAN);
  view.setBigUint64(32, BigInt(ELF_HEADER_BYTES), LITTLE_ENDIAN); // e_phoff
  view.setUint16(52, ELF_HEADER_BYTES, LITTLE_ENDIAN);
  view.setUint16(54, PROGRAM_HEADER_BYTES, LITTLE_ENDIAN);
  view.setUint16(56, 1, LITTLE_ENDIAN); // e_phnum
  view.setUint32(64, 1, LITTLE_ENDIAN); // PT_LOAD
  view.setUint32(68, 5, LITTLE_ENDIAN); // readable, executable
  view.setBigUint64(80, BASE_ADDRESS, LITTLE_ENDIAN);
  view.setBigUint64(88, BASE_ADDRESS, LITTLE_ENDIAN);
  view.setBigUint64(96, BigInt(file.length), LITTLE_ENDIAN);
  view.setBigUint64(104, BigInt(file.length), LITTLE_ENDIAN);
  view.setBigUint64(112, 0x1000n, LITTLE_ENDIAN);
  file.set(text, headerBytes);
  return file;
}
