/** `templora translate`: sentence pairs, with figures (translate_pairs.ts), or a text without references (translate_text.ts). */
import type { Command } from "commander";
import { BadInputError } from "../engine/errors.ts";
import { instructionFor } from "../templora/translation_prompt.ts";
import type { Define } from "./options.ts";
import { type TranslateCommandOptions, addTranslateOptions, checkKind } from "./translate_options.ts";
import { translatePairs } from "./translate_pairs.ts";
import { translateText } from "./translate_text.ts";

export const translate: Define = (command, io) => {
  command
    .description(
      "Translates the lines of sentence pairs, one after the other, as the paper does: for each line the perplexity of its reference and a greedy " +
        "translation, of the frozen model and of the adapted one; after each block of lines the adapter is trained on it. A text is translated " +
        "paragraph by paragraph, and the adapter is trained on its own translation, which goes to stdout as it is produced.",
    )
    .argument(
      "<pairs.json|text>",
      "a list of blocks in the format of the paper's data (docs/translation.md); with another ending than .json a UTF-8 text",
    );
  addTranslateOptions(command)
    .addHelpText(
      "after",
      "\nExamples:\n  templora translate luke.json --model gemma3-270m --max-pairs 100 --train-on self --json luke.jsonl\n" +
        "  templora translate book.txt --model gemma3-270m --src zh --tgt en --glossary names.tsv --out book.en.txt\n",
    )
    .action(async (path: string, options: TranslateCommandOptions, command: Command) => {
      if (!options.templora && !options.baseline)
        throw new BadInputError(
          "--no-templora and --no-baseline together leave nothing to translate with; give one of them",
        );
      const kind = path.endsWith(".json") ? "pairs" : "text";
      checkKind(kind, path, command);
      const { instruction = instructionFor(options.src, options.tgt) } = options;
      await (kind === "pairs" ? translatePairs : translateText)(path, { ...options, instruction }, io);
    });
};
