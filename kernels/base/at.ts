/** Elements that must be there: an index beyond the end is a fault of ours, and said so where it happens. */

/** Element `index` of a list. */
export function at<T>(list: ArrayLike<T>, index: number): T {
  const element = list[index];
  if (element === undefined) throw new RangeError(`no element ${index} among ${list.length}`);
  return element;
}
