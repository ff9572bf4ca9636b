/** The program: a table of its commands. A command's own file is imported when a command line names it, so that --help is quick. */
import { Command, CommanderError } from "commander";
import { BadInputError } from "../engine/errors.ts";
import {
  type ExitCode,
  InterruptedError,
  describeError,
  exitCode,
  exitCodeOf,
  firstError,
} from "./errors.ts";
import type { Define } from "./options.ts";
import type { Io } from "./output.ts";
import { version } from "./version.ts";

/** Each command: its line in the help, and its file. */
const commands = {
  demo: {
    usage: "demo [flags...]",
    summary: "fetch a small model and read the first pages of Moby-Dick with it",
    load: async () => (await import("./demo.ts")).demo,
  },
  ppl: {
    usage: "ppl [options] <text...>",
    summary: "read texts: perplexity of the base and of the adapted model, chunk by chunk",
    load: async () => (await import("./ppl.ts")).ppl,
  },
  sweep: {
    usage: "sweep [options] <text...>",
    summary: "read texts in every combination of given values: a table of gains and costs",
    load: async () => (await import("./sweep.ts")).sweep,
  },
  compare: {
    usage: "compare [options] <text...>",
    summary: "read texts with several methods for long texts, each without and with Temp-LoRA",
    load: async () => (await import("./compare.ts")).compare,
  },
  generate: {
    usage: "generate [options]",
    summary: "write a text, training on it as it grows",
    load: async () => (await import("./generate.ts")).generate,
  },
  translate: {
    usage: "translate [options] <file>",
    summary: "translate a text, or pairs for perplexity, BLEU and chrF of the base and of the adapted model",
    load: async () => (await import("./translate.ts")).translate,
  },
  "check-causality": {
    usage: "check-causality [options] <text>",
    summary: "change later tokens of a text: no earlier score may move by a bit",
    load: async () => (await import("./check_causality.ts")).checkCausalityCommand,
  },
  recall: {
    usage: "recall [options]",
    summary: "what a model still knows of what it has read, by distance, and what learning it has cost",
    load: async () => (await import("./recall.ts")).recall,
  },
  submit: {
    usage: "submit [options] <job.json>",
    summary: "put texts × recipes × models into a queue for workers on any number of machines",
    load: async () => (await import("./queue/submit.ts")).submit,
  },
  worker: {
    usage: "worker [options] [job.json]",
    summary: "work on the tasks of a queue, or on a share of a job file",
    load: async () => (await import("./queue/worker.ts")).worker,
  },
  jobs: {
    usage: "jobs [options]",
    summary: "what a queue's tasks do, what failed, and the results as one table",
    load: async () => (await import("./queue/jobs.ts")).jobs,
  },
  pull: {
    usage: "pull [options] <model>",
    summary: "download a model from the hub into its cache",
    load: async () => (await import("./pull.ts")).pull,
  },
  models: {
    usage: "models [options]",
    summary: "list the models in the cache, or remove one",
    load: async () => (await import("./models.ts")).models,
  },
  merge: {
    usage: "merge [options]",
    summary: "write a model with an adapter in it",
    load: async () => (await import("./merge.ts")).merge,
  },
  bench: {
    usage: "bench [options] [suites...]",
    summary: "measure kernels, decoding and updates against the device's limits",
    load: async () => (await import("./bench.ts")).bench,
  },
  devices: {
    usage: "devices [options]",
    summary: "list what this machine can compute on",
    load: async () => (await import("./devices.ts")).devices,
  },
} as const satisfies Readonly<
  Record<string, { usage: string; summary: string; load: () => Promise<Define> }>
>;
const names = Object.keys(commands) as readonly (keyof typeof commands)[];

/** Runs one command line; returns the exit code and never throws. */
export async function run(argv: readonly string[], io: Io): Promise<ExitCode> {
  try {
    if (argv.length === 0)
      throw new BadInputError(`no command given: ${names.join(", ")}; see templora --help`);
    await (await program(argv, io)).parseAsync([...argv], { from: "user" });
    return exitCode.done;
  } catch (thrown) {
    const first = firstError(thrown);
    const error = first instanceof CommanderError ? usageError(first, argv) : first;
    if (error === null) return exitCode.done;
    if (!(error instanceof InterruptedError)) io.stderr.write(describeError(error, io.env));
    return exitCodeOf(error);
  }
}

/** Turns an error of commander into ours; null when commander only printed help or the version. */
function usageError(error: CommanderError, argv: readonly string[]): BadInputError | null {
  if (error.exitCode === 0) return null;
  const [command = ""] = argv;
  const help = names.some((name) => name === command) ? `templora ${command} --help` : "templora --help";
  const text = error.message
    .replace(/^error: /, "")
    .replace(/\n\(Did you mean (.*)\?\)$/, " (did you mean $1?)")
    .replace(/\.$/, "");
  return new BadInputError(`${text}; see ${help}`);
}

/** Throws where a file's or a folder's name is empty: shells make that of a variable that is not set. */
function assertNamed(command: Command): void {
  if (command.args.includes(""))
    throw new BadInputError(`${command.name()}: expected a name, got an empty one; is a variable not set?`);
  for (const option of command.options) {
    const [kind] = /(?<=<)(file|folder)(?=>)/.exec(option.flags) ?? [];
    const values = [command.getOptionValue(option.attributeName()) as unknown].flat();
    if (kind !== undefined && values.includes(""))
      throw new BadInputError(
        `${option.long}: expected a ${kind}'s name, got an empty one; is a variable not set?`,
      );
  }
}

async function program(argv: readonly string[], io: Io): Promise<Command> {
  const width = Math.min(io.stdout.columns ?? 100, 110);
  const root = new Command("templora")
    .description(
      "Reads and writes long texts with a language model that trains a temporary LoRA on what it reads or writes " +
        "(Wang, Ma & Cai 2024, arXiv 2401.11504), and throws it away at the end.",
    )
    .option("--version", "print the version")
    .on("option:version", () => {
      io.stdout.write(`${version()}\n`);
      throw new CommanderError(exitCode.done, "commander.version", "");
    })
    .helpOption("--help", "print help")
    .helpCommand("help [command]", "print help for a command")
    .configureHelp({
      subcommandTerm: (command) => {
        const name = names.find((n) => n === command.name());
        return name ? commands[name].usage : "help [command]";
      },
    })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: () => undefined,
      getOutHelpWidth: () => width,
      getErrHelpWidth: () => width,
    })
    .hook("preAction", (_, command) => assertNamed(command))
    .addHelpText(
      "after",
      "\nExit codes: 0 done, 1 failed, 2 bad usage or bad input; stopped with the state kept: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.",
    );

  for (const name of names) {
    const command = root.command(name).summary(commands[name].summary);
    if (argv.includes(name)) (await commands[name].load())(command, io, argv);
  }
  return root;
}
