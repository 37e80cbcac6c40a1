import { InvalidArgumentError } from "../base/errors.ts";
import { checked, lazyLibc } from "./_libc.ts";
import { bringUpLoopback } from "./link.ts";
import type { PinnedKind, PinOptions } from "./namespaces.ts";
import { sysctlFile } from "./_sysctl.ts";
import { closeFd, O_WRONLY, openPath, stage } from "./_window.ts";

const libc = lazyLibc({
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  sethostname: { parameters: ["buffer", "usize"], result: "i32" },
});

/** __NEW_UTS_LEN of linux/utsname.h, in bytes. */
const HOSTNAME_MAX_BYTES = 64;

/** What is done inside new namespaces, checked before they are made. */
export interface NamespaceSetup {
  /** Brings `lo` up, sets the host name and the network's sysctls. */
  run(): void;
  /** Sets the sysctls of the IPC namespace, which belong to the root user of its user namespace. */
  runAsOwner(): void;
}

/** @throws InvalidArgumentError for a bad hostname or sysctl */
export function namespaceSetup({ kinds, hostname, sysctls = {} }: PinOptions): NamespaceSetup {
  const hostnameBytes = hostname === undefined ? undefined : encodeHostname(hostname, kinds);
  const writes = Object.entries(sysctls).map(([name, value]) => ({ file: sysctlFile(name, kinds), value }));
  const isNetwork = ({ file }: { file: string }): boolean => file.startsWith("/proc/sys/net/");
  const owned = writes.filter((write) => !isNetwork(write));
  return {
    run: (): void => {
      if (kinds.includes("network")) stage("bring up the loopback interface", bringUpLoopback);
      if (hostnameBytes !== undefined) {
        stage(`set hostname ${hostname}`, () => {
          // FFI sethostname(2): `hostnameBytes` outlives the call; cannot block.
          checked(libc().sethostname(hostnameBytes, BigInt(hostnameBytes.length)), "sethostname");
        });
      }
      for (const write of writes.filter(isNetwork)) writeSysctl(write.file, write.value);
    },
    runAsOwner: (): void => {
      for (const { file, value } of owned) writeSysctl(file, value);
    },
  };
}

function writeSysctl(file: string, value: string): void {
  stage(`set sysctl ${file} to ${JSON.stringify(value)}`, () => {
    const fd = openPath(file, O_WRONLY);
    try {
      const bytes = new TextEncoder().encode(value);
      // FFI write(2) to a sysctl: sets a kernel variable.
      checked(Number(libc().write(fd, bytes, BigInt(bytes.length))), "write", file);
    } finally {
      closeFd(fd);
    }
  });
}

function encodeHostname(hostname: string, kinds: readonly PinnedKind[]): Uint8Array<ArrayBuffer> {
  const bytes = new TextEncoder().encode(hostname);
  if (bytes.length === 0 || bytes.length > HOSTNAME_MAX_BYTES || hostname.includes("\0")) {
    throw new InvalidArgumentError(
      `hostname ${
        JSON.stringify(hostname.slice(0, 200))
      } has ${bytes.length} bytes, must have 1 to ${HOSTNAME_MAX_BYTES}`,
    );
  }
  if (!kinds.includes("uts")) {
    throw new InvalidArgumentError(`hostname ${JSON.stringify(hostname)} needs a UTS namespace of its own`);
  }
  return bytes;
}
