/** `templora pull`: brings a model from the hub into its cache. */
import { BadInputError } from "../engine/errors.ts";
import { keeping, openRecords } from "./files.ts";
import { bytes } from "./format.ts";
import { Hub } from "./hub/api.ts";
import { hubFolder, findCached } from "./hub/cache.ts";
import { hubName } from "./hub/choose.ts";
import { type Plan, planPull, pull as download } from "./hub/pull.ts";
import { hubSettings } from "./hub/settings.ts";
import { type CommonOptions, type Define, addOutputOptions } from "./options.ts";
import type { Io } from "./output.ts";
import { openTerminal } from "./session.ts";

type PullOptions = Pick<CommonOptions, "json" | "quiet">;

export const pull: Define = (command, io) => {
  command
    .description(
      "Downloads a model from the hub into its cache, which Python's huggingface_hub shares: of a repository, what " +
        "templora opens (safetensors with configuration and tokenizer), or one .gguf file. A pull that was cut goes on " +
        "where it ended; checksums are checked. The path goes to stdout; --model takes the same name.",
    )
    .argument("<model>", "ORG/NAME, ORG/NAME:FILE.gguf, or ORG/NAME:QUANTISATION, as in :Q4_K_M");
  addOutputOptions(command)
    .addHelpText(
      "after",
      "\nEnvironment: HF_ENDPOINT, HF_TOKEN (else the token file of hf auth login), HF_HUB_OFFLINE, HF_HUB_CACHE or HF_HOME." +
        "\n\nExample:\n  templora pull Qwen/Qwen3-0.6B-GGUF:Q8_0\n",
    )
    .action((model: string, options: PullOptions) => run(model, options, io));
};

async function run(model: string, options: PullOptions, io: Io): Promise<void> {
  const name = hubName(model);
  if (!name)
    throw new BadInputError(`${model}: expected ORG/NAME, ORG/NAME:FILE.gguf or ORG/NAME:QUANTISATION`);
  using terminal = openTerminal(options, io);
  using records = await openRecords(options.json, io, terminal);
  await keeping([records.file], terminal, async () => {
    const settings = await hubSettings();
    const hub = new Hub(settings, io.signal, (line) => terminal.note(line));
    let path = settings.offline ? await findCached(name) : null;
    let plan: Plan | null = null;
    if (settings.offline && path === null)
      throw new BadInputError(
        `${model}: not in the cache (${hubFolder()}), and HF_HUB_OFFLINE is set: unset it to pull`,
      );
    if (path === null) {
      plan = await planPull(name, hub, terminal);
      path = await download(plan, hub, terminal);
    }
    records.write({
      type: "model",
      model,
      path,
      ...(plan && { commit: plan.commit, bytes: plan.bytes, downloaded_bytes: plan.missing }),
    });
    terminal.note(
      plan?.missing ? `${bytes(plan.missing)} pulled; --model ${model} uses it` : "all of it is here already",
    );
    terminal.result(`${path}\n`);
  });
}
