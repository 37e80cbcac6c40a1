/**
 * The program that holds a pod's PID namespace: it ignores SIGCHLD, so that the kernel reaps every orphan of the pod,
 * and sleeps. A static ELF file of less than 300 bytes for each architecture, so that no image is needed for it.
 *
 * x86_64:                                   aarch64:
 *
 *     mov eax, 13  ; rt_sigaction               mov x8, #134  // rt_sigaction
 *     mov edi, 17  ; SIGCHLD                    mov x0, #17
 *     lea rsi, [rip+act]                        adr x1, act
 *     xor edx, edx                              mov x2, #0
 *     mov r10d, 8                               mov x3, #8
 *     syscall                                   svc #0
 *     again: mov eax, 34  ; pause               again: mov x0, #0; mov x1, #0; mov x2, #0; mov x3, #0
 *     syscall                                   mov x8, #73  // ppoll
 *     jmp again                                 svc #0; b again
 *     act: .quad 1, 0, 0, 0  ; SIG_IGN          act: .quad 1, 0, 0, 0
 *
 * @module
 */

const CODE: Readonly<Record<string, { machine: number; hex: string }>> = {
  x86_64: {
    machine: 62,
    hex: "b80d000000bf11000000488d351700000031d241ba080000000f05b8220000000f05ebf70f1f4000" +
      "0100000000000000000000000000000000000000000000000000000000000000",
  },
  aarch64: {
    machine: 183,
    hex: "c81080d2200280d281010010020080d2030180d2010000d4000080d2010080d2020080d2030080d2280980d2010000d4" +
      "faffff171f2003d5" + "0100000000000000000000000000000000000000000000000000000000000000",
  },
};

const BASE_ADDRESS = 0x400000n;
const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const LITTLE_ENDIAN: boolean = true;

/**
 * The program as an ELF file (elf(5)): one header, one loadable segment, the code.
 *
 * @param arch as Deno names it
 * @throws TypeError for an architecture that this project does not support
 */
export function pauseProgram(arch: string): Uint8Array {
  const code = CODE[arch];
  if (code === undefined) throw new TypeError(`no pause program for architecture ${arch}`);
  const text = Uint8Array.fromHex(code.hex);
  const headerBytes = ELF_HEADER_BYTES + PROGRAM_HEADER_BYTES;
  const file = new Uint8Array(headerBytes + text.length);
  const view = new DataView(file.buffer);
  const entry = BASE_ADDRESS + BigInt(headerBytes);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, LITTLE_ENDIAN); // e_type: executable
  view.setUint16(18, code.machine, LITTLE_ENDIAN);
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
