import { CniError } from "./errors.ts";
import { runtimeConfig } from "./capability_args.ts";
import type { PluginCall } from "./plugin_runner.ts";
import type { Attachment, CniCommand, JsonObject, NetworkConfig, PluginConfig } from "./types.ts";
import { versionAtLeast } from "./versions.ts";

/** What a chain needs of the runner. */
export interface CallPlugin {
  call(call: PluginCall, options: { readonly signal: AbortSignal }): Promise<JsonObject | undefined>;
}

/** An attachment that is still held, as GC passes it to the plugins. */
export interface ValidAttachment {
  readonly containerID: string;
  readonly ifname: string;
}

interface ChainOptions {
  readonly signal: AbortSignal;
  readonly previous?: JsonObject | undefined;
}

/** ADD failed; `undone` says whether the plugins that had run were taken back. */
export interface AddFailure {
  readonly kind: "failed";
  readonly error: unknown;
  /** Absent: everything was undone. */
  readonly undoError?: unknown;
}

/** Time for taking back a failed ADD; it never runs on the request's own signal, which may have aborted. */
const UNDO_TIMEOUT_MS = 60_000;

/** Runs the plugins of a network in their order, as section 4 of the CNI specification has it. */
export class PluginChain {
  readonly #runner: CallPlugin;

  constructor(runner: CallPlugin) {
    this.#runner = runner;
  }

  /**
   * ADD through the chain, each plugin with the result of the one before. If one fails, DEL runs for it and for those
   * before it, in reverse.
   */
  async add(
    network: NetworkConfig,
    attachment: Attachment,
    { signal }: ChainOptions,
  ): Promise<{ readonly kind: "added"; readonly result: JsonObject } | AddFailure> {
    let previous: JsonObject | undefined;
    for (const [i, plugin] of network.plugins.entries()) {
      try {
        const printed = await this.#call("ADD", network, { plugin, attachment, previous, signal });
        previous = { ...(printed ?? missingResult(network, plugin)) };
        if (typeof previous["cniVersion"] !== "string" || previous["cniVersion"] === "") {
          previous = { ...previous, cniVersion: network.cniVersion };
        }
      } catch (error) {
        const touched = { ...network, plugins: network.plugins.slice(0, i + 1) };
        const undo = { signal: AbortSignal.timeout(UNDO_TIMEOUT_MS), previous };
        return await this.delete(touched, attachment, undo).then(
          () => ({ kind: "failed", error }),
          (undoError) => ({ kind: "failed", error, undoError }),
        );
      }
    }
    return { kind: "added", result: previous ?? {} };
  }

  /**
   * DEL in reverse order. Every plugin is asked, even if one fails: each holds something else (an address, a rule).
   *
   * @throws CniError of the first failure
   */
  async delete(network: NetworkConfig, attachment: Attachment, { signal, previous }: ChainOptions): Promise<void> {
    const failures: unknown[] = [];
    const known = versionAtLeast(network.cniVersion, "0.4.0") ? previous : undefined;
    for (const plugin of network.plugins.toReversed()) {
      try {
        await this.#call("DEL", network, { plugin, attachment, previous: known, signal });
      } catch (error) {
        failures.push(error);
        if (signal.aborted) break;
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  /**
   * CHECK; does nothing where the specification's version or the network rules it out.
   *
   * @throws CniError when a plugin finds the attachment damaged
   */
  async check(network: NetworkConfig, attachment: Attachment, { signal, previous }: ChainOptions): Promise<void> {
    if (network.disableCheck || previous === undefined || !versionAtLeast(network.cniVersion, "0.4.0")) return;
    for (const plugin of network.plugins) {
      await this.#call("CHECK", network, { plugin, attachment, previous, signal });
    }
  }

  /**
   * STATUS of every plugin; does nothing below version 1.1.0.
   *
   * @throws CniError of the first plugin that is not ready
   */
  async status(network: NetworkConfig, { signal }: ChainOptions): Promise<void> {
    if (!versionAtLeast(network.cniVersion, "1.1.0")) return;
    for (const plugin of network.plugins) await this.#call("STATUS", network, { plugin, signal });
  }

  /**
   * GC of everything but `valid`; does nothing below version 1.1.0 or where the network rules it out.
   *
   * @throws CniError of the first failure; all plugins are asked
   */
  async collectGarbage(
    network: NetworkConfig,
    valid: readonly ValidAttachment[],
    { signal }: ChainOptions,
  ): Promise<void> {
    if (network.disableGc || !versionAtLeast(network.cniVersion, "1.1.0")) return;
    const failures: unknown[] = [];
    for (const plugin of network.plugins) {
      const extra = { "cni.dev/valid-attachments": valid, "cni.dev/attachments": valid };
      await this.#call("GC", network, { plugin, signal, extra }).catch((error) => failures.push(error));
    }
    if (failures.length > 0) throw failures[0];
  }

  async #call(command: CniCommand, network: NetworkConfig, what: {
    readonly plugin: PluginConfig;
    readonly signal: AbortSignal;
    readonly attachment?: Attachment;
    readonly previous?: JsonObject | undefined;
    readonly extra?: JsonObject;
  }): Promise<JsonObject | undefined> {
    const { plugin, attachment, previous, extra, signal } = what;
    const runtime = attachment === undefined ? undefined : runtimeConfig(plugin, attachment.capabilityArgs);
    const config = {
      ...plugin.raw,
      name: network.name,
      cniVersion: network.cniVersion,
      ...(runtime === undefined ? {} : { runtimeConfig: runtime }),
      ...(previous === undefined ? {} : { prevResult: previous }),
      ...extra,
    };
    const call = { command, plugin: plugin.type, network: network.name, config };
    return await this.#runner.call(attachment === undefined ? call : { ...call, attachment }, { signal });
  }
}

function missingResult(network: NetworkConfig, plugin: PluginConfig): never {
  throw new CniError({
    plugin: plugin.type,
    network: network.name,
    command: "ADD",
    stage: "read result",
    elapsedMs: 0,
    message: "succeeded without printing a result",
  });
}
