/**
 * Blocks of eight groups whose elements share bytes by twos: the low bits of a group's element lie beside those of an element of another group.
 * Beside what blocks.as.ts asks for, such a class B has
 *   apart     how many groups from the lower one of such a pair to the upper one: 1 or 2
 *   ownAt     where the 32 bytes with the low bits of pair i are
 *   ownFrom   which bit of them is the lowest of the lower group's elements
 *   more      whether elements have further bits
 *   moreAt    where those are
 *   moreFrom  which bit of them is the lower group's lowest
 *   ownMask   where 16 bytes are of which each has the low bits that an element has
 *   moreMask  likewise with the further bits, at their place in an element
 *   lower     the lower group's elements, out of 16 bytes of both, which begin with these bits
 *   upper     the upper one's
 */

/** The lower group of pair i. */
// @ts-ignore: decorator
@inline
export function lowerOf<B>(i: i32): i32 {
  return changetype<B>(0).apart == 1 ? 2 * i : 2 * i - (i & 1);
}

/** Elements [from, from + 16) of group g. */
// @ts-ignore: decorator
@inline
export function ofPair<B>(at: usize, g: i32, from: usize): v128 {
  const b = changetype<B>(0);
  const i = b.apart == 1 ? g >> 1 : (g >> 2 << 1) + (g & 1);
  const own = i32x4.shr_u(v128.load(b.ownAt(at, i) + from), b.ownFrom(i));
  const more = b.more ? i32x4.shr_u(v128.load(b.moreAt(at, i) + from), b.moreFrom(i)) : own;
  const ownMask = v128.load(b.ownMask), moreMask = v128.load(b.moreMask);
  return (b.apart == 1 ? g & 1 : g & 2) ? b.upper(own, more, ownMask, moreMask) : b.lower(own, more, ownMask, moreMask);
}
