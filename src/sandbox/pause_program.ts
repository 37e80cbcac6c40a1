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

import { elfProgram, type MachineCode } from "../linux/elf_program.ts";

const CODE: MachineCode = {
  x86_64: "b80d000000bf11000000488d351700000031d241ba080000000f05b8220000000f05ebf70f1f4000" +
    "0100000000000000000000000000000000000000000000000000000000000000",
  aarch64: "c81080d2200280d281010010020080d2030180d2010000d4000080d2010080d2020080d2030080d2280980d2010000d4" +
    "faffff171f2003d5" + "0100000000000000000000000000000000000000000000000000000000000000",
};

/**
 * The program as an ELF file.
 *
 * @param arch as Deno names it
 * @throws TypeError for an architecture that this project does not support
 */
export function pauseProgram(arch: string): Uint8Array<ArrayBuffer> {
  return elfProgram(CODE, arch);
}
