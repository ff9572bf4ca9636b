/** What each command takes and what it runs. Imported for the command that a command line names; so is what it runs. */
import type { Command } from "commander";
import { type BenchCommandOptions, addBenchOptions } from "./bench_options.ts";
import type { DevicesOptions } from "./devices.ts";
import type { GenerateCommandOptions } from "./generate.ts";
import { addCommonOptions, addOutputOptions, addTempLoraOptions, numeric } from "./options.ts";
import type { Io } from "./output.ts";
import type { PplOptions } from "./ppl.ts";
import type { CommandName } from "./program.ts";

type Define = (command: Command, io: Io) => void;

const ppl: Define = (ppl, io) => {
  ppl
    .description(
      "Reads one or several UTF-8 texts, chunk by chunk: scores the chunk with the frozen model and with the adapted one, " +
        "then trains the adapter on it. Every text gets a fresh adapter.",
    )
    .argument("<text...>", "UTF-8 files");
  addTempLoraOptions(addCommonOptions(ppl)).addOption(
    numeric("--max-tokens <n>", "read at most this many tokens of each text (default: all)", {
      integer: true,
      min: 2,
    }),
  );
  addStateOptions(ppl)
    .addHelpText(
      "after",
      "\nExample:\n  templora ppl moby-dick.txt --model smollm2-135m --chunk 512 --window 512 --lr 5e-4 --dropout 0 --max-tokens 8192\n",
    )
    .action(async (texts: string[], options: PplOptions) =>
      (await import("./ppl.ts")).ppl(texts, options, io),
    );
};

const generate: Define = (generate, io) => {
  const integer = true;
  generate.description(
    "Continues a prompt (--prompt, --prompt-file, or standard input) and trains the adapter on every finished chunk, " +
      "prompt included. The text goes to stdout as it is produced.",
  );
  addCommonOptions(generate);
  generate
    .optionsGroup("Text:")
    .option("--prompt <text>", "what to continue")
    .option("--prompt-file <file>", "the same, from a UTF-8 file")
    .option("--chat", "put the prompt into the model's chat template, as a user's turn")
    .addOption(numeric("--tokens <n>", "tokens to write", { integer, min: 1 }).default(512))
    .option("--out <file>", "write the text to a file too (grows as FILE.part until the end)")
    .option(
      "--stop-at-eos",
      "stop at the model's end-of-text token (default: never choose it, as the paper does)",
    )
    .optionsGroup("Sampling (defaults are the paper's):")
    .addOption(numeric("--temperature <t>", "0 = greedy", { min: 0, max: 1e3 }).default(0))
    .addOption(numeric("--top-k <k>", "candidates kept, 0 = all", { integer, min: 0 }).default(0))
    .addOption(
      numeric("--top-p <p>", "smallest set of candidates with this probability, 1 = all", {
        above: 0,
        max: 1,
      }).default(1),
    )
    .addOption(
      numeric("--min-p <p>", "drop candidates less probable than p times the best, 0 = none", {
        min: 0,
        max: 1,
      }).default(0),
    )
    .addOption(
      numeric(
        "--repetition-penalty <x>",
        "divides the logits of tokens in the context, 1 = none (default: the paper's 1.12; with --no-templora 1, " +
          "which at temperature 0 is plain greedy decoding)",
        { above: 0, max: 100 },
      ),
    );
  addStateOptions(addTempLoraOptions(generate))
    .addHelpText(
      "after",
      "\nExample:\n  templora generate --model smollm2-135m --prompt 'Call me Ishmael.' --tokens 600 --chunk 256 --window 512\n",
    )
    .action(async (options: GenerateCommandOptions) =>
      (await import("./generate.ts")).generateText(options, io),
    );
};

const bench: Define = (bench, io) => {
  addBenchOptions(bench).action(async (suites: string[], options: BenchCommandOptions) =>
    (await import("./bench.ts")).bench(suites, options, io),
  );
};

const devices: Define = (devices, io) => {
  devices.description(
    "Lists the CPU and the WebGPU adapter with what matters of them, and which one --device auto takes.",
  );
  addOutputOptions(devices)
    .addHelpText("after", "\nExample:\n  templora devices\n")
    .action(async (options: DevicesOptions) => (await import("./devices.ts")).devices(options, io));
};

function addStateOptions(command: Command): Command {
  return command
    .optionsGroup("Interruption:")
    .option("--state <file>", "where Ctrl-C keeps the run's state (default: the cache folder)")
    .option("--resume", "go on from there; the output is that of an uninterrupted run");
}

export const definitions: Readonly<Record<CommandName, Define>> = { ppl, generate, bench, devices };
