/**
 * What the streaming server serves: it moves bytes and knows nothing of containers. `daemon.ts` supplies the handlers.
 *
 * @module
 */
import type { Duplex, Readable, Writable } from "node:stream";

/** A command to run in a container, as the CRI asks for it. At least one of the streams is wanted. */
export interface ExecStreamRequest {
  readonly containerId: string;
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
  readonly stdout: boolean;
  /** False with a terminal, which has one output. */
  readonly stderr: boolean;
}

/** A wish to be connected to a container's first process. */
export type AttachStreamRequest = Omit<ExecStreamRequest, "command">;

/** A wish to reach ports of a pod. */
export interface PortForwardStreamRequest {
  readonly sandboxId: string;
  /** Only the WebSocket channel protocols need them here; SPDY names a port with each stream. */
  readonly ports: readonly number[];
}

/** Size of a terminal, in characters. */
export interface TerminalSize {
  readonly width: number;
  readonly height: number;
}

/** The client's side of a process's streams. The handler reads and writes them; the server ends them. */
export interface ProcessStreams {
  /** Ends when the client closes it. */
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  readonly tty: boolean;
  /** Calls `listener` with the last size that is known, if any, and with each one after that. */
  onResize(listener: (size: TerminalSize) => void): void;
  /** Aborts when the client is gone: nobody reads what is still written. */
  readonly signal: AbortSignal;
}

/** Does the work behind the three kinds of streams. */
export interface StreamHandlers {
  /** @returns the exit code; an error means that the command could not be run */
  exec(request: ExecStreamRequest, streams: ProcessStreams): Promise<number>;
  /** Resolves when the container has ended or the client has gone. */
  attach(request: AttachStreamRequest, streams: ProcessStreams): Promise<void>;
  /** Carries one connection to a port of the pod, until both directions have ended. */
  portForward(
    target: { readonly sandboxId: string; readonly port: number },
    client: Duplex,
    options: { readonly signal: AbortSignal },
  ): Promise<void>;
}
