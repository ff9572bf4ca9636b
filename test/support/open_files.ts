/** What this process holds open of a folder and the files in it; always nothing where the system does not say (outside Linux). */
import { existsSync, readdirSync, readlinkSync } from "node:fs";

const descriptors = "/proc/self/fd";

export function openIn(folder: string): string[] {
  if (!existsSync(descriptors)) return [];
  return readdirSync(descriptors)
    .map((number) => {
      try {
        return readlinkSync(`${descriptors}/${number}`);
      } catch {
        return ""; // the folder of descriptors itself is closed by now
      }
    })
    .filter((path) => path.startsWith(folder));
}
