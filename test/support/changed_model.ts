/** A model like another but for one tensor. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** Copies the folder `from` to `to` and changes an f32 tensor of its model.safetensors. */
export function changedModel(
  from: string,
  to: string,
  tensor: string,
  change: (values: Float32Array) => void,
): void {
  cpSync(from, to, { recursive: true });
  const path = join(to, "model.safetensors");
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  type Header = Readonly<Record<string, { readonly data_offsets: readonly [number, number] } | undefined>>;
  const offsets = (JSON.parse(bytes.toString("utf8", 8, start)) as Header)[tensor]?.data_offsets;
  if (!offsets) throw new Error(`${from} has no tensor ${tensor}`);
  const [first, end] = offsets.map((offset) => start + offset);
  const values = new Float32Array(new Uint8Array(bytes.subarray(first, end)).buffer);
  change(values);
  bytes.set(new Uint8Array(values.buffer), first);
  writeFileSync(path, bytes);
}
