/** Makes an input smaller, and simpler, as long as it does the same. */

/** `same`: whether an input does. At most `most` are tried. */
export async function shrunk(
  input: Uint8Array,
  same: (input: Uint8Array) => Promise<boolean>,
  most: number,
): Promise<Uint8Array> {
  let [least, tries]: [Buffer, number] = [Buffer.from(input), 0];
  const takes = async (candidate: Buffer): Promise<boolean> => {
    if (tries++ >= most || !(await same(candidate))) return false;
    least = candidate;
    return true;
  };
  for (let size = 2 ** Math.ceil(Math.log2(least.length + 1)); size >= 1 && tries < most; size /= 2)
    for (let start = 0; start < least.length && tries < most;)
      if (!(await takes(Buffer.concat([least.subarray(0, start), least.subarray(start + size)]))))
        start += size;
  return least;
}
