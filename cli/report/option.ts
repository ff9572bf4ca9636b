/** --report DIR: a run's records, kept for the report that is written at its end. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import { makeFolder, writeTogether } from "../../engine/backends/host/files.ts";
import { BadInputError } from "../../engine/errors.ts";
import { StoppedError, writeError } from "../errors.ts";
import { type RecordSink, assertWritable } from "../files.ts";
import type { Terminal } from "../output.ts";
import type { Line } from "./report.ts";

export interface ReportOptions {
  readonly report?: string;
}

/** What a report takes its lines from. */
export const REPORT = "report.md";

export function addReportOption(command: Command): Command {
  return command.option(
    "--report <folder>",
    "write a report at the end: report.html, report.md with its figures, and the JSON lines",
  );
}

/** The files of a report that have the same names in every folder. */
export const reportOutputs = ({ report: folder }: ReportOptions): string[] =>
  folder === undefined ? [] : [REPORT, "report.html", "records.jsonl"].map((name) => join(folder, name));

/** The sink of a run's JSON lines, and what writes the report when the run is complete. A folder that cannot be written is refused. */
export async function openReport(
  { report: folder }: ReportOptions,
  records: RecordSink,
  argv: readonly string[],
  terminal: Terminal,
): Promise<Pick<RecordSink, "file" | "write"> & { finish(): Promise<void> }> {
  if (folder === undefined)
    return { file: records.file, write: (record) => records.write(record), finish: () => Promise.resolve() };
  await intoFolder(folder, async () => {
    await makeFolder(folder);
    assertNoOther(folder);
    assertWritable(join(folder, REPORT));
  });
  const lines: Line[] = [];
  return {
    file: records.file,
    write: (record) => {
      records.write(record);
      lines.push(record as Line);
    },
    finish: async () => {
      const { reportFiles } = await import("./report.ts"); // the plotting library is read only now
      const files = Object.fromEntries(reportFiles(lines, commandLine(argv)));
      await intoFolder(folder, () => writeTogether(folder, files)).catch((error: unknown) => {
        throw new StoppedError(`${(error as Error).message}; the same command with --resume tries again`, {
          cause: error,
        });
      });
      terminal.note(`the report is in ${join(folder, "report.html")}`);
    },
  };
}

/** Refuses a folder that has files of a report's names, but no report: they are somebody's own. */
function assertNoOther(folder: string): void {
  const report = join(folder, REPORT);
  if (existsSync(report) && readFileSync(report, "utf8").startsWith("# templora ")) return;
  const own = reportOutputs({ report: folder }).find((path) => existsSync(path));
  if (own !== undefined)
    throw new BadInputError(`${own}: not of a report, so it is left as it is; name another folder`);
}

async function intoFolder(folder: string, write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch (error) {
    throw error instanceof BadInputError ? error : writeError(folder, error);
  }
}

/** A command line as a shell takes it; without --resume, for who begins. */
const commandLine = (argv: readonly string[]): string =>
  [
    "templora",
    ...argv
      .filter((word) => word !== "--resume")
      .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)),
  ].join(" ");
