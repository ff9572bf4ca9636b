/** Elements that must be there: an index beyond the end is a fault of ours, and said so where it happens. */

/** Element `index` of a list. */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const element = list[index];
  if (element === undefined) throw new RangeError(`no element ${index} among ${list.length}`);
  return element;
}

/** What a record holds under `name`. */
export function entry<T>(record: Readonly<Record<string, T>>, name: string): T {
  const value = record[name];
  if (value === undefined) throw new RangeError(`no ${name} among ${Object.keys(record).join(", ")}`);
  return value;
}
