/**
 * The front door of a daemon without a daemon behind it, for tests.
 *
 * @module
 */
import { createServer as createHttpServer } from "node:http";
import { status } from "@grpc/grpc-js";
import { silentLogger } from "../../src/base/logger.ts";
import { criHandlers } from "../../src/cri/handlers.ts";
import { CriServer, type RuntimeHandlers } from "../../src/cri/server.ts";
import { CrioSocket } from "../../src/node/socket.ts";
import { CallError } from "./cri_client.ts";
import { FakeMetrics, FakeNode } from "./cri_operations.ts";

/** Limits of the front, and handlers beside those of the node. */
export interface FrontOptions {
  readonly silenceMs?: number;
  readonly maxReceiveBytes?: number;
  readonly runtime?: RuntimeHandlers;
}

/** gRPC and HTTP on a socket in a temporary directory. */
export class Front implements AsyncDisposable {
  readonly node = new FakeNode();
  readonly metrics = new FakeMetrics();
  #socket: CrioSocket | undefined;

  private constructor(readonly directory: string) {}

  static async open(options: FrontOptions = {}): Promise<Front> {
    const front = new Front(await Deno.makeTempDir());
    await front.listen(options);
    return front;
  }

  async close(options: { graceMs: number }): Promise<void> {
    await this.#socket?.close(options);
    this.#socket = undefined;
  }

  get path(): string {
    return `${this.directory}/sub/crio.sock`;
  }

  async listen(options: FrontOptions = {}): Promise<void> {
    const deps = { log: silentLogger, metrics: this.metrics };
    const { runtime, image } = criHandlers(this.node.operations);
    const grpc = new CriServer({ runtime: { ...runtime, ...options.runtime }, image }, options, deps);
    const http = createHttpServer((request, response) => {
      const chunks: Uint8Array[] = [];
      request.on("data", (chunk: Uint8Array) => chunks.push(chunk));
      request.on("end", () => response.end(`${request.method} ${request.url} ${chunks.length > 0 ? "body" : ""}`));
    });
    this.#socket = await CrioSocket.listen({ listen: `unix://${this.path}`, ...options }, { grpc, http }, silentLogger);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close({ graceMs: 500 });
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** The code that a call ends with. */
export async function codeOf(call: Promise<unknown>): Promise<status> {
  try {
    await call;
  } catch (error) {
    if (error instanceof CallError) return error.code;
    throw error;
  }
  return status.OK;
}
