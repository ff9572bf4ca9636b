/**
 * A GGUF model in one file, or in several: NAME-00001-of-00003.gguf has the metadata, each has some of the tensors
 * (llama.cpp, tools/gguf-split).
 */
import { BadInputError } from "../engine/errors.ts";
import { InputFile } from "./file.ts";
import { type GgufIndex, readGgufIndex } from "./gguf.ts";
import type { Located } from "./safetensors.ts";
import { quote, show } from "./untrusted.ts";

const PART_NAME = /-(\d{5})-of-(\d{5})\.gguf$/;

/** Opens the file, and those that belong to it; all of them are added to `files` for the caller to close. */
export async function openGgufFiles(
  path: string,
  files: InputFile[],
): Promise<{
  readonly metadata: GgufIndex["metadata"];
  readonly tensors: ReadonlyMap<string, Located>;
}> {
  const tensors = new Map<string, Located>();
  const add = async (path: string): Promise<GgufIndex["metadata"]> => {
    const file = await InputFile.open(path);
    files.push(file);
    const { metadata, tensors: listed } = await readGgufIndex(file);
    for (const { dims, ...tensor } of listed) {
      const other = tensors.get(tensor.name);
      if (other)
        throw new BadInputError(`${path}: tensor ${quote(tensor.name)} is also in ${other.file.path}`);
      tensors.set(tensor.name, { ...tensor, shape: dims.toReversed(), file }); // ggml writes the innermost dimension first
    }
    return metadata;
  };
  const metadata = await add(path);
  const part = partOf(metadata);
  if (part.count > 1) {
    if (part.no !== 0)
      throw new BadInputError(
        `${path}: part ${part.no + 1} of ${part.count} of a model; give the first, of which the name ends in ${partName(0, part.count)}`,
      );
    if (!path.endsWith(partName(0, part.count)))
      throw new BadInputError(
        `${path}: part 1 of ${part.count} of a model; the others are found by its name, which must end in ${partName(0, part.count)}`,
      );
    for (let no = 1; no < part.count; no++) {
      const other = path.replace(PART_NAME, partName(no, part.count));
      const found = partOf(await add(other));
      if (found.no !== no || found.count !== part.count)
        throw new BadInputError(
          `${other}: part ${found.no + 1} of ${found.count}, where part ${no + 1} of ${part.count} is expected`,
        );
    }
    const total = metadata.get("split.tensors.count");
    if (total !== undefined && total !== tensors.size)
      throw new BadInputError(`${path}: ${part.count} parts with ${tensors.size} tensors, of ${show(total)}`);
  }
  return { metadata, tensors };
}

const partName = (no: number, count: number): string => {
  const [part, of] = [no + 1, count].map((n) => n.toString().padStart(5, "0"));
  return `-${part}-of-${of}.gguf`;
};

function partOf(metadata: GgufIndex["metadata"]): { readonly no: number; readonly count: number } {
  const [no, count] = ["split.no", "split.count"].map((key) => Number(metadata.get(key) ?? 0));
  return { no: no ?? 0, count: count ?? 0 };
}
