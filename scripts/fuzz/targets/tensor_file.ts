/** A safetensors file with one tensor of four numbers. */
export function tensorFile(name: string, shape: readonly number[] = [2, 2]): Buffer {
  const bytes = 4 * shape.reduce((n, dim) => n * dim, 1);
  const header = Buffer.from(JSON.stringify({ [name]: { dtype: "F32", shape, data_offsets: [0, bytes] } }));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  return Buffer.concat([length, header, Buffer.alloc(bytes)]);
}
