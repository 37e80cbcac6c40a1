import { InvalidArgumentError } from "../../base/errors.ts";
import { isErrno } from "../../linux/errno.ts";
import { getXattr, setXattr } from "../../linux/xattr.ts";

const ATTRIBUTE = "security.selinux";
/** Directories that a volume may not be when it is to be relabelled: the node would lose its own labels. */
const REFUSED: ReadonlySet<string> = new Set(
  "/ /bin /boot /dev /etc /etc/passwd /etc/pki /etc/shadow /home /lib /lib64 /media /opt /proc /root /run /sbin /srv /sys /tmp /usr /var /var/lib /var/log"
    .split(" "),
);
/** Files between two looks at the event loop. */
const BATCH = 256;

/** Reads and sets labels of files; default: the kernel. */
export interface FileLabels {
  get(path: string): string | undefined;
  set(path: string, label: string): void;
}

const decoder = new TextDecoder();
const KERNEL: FileLabels = {
  get: (path) => {
    const value = getXattr(path, ATTRIBUTE);
    return value === undefined ? undefined : decoder.decode(value).replace(/\0$/, "");
  },
  set: (path, label) => setXattr(path, ATTRIBUTE, new TextEncoder().encode(`${label}\0`)),
};

/**
 * Gives a volume and everything in it a label. Symbolic links get it themselves; a file system without labels is left as
 * it is.
 *
 * @param options.onlyIfTopDiffers a volume whose top has the label already is taken to have it everywhere
 * @throws InvalidArgumentError for a directory of the node's system; ErrnoError
 */
export async function relabelVolume(
  path: string,
  label: string,
  options: { readonly onlyIfTopDiffers: boolean; readonly files?: FileLabels },
): Promise<void> {
  const { files = KERNEL, onlyIfTopDiffers } = options;
  if (REFUSED.has(path)) {
    throw new InvalidArgumentError(
      `volume ${path} cannot be relabelled: the node's own programs need its labels; use a directory below it`,
    );
  }
  try {
    if (onlyIfTopDiffers && files.get(path) === label) return;
    files.set(path, label);
  } catch (error) {
    if (isErrno(error, "EOPNOTSUPP")) return;
    throw error;
  }
  if ((await Deno.lstat(path)).isDirectory) await relabelBelow(path, { label, files });
}

async function relabelBelow(
  top: string,
  { label, files }: { readonly label: string; readonly files: FileLabels },
): Promise<void> {
  const directories = [top];
  let done = 0;
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop()) {
    for await (const { name, isDirectory } of Deno.readDir(directory)) {
      const path = `${directory}/${name}`;
      try {
        files.set(path, label);
      } catch (error) {
        // Gone meanwhile, or another file system that is mounted there.
        if (!isErrno(error, "ENOENT", "EOPNOTSUPP", "EROFS")) throw error;
      }
      if (isDirectory) directories.push(path);
      done += 1;
      if (done % BATCH === 0) await new Promise((resolve) => setTimeout(resolve, 0));
    }
  }
}
