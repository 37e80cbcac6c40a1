import { KUBELET_URL } from "./kubelet.ts";

/** Outcome of a command that ran over a stream. */
export interface ExecOutcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

export interface ExecWish {
  readonly tty?: boolean;
  /** What the command reads; it gets the end of input behind it. */
  readonly stdin?: string;
  /** Called for what the command writes, as it comes. */
  readonly onOutput?: (text: string, session: RemoteSession) => void;
}

const [STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE] = [0, 1, 2, 3, 4, 255];

/** One exec or attach session over `v5.channel.k8s.io`: the first byte of a message names its channel. */
export class RemoteSession {
  readonly #output = new Map<number, Uint8Array[]>();
  readonly #decoders = new Map<number, TextDecoder>();
  readonly #closed = Promise.withResolvers<void>();

  private constructor(private readonly socket: WebSocket, wish: ExecWish) {
    socket.onmessage = ({ data }) => {
      const bytes = new Uint8Array(data as ArrayBuffer);
      const channel = bytes[0] ?? 0;
      const chunks = this.#output.get(channel) ?? [];
      chunks.push(bytes.subarray(1));
      this.#output.set(channel, chunks);
      if (channel !== STDOUT && channel !== STDERR) return;
      const decoder = this.#decoders.get(channel) ?? new TextDecoder();
      this.#decoders.set(channel, decoder);
      wish.onOutput?.(decoder.decode(bytes.subarray(1), { stream: true }), this);
    };
    socket.onclose = () => this.#closed.resolve();
    socket.onerror = () => this.#closed.resolve();
  }

  /** Opens `path` (with its query) of the kubelet's API. */
  static async open(path: string, wish: ExecWish = {}): Promise<RemoteSession> {
    const socket = new WebSocket(`${KUBELET_URL.replace("https", "wss")}${path}`, ["v5.channel.k8s.io"]);
    socket.binaryType = "arraybuffer";
    const session = new RemoteSession(socket, wish);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    socket.onopen = () => resolve();
    socket.addEventListener("error", (event) => {
      reject(new Error(`${path}: ${event instanceof ErrorEvent ? event.message : "failed"}`));
    });
    await promise;
    if (wish.stdin !== undefined) {
      session.write(wish.stdin);
      session.endInput();
    }
    return session;
  }

  write(text: string): void {
    this.#send(STDIN, new TextEncoder().encode(text));
  }

  endInput(): void {
    this.socket.send(Uint8Array.of(CLOSE, STDIN));
  }

  resize(columns: number, rows: number): void {
    this.#send(RESIZE, new TextEncoder().encode(JSON.stringify({ Width: columns, Height: rows })));
  }

  /** What came so far on standard output. */
  get stdout(): string {
    return this.#text(STDOUT);
  }

  /** Leaves, whatever runs on. */
  close(): void {
    this.socket.close();
  }

  /** Waits for the end of the session. */
  async outcome(): Promise<ExecOutcome> {
    await this.#closed.promise;
    const status = this.#text(ERROR);
    return { stdout: this.stdout, stderr: this.#text(STDERR), exitCode: exitCodeOf(status) };
  }

  #send(channel: number, bytes: Uint8Array): void {
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    this.socket.send(message);
  }

  #text(channel: number): string {
    const chunks = this.#output.get(channel) ?? [];
    return new TextDecoder().decode(joined(chunks));
  }
}

/** The status object that ends a session, as kubectl reads it. */
function exitCodeOf(text: string): number {
  if (text === "") throw new Error("the session ended without a status");
  const status = JSON.parse(text) as {
    status: string;
    reason?: string;
    message?: string;
    details?: { causes?: { reason: string; message: string }[] };
  };
  if (status.status === "Success") return 0;
  const cause = status.details?.causes?.find(({ reason }) => reason === "ExitCode");
  if (status.reason !== "NonZeroExitCode" || cause === undefined) throw new Error(`session failed: ${text}`);
  return Number(cause.message);
}

/**
 * Sends bytes to a port of a pod through the kubelet and gives what comes back, until the pod closes or `answerBytes`
 * are there: `v4.channel.k8s.io`, one port; what comes first on channels 0 (data) and 1 (error) is the port's number.
 *
 * @throws Error with what the error channel says
 */
export async function throughPort(
  path: string,
  request: Uint8Array,
  { answerBytes = Infinity }: { answerBytes?: number } = {},
): Promise<Uint8Array> {
  const NUMBER_BYTES = 2;
  const socket = new WebSocket(`${KUBELET_URL.replace("https", "wss")}${path}`, ["v4.channel.k8s.io"]);
  socket.binaryType = "arraybuffer";
  const channels: [Uint8Array[], Uint8Array[]] = [[], []];
  let received = -NUMBER_BYTES;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.onmessage = (event) => {
    const bytes = new Uint8Array(event.data as ArrayBuffer);
    channels[bytes[0] === 0 ? 0 : 1].push(bytes.subarray(1));
    if (bytes[0] === 0) received += bytes.length - 1;
    if (received >= answerBytes) resolve();
  };
  socket.onopen = () => {
    const message = new Uint8Array(request.length + 1);
    message.set(request, 1);
    socket.send(message);
  };
  socket.onclose = () => resolve();
  socket.onerror = (event) => reject(new Error(`${path}: ${event instanceof ErrorEvent ? event.message : "failed"}`));
  await promise;
  socket.close();
  const [data, failure] = channels.map((chunks) => joined(chunks).subarray(NUMBER_BYTES));
  if (failure !== undefined && failure.length > 0) throw new Error(new TextDecoder().decode(failure));
  return data ?? new Uint8Array();
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(chunks.reduce((total, chunk) => total + chunk.length, 0));
  let offset = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, offset);
    offset += chunk.length;
  }
  return bytes;
}
