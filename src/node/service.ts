/**
 * The daemon as a service of systemd or whoever speaks its protocol, sd_notify(3): says when it is ready, reloads and
 * stops, and that it is alive.
 *
 * @module
 */
import { messageOf } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import { ErrnoError } from "../linux/errno.ts";
import { monotonicMicros, NotifySocket } from "../linux/notify_socket.ts";

/** What the service manager said in the environment. */
export interface ServiceVariables {
  /** Empty: nobody wants to know. */
  readonly socket: string;
  /** A sign of life is wanted this often; 0: none is. */
  readonly watchdogMs: number;
}

/** A message that finds the manager's queue full is sent again after this, so many times. */
const RETRY_MS = 100;
const RETRIES = 50;
const EAGAIN = 11;
/** A check that failed is made again after this share of the watchdog's time: one mishap must not end the daemon. */
const FAILED_SHARE = 0.1;
/** A check may take this share of it. */
const CHECK_SHARE = 0.25;
const PING_SHARE = 0.5;

/** Takes the variables out of the environment: no child may speak for the daemon. */
export function takeServiceVariables(environment: Pick<Deno.Env, "get" | "delete"> = Deno.env): ServiceVariables {
  const take = (name: string): string => {
    const value = environment.get(name) ?? "";
    environment.delete(name);
    return value;
  };
  const socket = take("NOTIFY_SOCKET");
  const micros = Number(take("WATCHDOG_USEC"));
  const pid = take("WATCHDOG_PID");
  const isMeant = (pid === "" || pid === String(Deno.pid)) && micros > 0 && Number.isFinite(micros);
  return { socket, watchdogMs: isMeant ? micros / 1000 : 0 };
}

/** Speaks to the service manager; without one it says nothing. Disposing ends the signs of life. */
export class Service implements Disposable {
  readonly #socket: NotifySocket | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** In order; the first one waits for room in the manager's queue. */
  #waiting: string[] = [];
  #isOpen = true;
  #watches = true;

  constructor(private readonly variables: ServiceVariables, private readonly log: Logger) {
    if (variables.socket === "") return;
    try {
      this.#socket = NotifySocket.open(variables.socket);
    } catch (error) {
      log.warn(`the service manager is not told anything: ${messageOf(error)}`);
    }
  }

  /** One line for people that watch, such as `systemctl status`. */
  status(text: string): void {
    this.#send(`STATUS=${oneLine(text)}`);
  }

  /** The daemon serves, for the first time or again after {@link reloading}. */
  ready(status: string): void {
    this.#send(`READY=1\nSTATUS=${oneLine(status)}`);
  }

  reloading(): void {
    this.#send(`RELOADING=1\nMONOTONIC_USEC=${monotonicMicros()}\nSTATUS=Reading the configuration`);
  }

  /** Ends the signs of life as well: the manager has a time limit of its own for the stop. */
  stopping(): void {
    this.#watches = false;
    clearTimeout(this.#timer);
    this.#send("STOPPING=1\nSTATUS=Stopping; containers keep running");
  }

  /**
   * Gives a sign of life after each check that succeeds, at half the time that the manager waits. A check that hangs or
   * fails gives none, and neither does an event loop that is stuck.
   *
   * @param check throws when the daemon does not do its work
   */
  watch(check: (options: { readonly signal: AbortSignal }) => Promise<void>): void {
    const { watchdogMs } = this.variables;
    if (this.#socket === undefined || watchdogMs === 0) return;
    const run = async (): Promise<void> => {
      let share = PING_SHARE;
      try {
        await check({ signal: AbortSignal.timeout(watchdogMs * CHECK_SHARE) });
        if (this.#watches) this.#send("WATCHDOG=1");
      } catch (error) {
        share = FAILED_SHARE;
        if (this.#watches) this.log.error(`no sign of life for the service manager: ${messageOf(error)}`);
      }
      if (this.#watches) this.#timer = setTimeout(run, watchdogMs * share);
    };
    this.#timer = setTimeout(run, watchdogMs * FAILED_SHARE);
  }

  [Symbol.dispose](): void {
    this.#isOpen = this.#watches = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#socket?.[Symbol.dispose]();
  }

  #send(message: string): void {
    if (this.#socket === undefined || !this.#isOpen) return;
    this.#waiting.push(message);
    if (this.#retry === undefined) this.#flush(RETRIES);
  }

  #flush(tries: number): void {
    this.#retry = undefined;
    for (let [message] = this.#waiting; message !== undefined; [message] = this.#waiting) {
      try {
        this.#socket?.send(message);
        tries = RETRIES;
      } catch (error) {
        if (error instanceof ErrnoError && error.errno === EAGAIN && tries > 0) {
          this.#retry = setTimeout(() => this.#flush(tries - 1), RETRY_MS);
          return;
        }
        this.log.warn(`the service manager was not told ${message.split("\n", 1)[0]}: ${messageOf(error)}`);
      }
      this.#waiting.shift();
    }
  }
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ");
}
