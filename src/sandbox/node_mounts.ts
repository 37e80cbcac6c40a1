import { mount, MOUNT_FLAG, unmount } from "../linux/mount.ts";
import { linkLogs, unlinkLogs } from "./linked_logs.ts";
import type { PodMounts } from "./ports.ts";

/** Shared memory and linked logs of pods. */
export class NodeMounts implements PodMounts {
  mountShm(
    path: string,
    { sizeBytes, label, owner }: { sizeBytes: number; label?: string; owner: { uid: number; gid: number } },
  ): void {
    const flags = MOUNT_FLAG.nosuid | MOUNT_FLAG.nodev | MOUNT_FLAG.noexec;
    const context = label === undefined ? "" : `,context="${label}"`;
    const data = `mode=1777,size=${sizeBytes},uid=${owner.uid},gid=${owner.gid}${context}`;
    mount({ source: "shm", target: path, filesystem: "tmpfs", flags, data });
  }

  async unmountShm(path: string): Promise<void> {
    await unmount(path, { detach: true });
  }

  async linkLogs(logDirectory: string, volume: string): Promise<void> {
    await linkLogs(logDirectory, volume);
  }

  async unlinkLogs(logDirectory: string, volume: string): Promise<void> {
    await unlinkLogs(logDirectory, volume);
  }
}
