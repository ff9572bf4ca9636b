/** What JSON lines of a run say, as a folder for readers: report.md, report.html, the figures, and the lines themselves. */
import { BadInputError } from "../../engine/errors.ts";
import { type CellLine, type GridFacts, cellsReport } from "./cells.ts";
import { Report, bullets, inWords } from "./markdown.ts";
import { type ChunkLine, type SummaryLine, readingReport } from "./reading.ts";

export type Line = Readonly<Record<string, unknown>>;

/** The lines themselves, in the report's folder. */
export const RECORDS = "records.jsonl";

/** The files of a report, by name. `command`: the command line that the lines come from. */
export function reportFiles(lines: readonly Line[], command: string): Map<string, string> {
  const [config] = lines;
  const name = config?.["type"] === "config" ? String(config["command"]) : "";
  const ofType = <T>(type: string): T[] => lines.filter((line) => line["type"] === type) as T[];
  const report = new Report(
    `templora ${name}`,
    `Command: \`${command.replaceAll("`", "'")}\`; record: ${RECORDS}`,
  );
  report.add(bullets(about(config ?? {})));
  if (name === "ppl") readingReport(report, ofType<ChunkLine>("chunk"), ofType<SummaryLine>("summary"));
  else if (name === "sweep" || name === "compare") {
    const [summary] = ofType<{ readonly best: number | null }>("summary");
    cellsReport(report, config as GridFacts, ofType<CellLine>("cell"), summary?.best ?? null);
  } else
    throw new BadInputError(`a report is made of ppl, sweep and compare, not of ${name || "these lines"}`);
  report.add(`Command:\n\n\`\`\`sh\n${command}\n\`\`\``);
  return report.files().set(RECORDS, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

/** What was run, on what. */
function about(config: Line): string[] {
  const { model, device, adapter_info, recipe, window, train_window, chunk, seed, version } = config;
  const on = (adapter_info as { readonly description?: string } | undefined)?.description;
  const given = Object.entries({ chunk, window, train_window, seed }).filter(
    ([, value]) => value !== undefined,
  );
  return [
    `model: ${String(model)}`,
    `device: ${String(device)} (${on ?? ""})`,
    given.map(([key, value]) => `${key.replaceAll("_", " ")} ${String(value)}`).join(", "),
    ...(recipe === undefined ? [] : [`recipe: ${recipeInWords(recipe as Line)}`]),
    `templora ${String(version)}`,
  ];
}

const recipeInWords = (recipe: Line): string =>
  Object.entries(recipe)
    .map(([key, value]) => `${key} ${inWords(value)}`)
    .join(", ");
