/** Makes tokens of the texts that a command reads, from their files, and shows how far it is. */
import { BadInputError } from "../engine/errors.ts";
import { readTextParts } from "../model/text.ts";
import type { EncodePartsOptions, Tokenizer } from "../model/tokenizer.ts";
import { bytes, duration } from "./format.ts";
import type { Io, Terminal } from "./output.ts";
import { throwIfStopped } from "./session.ts";

/** What a file or pipe delivers, until Ctrl-C: a pipe's writer may never come, or never end it. */
export async function* untilStopped<T>(source: AsyncIterable<T>, { signal }: Io): AsyncGenerator<T> {
  const stopped = new Promise<never>((_, stop) => {
    signal.addEventListener("abort", () => stop(signal.reason as Error), { once: true });
  });
  signal.throwIfAborted();
  const parts = source[Symbol.asyncIterator]();
  let waits = false;
  try {
    for (;;) {
      waits = true;
      const next = await Promise.race([parts.next(), stopped]);
      waits = false;
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    const ended = parts.return?.(undefined).catch(() => undefined); // closes the file, once a read that is on its way has ended
    if (!waits) await ended; // a source that waits for ever would not even end
  }
}

/** The tokens of a text file; of a long one, no more is read than the `most` tokens take that are wanted. */
export async function fileTokens(
  path: string,
  tokenizer: Tokenizer,
  terminal: Terminal,
  io: Io,
  options: Pick<EncodePartsOptions, "most" | "parseSpecial">,
): Promise<Int32Array<ArrayBuffer>> {
  if (path === "-")
    throw new BadInputError("-: no file; standard input is /dev/stdin, a file of that name ./-");
  const began = performance.now();
  let [done, total] = [0, 0];
  const onTurn = (): void => {
    throwIfStopped(io);
    const seconds = (performance.now() - began) / 1000;
    const left = duration((seconds * (total - done)) / done);
    const figures = `${bytes(done)} of ${bytes(total)}, ${left} left`;
    terminal.progress({ label: `tokens of ${path}`, fraction: done / total, figures });
  };
  const parts = untilStopped(
    readTextParts(path, (...read) => ([done, total] = read)),
    io,
  );
  const ids = await tokenizer.encodeParts(parts, { ...options, onTurn });
  terminal.endProgress();
  return ids;
}
