/** The commands and their flags. Nothing heavy is imported before a command runs, so that --help is quick. */
import { Command, CommanderError } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { type BenchCommandOptions, addBenchOptions } from "./bench_options.ts";
import type { DevicesOptions } from "./devices.ts";
import { type ExitCode, describeError, exitCode, exitCodeOf } from "./errors.ts";
import type { GenerateCommandOptions } from "./generate.ts";
import { addCommonOptions, addOutputOptions, addTempLoraOptions, numeric } from "./options.ts";
import type { Io } from "./output.ts";
import type { PplOptions } from "./ppl.ts";
import { version } from "./version.ts";

/** Runs one command line; answers the exit code and never throws. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  try {
    if (argv.length === 0)
      throw new BadInputError("no command given: ppl, generate, bench or devices; see templora --help");
    await program(io).parseAsync([...argv], { from: "user" });
    return exitCode.done;
  } catch (caught) {
    const error = caught instanceof CommanderError ? usageError(caught, argv) : caught;
    if (error === null) return exitCode.done;
    const code = exitCodeOf(error);
    if (code !== exitCode.interrupted) io.stderr.write(describeError(error, io.env));
    return code;
  }
}

/** Commander's complaint in our form; null when it only printed what was asked for. */
function usageError(error: CommanderError, argv: readonly string[]): BadInputError | null {
  if (error.exitCode === 0) return null;
  const [command = ""] = argv;
  const help = ["ppl", "generate", "bench", "devices"].includes(command)
    ? `templora ${command} --help`
    : "templora --help";
  const text = error.message
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean (.*)\?\)$/, " (did you mean $1?)")
    .replace(/\.$/, "");
  return new BadInputError(`${text}; see ${help}`);
}

function program(io: Io): Command {
  const width = Math.min(io.stdout.columns ?? 100, 110);
  const root = new Command("templora")
    .description(
      "Reads and writes long texts with a language model that trains a temporary LoRA on what it reads or writes " +
        "(Wang, Ma & Cai 2024, arXiv 2401.11504), and throws it away at the end.",
    )
    .version(version(), "--version", "print the version")
    .helpOption("--help", "print help")
    .helpCommand("help [command]", "print help for a command")
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => width,
      getErrHelpWidth: () => width,
    })
    .addHelpText("after", "\nExit codes: 0 done, 1 failed, 2 bad usage or bad input, 130 interrupted.");

  const ppl = root
    .command("ppl")
    .summary("read texts: perplexity of the base and of the adapted model, chunk by chunk")
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

  const integer = true;
  const generate = root
    .command("generate")
    .summary("write a text, training on it as it grows")
    .description(
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

  const bench = root
    .command("bench")
    .summary("measure kernels, decoding and updates against the device's limits");
  addBenchOptions(bench).action(async (suites: string[], options: BenchCommandOptions) =>
    (await import("./bench.ts")).bench(suites, options, io),
  );

  const devices = root
    .command("devices")
    .summary("list what this machine can compute on")
    .description(
      "Lists the CPU and the WebGPU adapter with what matters of them, and which one --device auto takes.",
    );
  addOutputOptions(devices)
    .addHelpText("after", "\nExample:\n  templora devices\n")
    .action(async (options: DevicesOptions) => (await import("./devices.ts")).devices(options, io));
  return root;
}

function addStateOptions(command: Command): Command {
  return command
    .optionsGroup("Interruption:")
    .option("--state <file>", "where Ctrl-C keeps the run's state (default: the cache folder)")
    .option("--resume", "go on from there; the output is that of an uninterrupted run");
}
